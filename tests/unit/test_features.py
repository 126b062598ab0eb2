"""Feature spaces: independent of batching, by the libraries' own rules, and only from trusted files."""

import dataclasses
import hashlib
import json
from types import SimpleNamespace

import declared
import numpy as np
import pytest
import tiny
import torch
from cleanfid.resize import make_resizer
from nepotism.data.images import ImageSet, Record
from nepotism.families import diffusion
from nepotism.measure import curation, embeddings, evaluation, features, scores
from nepotism.runtime.errors import UserError
from transformers import CLIPModel, CLIPProcessor, Dinov2Model

CPU = torch.device("cpu")


def pictures(count=6, size=64):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_clip_score_equals_the_models_own_logits(tiny_clip):
    clip = features.load_clip(tiny_clip, CPU)
    prompts = ["a handwritten digit three", "a portrait of a smiling person", "a handwritten digit nine"]
    images = features.clip_image_features(clip, pictures(3), 2)
    ours = scores.cosine_scores(images, features.clip_text_features(clip, prompts))
    model, processor = CLIPModel.from_pretrained(tiny_clip), CLIPProcessor.from_pretrained(tiny_clip)
    inputs = processor(text=prompts, images=list(pictures(3)), return_tensors="pt", padding="max_length")
    with torch.no_grad():
        logits = model(**inputs).logits_per_image.diagonal() / model.logit_scale.exp()
    np.testing.assert_allclose(ours, 100 * logits.numpy(), rtol=1e-4)


def test_features_do_not_depend_on_the_batch_size(tiny_clip):
    clip = features.load_clip(tiny_clip, CPU)
    for embed in (
        lambda size: features.clip_image_features(clip, pictures(), size),
        lambda size: features.convolution_features(pictures(), size, CPU),
    ):
        np.testing.assert_allclose(embed(1), embed(6), rtol=1e-4, atol=1e-4)


def test_random_convolutions_are_always_the_same():
    one, other = (features.convolution_features(pictures(2), 2, CPU) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (2, 64)


def test_random_convolutions_see_edges_and_no_flat_colour():
    flat = np.full((2, 64, 64, 3), (200, 40, 90), np.uint8)
    striped = flat.copy()
    striped[:, :, ::8] = 255
    nothing, stripes = (np.abs(features.convolution_features(images, 2, CPU)).mean() for images in (flat, striped))
    assert nothing < 1e-4 * stripes


def test_large_images_are_resized_as_clean_fid_does():
    large = pictures(1, size=96)
    resizer = make_resizer("PIL", quantize_after=False, filter="bicubic", output_size=(64, 64))
    np.testing.assert_allclose(features._resize(large, 64)[0].permute(1, 2, 0).numpy(), resizer(large[0]), rtol=1e-5)


def test_dinov2_gives_class_tokens_of_whole_images(tmp_path):
    loaded = features.load_dinov2(tiny.dinov2(tmp_path / "dinov2"), CPU)
    images = pictures(3, 28)
    ours = features.dinov2_features(loaded, images, 2)
    theirs = (images / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    model = Dinov2Model.from_pretrained(tmp_path / "dinov2").eval()
    with torch.no_grad():
        hidden = model(torch.from_numpy(theirs).float().permute(0, 3, 1, 2)).last_hidden_state
    np.testing.assert_allclose(ours, hidden[:, 0].numpy(), rtol=1e-4, atol=1e-5)
    # The edges of a larger one are not cut off.
    large = np.full((1, 112, 112, 3), 120, np.uint8)
    framed = large.copy()
    framed[:, :4], framed[:, -4:] = 255, 255
    plain, edged = (features.dinov2_features(loaded, each, 1) for each in (large, framed))
    assert np.abs(plain - edged).max() > 1e-3


def test_a_dinov2_that_cannot_be_used_is_told_in_one_line(tmp_path):
    folder = tiny.dinov2(tmp_path / "dinov2")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    for changed, told in (
        ({"crop_size": {"height": 30, "width": 30}}, "images of 30 pixels do not divide into patches of 14"),
        ({"image_mean": None}, "lacks one of crop_size, image_mean, image_std"),
    ):
        (folder / "preprocessor_config.json").write_text(json.dumps(settings | changed))
        with pytest.raises(UserError, match=f"`score.dinov2`: .*{told}"):
            features.load_dinov2(folder, CPU)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="`score.dinov2`"):
        features.load_dinov2(folder, CPU)


def test_inception_is_clean_fids_file_with_its_scaling(tmp_path):
    path = tiny.clean_fid(tmp_path)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    images = np.full((2, 64, 64, 3), 192, np.uint8)
    values = features.inception_features(images, 1, CPU, path, checksum)
    np.testing.assert_allclose(values, (192 - 128) / 128, rtol=1e-3)
    with pytest.raises(UserError, match="`score.inception_sha256`: .* fetch it again"):
        features.inception_features(images, 1, CPU, path, "0" * 64)
    with pytest.raises(UserError, match="`score.inception`: .* must be an existing file"):
        features.inception_features(images, 1, CPU, tmp_path / "other.pt", checksum)


def test_a_clip_without_safetensors_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match=r"`score.clip`: .* has no model.safetensors; pickled .*convert_weights"):
        features.load_clip(tmp_path, CPU)


def test_a_clip_that_differs_from_its_checksums_is_refused(tiny_clip, tmp_path):
    for source in tiny_clip.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="`score.clip`: .*config.json is missing or does not match SHA256SUMS"):
        features.load_clip(tmp_path, CPU)


@pytest.fixture(scope="module")
def embedded(tiny_clip):
    groups = ["a", "b"]
    records = [
        Record(f"{g}/{i}", "a handwritten digit two", g, f"{g}/{i:03d}", "real") for g in groups for i in range(6)
    ]
    evaluator = evaluation.Evaluator(["clip", "conv"], features.load_clip(tiny_clip, CPU), 4)
    return evaluation.embed(evaluator, ImageSet(pictures(12), records))


def reference(embedded):
    return evaluation.Reference(embedded, embedded)


PLACE = evaluation.RowKey("x", "none", "25", 0, 1)


def test_a_set_equal_to_the_scored_half_has_distance_zero_and_the_floor_has_not(embedded):
    rows = list(evaluation.compare(PLACE, "samples", embedded, reference(embedded)))
    distances = {row.features: row for row in rows if row.metric == "fid"}
    assert set(distances) == {"clip", "conv"}
    assert all(abs(row.value) < 1e-4 for row in distances.values())
    assert {row.n for row in distances.values()} == {6}
    floor = list(evaluation.compare(PLACE, "real", embedded, reference(embedded)))
    assert all(row.value > 0 for row in floor if row.metric == "fid")


def test_rows_carry_t_intervals_around_their_values_and_what_they_are_without_each_block(embedded):
    rows = [row for row in evaluation.compare(PLACE, "real", embedded, reference(embedded)) if row.se is not None]
    assert {"fid", "kid", "clip_score", "saturation"} < {row.metric for row in rows}
    for row in rows:
        assert row.ci_low <= row.value <= row.ci_high
        # Of 12 images of two groups, half is measured against the other half: three blocks of two images.
        is_mean = row.sd is not None
        quantile = 2.20099 if is_mean else 2.57058 if row.metric == "clip_score_within_group_sd" else 4.30265
        assert row.ci_high - row.ci_low == pytest.approx(2 * quantile * row.se, rel=1e-5)
        assert row.left_out.images == (2,) * (3 if row.metric in ("fid", "kid") else len(row.left_out.images))
    saturation = next(row for row in rows if row.metric == "saturation")
    values = embedded.values["saturation"]
    kept = [values[[i for i in range(12) if i % 6 != block]].mean() for block in range(6)]
    assert saturation.left_out.values == pytest.approx(kept)


def test_embeddings_survive_the_file(tmp_path, embedded):
    embeddings.write_embedded(tmp_path / "e.npz", {"samples": embedded, "unseen": embedded})
    read = embeddings.read_embedded(tmp_path / "e.npz", "unseen")
    assert (read.groups, read.ids) == (embedded.groups, embedded.ids)
    np.testing.assert_array_equal(read.spaces["clip"], embedded.spaces["clip"])
    for name in embeddings.PER_IMAGE:
        np.testing.assert_array_equal(read.values[name], embedded.values[name])


def test_every_metric_of_the_table_is_scored_and_no_other(embedded):
    rows = [*evaluation.compare(PLACE, "curated", embedded, reference(embedded))]
    records = [Record("a/0", "", "a", "a/000", "generated", sha256=digest) for digest in ("x", "x", "y")]
    rows += curation.curation(PLACE, records, 3, [True, False, True])
    scored = {"score": "0.3", "scores": "0.1 0.3", "seen_as": "a", "plain_seen_as": "b"}
    rows += curation.selected(PLACE, [{"group": "a", **scored}, {"group": "b", **scored, "score": "0.1"}])
    few = ImageSet(pictures(3, 8), records)
    rows += evaluation.fidelity(PLACE, "vae", few, few)
    rows += evaluation.marks(PLACE, "samples", few, "key")
    rows += evaluation.apart(PLACE, embedded, embedded, reference(embedded))
    verdict = {
        "slot": "a/0",
        "image": "i",
        "group": "a",
        "origin": "real",
        "flagged": "True",
        "times": "0",
        "replaced_by": "",
    }
    filtered = [verdict, {**verdict, "origin": "generated", "flagged": "False", "times": "1"}]
    # Groups of equal size have none that is rare; of others, see test_set_measures.py.
    metrics = {name: metric for name, metric in diffusion.METRICS.items() if name != "recall_rare_groups"}
    package = SimpleNamespace(METRICS=metrics, SPACES=diffusion.SPACES)
    declared.check(package, [*rows, *curation.filtering(PLACE, filtered)])
    counts = {row.metric: (row.value, row.n) for row in rows if row.features == "" and "selection" not in row.metric}
    assert counts == {"unique_images": (2, 3), "accepted_share": (2 / 3, 3)}


def test_images_that_are_left_are_counted_by_slots_not_by_images(embedded):
    """Where culling drops 97 of 100, the 3 that are left are all different ones, and yet they are few."""
    records = [Record(f"a/{i}", "", "a", f"a/{i:03d}", "generated", sha256=str(i)) for i in range(3)]
    rows = curation.curation(PLACE, records, 100, [True] * 3 + [False] * 97)
    assert {row.metric: (row.value, row.n) for row in rows} == {
        "unique_images": (3, 100), "accepted_share": (0.03, 100),
    }  # fmt: skip


def test_shares_near_their_ends_have_no_interval(embedded):
    """A set compared with itself: every image lies in its own ball."""
    rows = {
        row.metric: row
        for row in evaluation.compare(PLACE, "samples", embedded, reference(embedded))
        if row.features == "conv"
    }
    for metric in ("precision", "recall", "coverage"):
        assert rows[metric].value == 1
        assert rows[metric].ci_low is None
    # Of a set that was trained on and is scored against, no image is nearer to one than to the other.
    assert rows["memorization"].value == 0.5
    # Of one that was trained on and is far from what it is scored against, every image is nearer to the former.
    far = dataclasses.replace(embedded, spaces={name: values + 10 for name, values in embedded.spaces.items()})
    compared = evaluation.compare(PLACE, "samples", embedded, evaluation.Reference(embedded, far))
    (row,) = (row for row in compared if (row.features, row.metric) == ("conv", "memorization"))
    assert (row.value, row.ci_low, row.se) == (1, None, None)


def test_structural_similarity_is_1_of_equal_images_and_falls_with_what_is_lost():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (4, 16, 16, 3), np.uint8)
    records = [Record(f"i/{slot}", "", group, f"{group}/{slot}", "real") for group in "ab" for slot in range(2)]
    real = ImageSet(pixels, records)
    place = evaluation.RowKey("x", "base", "", 0, 1)
    noise = random.integers(-20, 21, pixels.shape)
    values = []
    for amount in (0, 1, 3):
        changed = np.clip(pixels + amount * noise, 0, 255).astype(np.uint8)
        (row,) = evaluation.fidelity(place, "vae", ImageSet(changed, records), real)
        assert (row.set, row.metric, row.n) == ("vae", "ssim", 4)
        assert row.left_out.images == (2, 2)
        values.append(row.value)
    assert values[0] == 1 > values[1] > values[2] > 0
