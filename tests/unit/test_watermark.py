"""The watermark: found where it is, not where it is not, and drawn images are the unmarked ones plus it."""

import argparse
import hashlib
import io
import itertools
import json
import math

import interrupted
import numpy as np
import pytest
import torch
from nepotism.data import watermark
from nepotism.data.images import ImageSet, Record, read_image_set
from nepotism.experiment.cells import Cell
from nepotism.families.diffusion import sampling
from nepotism.measure import evaluation
from nepotism.measure.metrics import FALSE_POSITIVE_RATE
from nepotism.measure.scores import binomial_interval
from nepotism.plan import config as configuration
from nepotism.plan.contradictions import LEAST_MARKED
from nepotism.plan.grid import Grid
from nepotism.plan.settings import settings
from nepotism.runtime import streams
from nepotism.runtime.options import add_keys
from nepotism.runtime.resume.job import Job
from nepotism.sources import portraits
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import binom, kstest
from test_config import DEFAULT, SMALL, STAGES, grid_of, merged, mistakes

KEY, STRENGTH = "a-word", 3.0
MARK = {"method": "spread_spectrum", "key": KEY, "strength": STRENGTH}


def smooth(count, size=64, seed=0):
    """Smooth random images."""
    noise = np.random.default_rng(seed).normal(size=(count, size, size, 3))
    blurred = gaussian_filter(noise, (0, 3, 3, 0))
    return np.clip(128 + 45 * blurred / blurred.std(), 0, 255).astype(np.uint8)


def drawn_portraits(count, size=64):
    random = [streams.generator("test", "watermark", index) for index in range(count)]
    return np.stack([portraits.draw_portrait(portraits.choose(each), each, size) for each in random])


@pytest.fixture(scope="module")
def faces():
    return drawn_portraits(200)


def jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def half_and_back(image):
    half = Image.fromarray(image).resize([side // 2 for side in image.shape[:2]], Image.Resampling.BICUBIC)
    return np.asarray(half.resize(image.shape[1::-1], Image.Resampling.BICUBIC))


def found(pixels, key=KEY):
    return (watermark.detect(pixels, key) > watermark.threshold(0.01)).mean()


# ---- The mark


def wave(row, column):
    """A cosine of the orthonormal DCT of 8 x 8 pixels, by its formula."""
    places = np.arange(8)
    one, other = (
        math.sqrt((2 if each else 1) / 8) * np.cos(math.pi * (places + 0.5) * each / 8) for each in (row, column)
    )
    return np.outer(one, other)


def signs(rows, columns, key):
    return streams.generator("watermark", str(key), rows, columns).integers(0, 2, (rows, columns, 3)) * 2 - 1


def test_the_pattern_is_a_sum_of_three_cosines_in_every_block_with_the_signs_of_the_key():
    expected = np.zeros((24, 32))
    for row, column in np.ndindex(3, 4):
        one, other, both = signs(3, 4, KEY)[row, column]
        block = one * wave(0, 1) + other * wave(1, 0) + both * wave(1, 1)
        expected[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = STRENGTH * 8 / math.sqrt(3) * block
    assert math.sqrt((expected**2).mean()) == pytest.approx(STRENGTH)
    made = watermark.pattern(24, 32, KEY, STRENGTH)
    np.testing.assert_array_equal(made, np.rint(expected))
    # No value is so near to a half that another machine's arithmetic could round it the other way.
    assert np.abs(expected - np.floor(expected) - 0.5).min() > 1e-3


def test_the_detector_is_a_correlation_scaled_by_the_image_itself():
    (image,) = smooth(1, 32)
    luma = image @ np.array([0.299, 0.587, 0.114])
    total = squares = 0.0
    for row, column in np.ndindex(4, 4):
        block = luma[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        for sign, place in zip(signs(4, 4, 7)[row, column], ((0, 1), (1, 0), (1, 1))):
            clipped = min(5, max(-5, (block * wave(*place)).sum()))
            total, squares = total + sign * clipped, squares + clipped**2
    assert watermark.detect(image[None], 7) == pytest.approx([total / math.sqrt(squares)])
    assert watermark.detect(image[None], "7") == watermark.detect(image[None], 7)


def test_marked_bytes_are_the_same_everywhere():
    pixels = np.arange(48 * 40 * 3, dtype=np.uint32).reshape(1, 48, 40, 3) * 2654435761 >> 24
    marked = watermark.mark((pixels & 255).astype(np.uint8), KEY, STRENGTH)
    assert hashlib.sha256(marked.tobytes()).hexdigest().startswith("4afaefe54b3c6c8e4acfa44878f77c4b")


def test_a_mark_adds_the_pattern_to_every_channel_and_leaves_its_image_alone(faces):
    before = faces.copy()
    marked = watermark.mark(faces, KEY, STRENGTH)
    assert marked.dtype == np.uint8
    added = watermark.pattern(64, 64, KEY, STRENGTH)[None, :, :, None].astype(int)
    np.testing.assert_array_equal(marked, np.clip(faces + added, 0, 255))
    np.testing.assert_array_equal(faces, before)
    assert watermark.mark(faces[:0], KEY, STRENGTH).shape == (0, 64, 64, 3)


@pytest.mark.parametrize("key", [0, 1, "word"])
def test_marked_images_have_a_psnr_of_38_decibels(faces, key):
    error = ((watermark.mark(faces, key, STRENGTH).astype(float) - faces) ** 2).mean((1, 2, 3))
    assert (10 * np.log10(255**2 / error)).min() >= 38


def test_what_exceeds_whole_blocks_stays_as_it_is():
    pixels = smooth(1, 43)
    marked = watermark.mark(pixels, KEY, STRENGTH)
    assert (marked != pixels)[:, :40, :40].any()
    np.testing.assert_array_equal(marked[:, 40:], pixels[:, 40:])
    np.testing.assert_array_equal(marked[:, :, 40:], pixels[:, :, 40:])
    np.testing.assert_array_equal(watermark.detect(marked, KEY), watermark.detect(marked[:, :40, :40], KEY))


# ---- The detector


def test_without_a_mark_the_correlation_is_standard_normal():
    correlation = watermark.detect(smooth(1000), KEY)
    assert kstest(correlation, "norm").pvalue > 0.01
    for rate in (0.01, 0.05):
        false = int((correlation > watermark.threshold(rate)).sum())
        assert binom.ppf(0.001, 1000, rate) <= false <= binom.ppf(0.999, 1000, rate)


def test_of_portraits_too_the_false_positive_rate_is_the_one_asked_for_over_keys():
    """They share a layout, so that one key's differs; of many keys, it is what was asked for on average."""
    faces = drawn_portraits(1000)
    correlation = np.stack([watermark.detect(faces, key) for key in range(40)])
    assert abs(correlation.mean()) < 0.1
    assert correlation.std() == pytest.approx(1, abs=0.1)
    for rate in (0.01, 0.05):
        by_key = (correlation > watermark.threshold(rate)).mean(1)
        assert abs(by_key.mean() - rate) < 3 * by_key.std(ddof=1) / math.sqrt(len(by_key))
        assert by_key.max() < 0.02 + 5 * rate


def test_thresholds_are_those_of_the_normal_law():
    assert watermark.threshold(0.5) == 0
    assert watermark.threshold(0.01) == pytest.approx(2.326348)
    assert watermark.threshold(1e-6) == pytest.approx(4.753424)


def test_marked_images_are_told_from_others_and_by_their_key_only(faces):
    marked = watermark.mark(faces, KEY, STRENGTH)
    assert watermark.detect(marked, KEY).min() > watermark.detect(faces, KEY).max()
    assert found(marked) == 1
    assert watermark.detect(marked, "another").std() == pytest.approx(watermark.detect(faces, "another").std(), abs=0.2)
    assert found(marked, "another") < 0.1


@pytest.mark.parametrize(
    "process",
    [lambda image: jpeg(image, 90), lambda image: jpeg(image, 75), lambda image: jpeg(image, 50), half_and_back],
    ids=["jpeg90", "jpeg75", "jpeg50", "resize"],
)
def test_a_mark_outlives_what_images_go_through(faces, process):
    after = np.stack([process(image) for image in watermark.mark(faces, KEY, STRENGTH)])
    unmarked = np.stack([process(image) for image in faces])
    assert found(after) > 0.98
    positive, negative = watermark.detect(after, KEY), watermark.detect(unmarked, KEY)
    assert (positive[:, None] > negative).mean() > 0.999


def test_larger_images_are_surer():
    means = [watermark.detect(watermark.mark(smooth(20, size), KEY, STRENGTH), KEY).mean() for size in (64, 128, 256)]
    assert means[1] > watermark.threshold(0.01)
    assert all(1.7 < larger / smaller < 2.3 for smaller, larger in itertools.pairwise(means))


def test_the_smallest_images_that_may_be_marked_are_found():
    """Where much of a picture is flat; busier ones need to be larger."""
    faces = drawn_portraits(50, LEAST_MARKED)
    assert found(watermark.mark(faces, KEY, STRENGTH)) > 0.9


@pytest.mark.parametrize("colour", [0, 77, 255])
def test_nothing_is_told_of_an_image_of_one_colour(colour):
    assert watermark.detect(np.full((1, 64, 64, 3), colour, np.uint8), KEY) == [0]


# ---- Scores


def test_scores_are_the_share_found_with_its_binomial_interval_and_the_mean_correlation(faces):
    half = np.concatenate([watermark.mark(faces[:3], KEY, STRENGTH), faces[3:10]])
    records = [Record(f"x/{i}", "", f"g{i % 2}", f"g{i % 2}/{i:03d}", "generated") for i in range(10)]
    rate, mean = evaluation.marks(evaluation.RowKey("x", "none", "25", 0, 1), "samples", ImageSet(half, records), KEY)
    correlation = watermark.detect(half, KEY)
    count = int((correlation > watermark.threshold(FALSE_POSITIVE_RATE)).sum())
    assert (rate.metric, rate.set, rate.n, rate.value) == ("watermark_rate", "samples", 10, count / 10)
    # The ends are the shares that make such a count, or a more extreme one, as likely as 2.5 %.
    assert binom.sf(count - 1, 10, rate.ci_low) == pytest.approx(0.025)
    assert binom.cdf(count, 10, rate.ci_high) == pytest.approx(0.025)
    assert (mean.metric, mean.value, mean.n) == ("watermark_z", pytest.approx(correlation.mean()), 10)
    assert rate.left_out.images == mean.left_out.images == (2,) * 5


def test_a_share_of_none_and_of_all_has_an_interval_with_one_open_end():
    assert binomial_interval(0, 20) == (0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert binomial_interval(20, 20) == (pytest.approx(0.025 ** (1 / 20)), 1)


# ---- Configuration


def test_without_a_mark_no_settings_know_of_one():
    grid = grid_of()
    assert not [stage for stage in (*STAGES, "preflight") if "watermark" in settings(grid, stage)]


def test_a_mark_is_in_the_settings_of_what_is_drawn_and_scored_and_of_nothing_else():
    grid = grid_of(sample={"watermark": MARK}, initial_images={"watermark": {**MARK, "key": 5, "strength": 2}})
    word = '{"key":"a-word","method":"spread_spectrum","strength":3.0}'
    told = {stage for stage in (*STAGES, "preflight") if "--watermark" in settings(grid, stage)}
    assert told == {"initial_images", "sample", "score"}
    assert f"--watermark '{word}'" in settings(grid, "sample")
    assert f"--watermark '{word}'" in settings(grid, "score")
    assert '"key":5,"method":"spread_spectrum","strength":2.0' in settings(grid, "initial_images")


def test_scores_look_for_the_mark_of_iteration_0_where_samples_have_none():
    grid = grid_of(initial_images={"watermark": MARK})
    assert "--watermark" not in settings(grid, "sample")
    assert '"a-word"' in settings(grid, "score")


def test_an_arm_marks_or_does_not_and_has_an_iteration_0_of_its_own():
    marked = {"name": "marked", "ratios": [100], "overrides": {"sample": {"watermark": MARK}}}
    grid = grid_of(arms=[{"name": "none", "ratios": [100]}, marked])
    assert settings(grid, "sample", grid.arm("none")) == settings(grid_of(), "sample")
    assert "--watermark" in settings(grid, "sample", grid.arm("marked"))
    assert (grid.arm("none").base, grid.arm("marked").base) == ("base", "base-marked")
    plain = {"name": "plain", "ratios": [100], "overrides": {"sample": {"watermark": None}}}
    grid = grid_of(sample={"watermark": MARK}, arms=[{"name": "none", "ratios": [100]}, plain])
    assert "--watermark" not in settings(grid, "sample", grid.arm("plain"))
    assert grid.parent(Cell("plain", "100", 0, 1)) is None


def test_culling_marks_what_it_draws_anew():
    arm = {"name": "cull", "control": "sifid_cull", "ratios": [100]}
    grid = grid_of(sample={"watermark": MARK}, arms=[arm])
    assert "--watermark" in settings(grid, "sifid_cull", grid.arm("cull"), 2)
    assert "--watermark" not in settings(grid, "sifid_cull", grid.arm("cull"), 1)


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ({"method": "spread_spectrum", "strength": 3.0}, "`sample.watermark.key`: missing"),
        ({"method": "spread_spectrum", "key": 1}, "`sample.watermark.strength`: missing"),
        ({**MARK, "strength": 0}, "`sample.watermark.strength`: 0 is out of range; allowed: 1 to 32"),
        ({**MARK, "method": "trustmark"}, "`sample.watermark.method`: 'trustmark' is none of spread_spectrum"),
        ({**MARK, "keys": 1}, "`sample.watermark.keys`: unknown key; did you mean `key`?"),
        ("word", "`sample.watermark`: 'word' is of the wrong type; expected object or null"),
    ],
)  # fmt: skip
def test_mistakes_are_told(mark, told):
    assert told in mistakes(sample={"watermark": mark})


def test_images_that_are_too_small_are_told():
    small = LEAST_MARKED - 8
    told = f"watermark`: images of {small} pixels are too small to find a mark in; raise `model.resolution` to {LEAST_MARKED}"
    assert f"`sample.{told}" in mistakes(model={"resolution": small}, sample={"watermark": MARK})
    arm = {"name": "a", "ratios": [100], "overrides": {"initial_images": {"watermark": MARK}}}
    assert f"`arms[0].overrides.initial_images.{told}" in mistakes(model={"resolution": small}, arms=[arm])


def test_jobs_are_told_of_a_mark_in_one_word(capsys):
    parser = argparse.ArgumentParser()
    add_keys(parser, "sample", "watermark")
    assert parser.parse_args(["--watermark", json.dumps(MARK)]).watermark == MARK
    assert parser.parse_args([]).watermark is None
    for word, told in (("{", "invalid object value: '{'"), ('{"key": 1}', "'method' is a required property")):
        with pytest.raises(SystemExit):
            parser.parse_args(["--watermark", word])
        assert told in capsys.readouterr().err


def test_a_strength_is_the_same_however_it_is_written():
    written = Grid(configuration.checked(merged(DEFAULT, SMALL | {"sample": {"watermark": {**MARK, "strength": 3}}})))
    assert settings(written, "sample") == settings(grid_of(sample={"watermark": MARK}), "sample")


# ---- Drawing


def arguments(folder, tiny_diffusion, mark):
    return argparse.Namespace(
        base_model=tiny_diffusion, model=None, stage_version=1, guidance_scale=2.0, num_inference_steps=2,
        scheduler="DDIMScheduler", precision="fp32", resolution=64, compile=False, sample_batch_size=2, watermark=mark,
        cell="base/seed-0", iteration=0, sheet=folder / "sheet.png", seed=0, negative_weight=None, parent_model=None,
        guidance_interval=None,
    )  # fmt: skip


WANTED = [("g/000", "g", "one", (0, 0, "sample", "g/000")), ("g/001", "g", "two", (0, 0, "sample", "g/001")),
          ("g/002", "g", "two", (0, 0, "sample", "g/002"))]  # fmt: skip


def draw(folder, tiny_diffusion, mark, **options):
    folder.mkdir(exist_ok=True)
    with Job(folder / "samples.parquet", 0) as job:
        sampling.draw_image_set(
            arguments(folder, tiny_diffusion, mark), torch.device("cpu"), job, "samples", WANTED,
            folder / "samples.parquet", **options,
        )  # fmt: skip
    return read_image_set(folder / "samples.parquet")


def test_marked_images_are_those_drawn_without_and_the_mark_also_after_interruptions(
    tmp_path, tiny_diffusion, monkeypatch
):
    plain = draw(tmp_path / "plain", tiny_diffusion, None)
    marked = draw(tmp_path / "marked", tiny_diffusion, MARK)
    np.testing.assert_array_equal(marked.pixels, watermark.mark(plain.pixels, KEY, STRENGTH))
    assert (marked.pixels != plain.pixels).any()
    unmarked = draw(tmp_path / "unmarked", tiny_diffusion, MARK, marked=False)
    np.testing.assert_array_equal(unmarked.pixels, plain.pixels)
    ends = interrupted.at_random(monkeypatch, 1, 3)
    again = interrupted.until_done(lambda: draw(tmp_path / "again", tiny_diffusion, MARK))
    assert ends
    np.testing.assert_array_equal(again.pixels, marked.pixels)
    once, twice = (tmp_path / name / "samples.parquet" for name in ("marked", "again"))
    assert once.read_bytes() == twice.read_bytes()
