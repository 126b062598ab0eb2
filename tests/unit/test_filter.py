"""Filters: what they take for generated, and what becomes of it."""

import importlib
import sys

import numpy as np
import pytest
from nepotism.chain.mix import Images
from nepotism.chain.slots import row_names, slots_of
from nepotism.controls.filter import CONTROL, detector
from nepotism.controls.filter.filtering import Verdict, filtered, oracle
from nepotism.data import watermark
from nepotism.data.images import Record, read_image_set, read_manifest, write_image_set, write_manifest
from nepotism.data.tables import read_text_csv
from nepotism.measure.curation import filtering
from nepotism.measure.evaluation import RowKey
from nepotism.plan.settings import settings
from nepotism.runtime.errors import UserError
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score
from test_config import grid_of, mistakes

SLOTS = 40


def record(kind, index, origin="real", iteration=0):
    group = f"group-{index % 4}"
    return Record(f"{kind}/{index}", "a caption", group, f"{group}/{index:03d}", origin, iteration)


REAL = [record("real", index) for index in range(SLOTS)]
FRESH = [record("fresh", index) for index in range(SLOTS)]
GENERATED = [record("made", index, "generated", 2) for index in range(SLOTS)]
SPARE = [Images(REAL, "real.parquet"), Images(FRESH, "fresh.parquet")]


def mixture(ratio):
    """The manifest of a mixture by the plain regime."""
    made, _ = slots_of(REAL, 0).split(ratio)
    return [
        (GENERATED[index], "made.parquet") if index in made else (REAL[index], "real.parquet") for index in range(SLOTS)
    ]


def by_oracle(rows, action, fpr=0.0, fnr=0.0, spare=SPARE):
    records = [row for row, _ in rows]
    sure = oracle(row_names(records), [each.origin == "generated" for each in records], fpr, fnr, 0, 3)
    return filtered(rows, sure, 0.5, action, spare, 0, 3)


# ---- The oracle


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.7])
def test_the_oracles_errors_are_as_many_as_its_rates_say(rate):
    names, half = [f"slot-{index}" for index in range(4000)], [index < 2000 for index in range(4000)]
    sure = oracle(names, half, fpr=rate, fnr=1 - rate, seed=1, iteration=2)
    for errors, expected in ((int((sure[2000:] == 1).sum()), rate), (int((sure[:2000] == 0).sum()), 1 - rate)):
        assert binom.cdf(errors, 2000, expected) > 1e-4
        assert binom.sf(errors - 1, 2000, expected) > 1e-4


def test_errors_at_one_rate_are_among_those_at_a_higher_one_and_keyed():
    names, made = [f"slot-{index}" for index in range(500)], [False] * 500
    low, high = (oracle(names, made, rate, 0.0, 0, 1) for rate in (0.1, 0.3))
    assert (high[low == 1] == 1).all()
    np.testing.assert_array_equal(oracle(names[::-1], made, 0.3, 0.0, 0, 1), high[::-1])
    assert not np.array_equal(oracle(names, made, 0.3, 0.0, 0, 2), high)


# ---- Actions


@pytest.mark.parametrize("ratio", ["25", "100"])
def test_without_errors_replacing_gives_the_training_set_of_ratio_0(ratio):
    kept, verdicts = by_oracle(mixture(ratio), "replace", spare=SPARE[:1])
    assert kept == mixture("0")
    assert [bool(each.replaced_by) for each in verdicts] == [each.origin == "generated" for each in verdicts]


@pytest.mark.parametrize("action", ["drop", "replace"])
def test_a_filter_that_lets_everything_through_changes_nothing(action):
    kept, _ = by_oracle(mixture("25"), action, fnr=1.0)
    assert kept == mixture("25")


def test_dropping_leaves_the_others_in_their_order():
    rows = mixture("25")
    kept, _ = by_oracle(rows, "drop")
    assert kept == [(row, file) for row, file in rows if row.origin == "real"]
    with pytest.raises(UserError, match=r"takes all 40 rows .* nothing is left to train on.*action: replace"):
        by_oracle(mixture("100"), "drop")


def test_a_real_row_that_was_thrown_out_is_replaced_by_a_reserved_one_of_its_slot():
    rows = mixture("25")
    kept, _ = by_oracle(rows, "replace", fpr=1.0)
    assert [row.slot for row, _ in kept] == [row.slot for row, _ in rows]
    assert {file for _, file in kept} == {"real.parquet", "fresh.parquet"}
    assert [file for _, file in kept] == [
        "real.parquet" if row.origin == "generated" else "fresh.parquet" for row, _ in rows
    ]
    assert not {row.id for row, _ in kept} & {row.id for row, _ in rows}


def test_a_row_without_a_stand_in_is_left_out():
    kept, verdicts = by_oracle(mixture("25"), "replace", fpr=1.0, spare=SPARE[:1])
    assert len(kept) == 10
    assert sum(not each.replaced_by for each in verdicts) == 30


def test_resampling_follows_the_weights_of_drayson():
    """Half as many again, a row at most three times, in proportion to (1 - confidence)^10; against draws by numpy."""
    rows, confidence = mixture("25"), np.linspace(0, 0.4, SLOTS)
    kept, verdicts = filtered(rows, confidence, 0.5, "resample", [], 0, 3)
    assert len(kept) == 60
    times = np.array([each.times for each in verdicts])
    assert times.max() <= 3
    assert [row.id for row, _ in kept] == [row.id for (row, _), count in zip(rows, times) for _ in range(count)]
    weights = (1 - confidence) ** 10
    expected = np.zeros(SLOTS)
    mine = np.zeros(SLOTS)
    for seed in range(300):
        rng, drawn = np.random.default_rng(seed), np.zeros(SLOTS)
        for _ in range(60):
            open_ = np.where(drawn < 3, weights, 0)
            drawn[rng.choice(SLOTS, p=open_ / open_.sum())] += 1
        expected += drawn
        mine += [each.times for each in filtered(rows, confidence, 0.5, "resample", [], seed, 3)[1]]
    np.testing.assert_allclose(mine / 300, expected / 300, atol=0.2)


def test_resampling_ends_where_every_row_of_any_weight_was_taken_thrice():
    rows = mixture("100")
    confidence = np.ones(SLOTS)
    confidence[:5] = 0
    kept, _ = filtered(rows, confidence, 0.5, "resample", [], 0, 3)
    assert len(kept) == 15
    assert {row.slot for row, _ in kept} == {row.slot for row, _ in rows[:5]}


def test_rows_have_names_of_their_own_also_when_taken_again():
    first, again = record("real", 0), record("made", 0, "generated", 2)
    assert row_names([first, again, again, again, first]) == [
        first.slot, f"{first.slot}@2", f"{first.slot}@2-1", f"{first.slot}@2-2", f"{first.slot}@0",
    ]  # fmt: skip


# ---- The detector


def features(count, shift, seed):
    return (np.random.default_rng(seed).normal(0, 1, (count, 6)) + shift).astype(np.float32)


def test_the_detector_tells_what_differs_and_its_confidence_is_calibrated():
    made = detector.trained(features(3000, 0.0, 0), features(3000, 0.7, 1), seed=0)
    real, generated = features(4000, 0.0, 2), features(4000, 0.7, 3)
    sure = made.confidence(np.concatenate([real, generated]))
    truth = np.repeat([0, 1], 4000)
    # Two Gaussians so far apart have this area: Phi(d / sqrt 2) with d = 0.7 sqrt 6.
    assert roc_auc_score(truth, sure) == pytest.approx(0.887, abs=0.02)
    assert made.auc == pytest.approx(0.887, abs=0.03)
    for low in np.arange(0.1, 0.9, 0.2):
        inside = (sure >= low) & (sure < low + 0.2)
        assert truth[inside].mean() == pytest.approx(sure[inside].mean(), abs=0.05)


def test_equal_images_leave_the_detector_unsure():
    made = detector.trained(features(300, 0.0, 0), features(300, 0.0, 1), seed=0)
    assert np.abs(made.confidence(features(500, 0.0, 2)) - 0.5).mean() < 0.1


def test_a_detector_is_written_and_read_without_loss(tmp_path):
    made = detector.trained(features(30, 0.0, 0), features(30, 1.0, 1), seed=0)
    detector.write(tmp_path / "detector.json", made)
    assert detector.read(tmp_path / "detector.json") == made


def test_a_detector_of_too_few_images_is_told():
    with pytest.raises(UserError, match=r"3 of each kind at least, and has 2 real and 30 generated"):
        detector.trained(features(2, 0.0, 0), features(30, 1.0, 1), seed=0)


# ---- Scores


def test_scores_tell_errors_losses_and_what_got_through():
    rows = mixture("25")
    _, verdicts = by_oracle(rows, "drop", fpr=0.2, fnr=0.5)
    table = [{key: str(value) for key, value in vars(each).items()} for each in verdicts]
    found = {row.metric: row for row in filtering(RowKey("e", "c", "25", 0, 3), table)}
    real, made = ([each for each in verdicts if (each.origin == "real") == kind] for kind in (True, False))
    assert found["false_positive_rate"].value == np.mean([each.flagged for each in real])
    assert found["false_negative_rate"].value == np.mean([not each.flagged for each in made])
    left = [each for each in verdicts if not each.flagged]
    assert found["contamination"].value == np.mean([each.origin == "generated" for each in left])
    assert found["rows_lost"].value == pytest.approx(1 - len(left) / SLOTS)
    by_group = [np.mean([each.flagged for each in verdicts if each.group == f"group-{number}"]) for number in range(4)]
    assert found["rows_lost_worst_group"].value == max(by_group)
    assert found["real_images"].value == sum(each.origin == "real" for each in left) / SLOTS


def test_a_row_that_is_taken_three_times_is_one_image():
    rows = mixture("50")
    _, verdicts = filtered(rows, np.linspace(0, 0.9, SLOTS), 0.5, "resample", SPARE, 0, 3)
    table = [{key: str(value) for key, value in vars(each).items()} for each in verdicts]
    found = {row.metric: row.value for row in filtering(RowKey("e", "c", "50", 0, 3), table)}
    kept = {each.image for each in verdicts if each.times and each.origin == "real"}
    assert max(each.times for each in verdicts) > 1
    assert found["real_images"] == len(kept) / SLOTS <= 0.5


def test_what_was_replaced_is_not_lost():
    _, verdicts = by_oracle(mixture("25"), "replace", fpr=0.2)
    table = [{key: str(value) for key, value in vars(each).items()} for each in verdicts]
    found = {row.metric: row.value for row in filtering(RowKey("e", "c", "25", 0, 3), table)}
    assert found["contamination"] == found["rows_lost"] == 0
    assert Verdict.__annotations__.keys() == table[0].keys()


# ---- The script


def image_set(path, records, seed):
    pixels = np.random.default_rng(seed).integers(60, 190, (len(records), 64, 64, 3), dtype=np.uint8)
    write_image_set(path, pixels, records)
    return pixels


@pytest.fixture
def files(tmp_path):
    """Image sets of real, reserved and generated images, and the manifest of a mixture of half of each."""
    for name, records, seed in (("real", REAL, 0), ("fresh", FRESH, 1), ("made", GENERATED, 2)):
        image_set(tmp_path / f"{name}.parquet", records, seed)
    rows = [(row, str(tmp_path / file)) for row, file in mixture("50")]
    write_manifest(tmp_path / "mix.parquet", [row for row, _ in rows], [file for _, file in rows])
    return tmp_path


def run_filter(monkeypatch, folder, *more):
    words = ["filter.py", "--stage-version", "1", "--cell", "cell", "--seed", "0", "--iteration", "3", "--threads", "1",
             "--device", "cpu"]  # fmt: skip
    paths = {
        "mix": "mix.parquet",
        "real": "real.parquet",
        "fresh": "fresh.parquet",
        "output": "out.parquet",
        "table": "out.csv",
    }
    words += [word for name, path in paths.items() for word in (f"--{name}", str(folder / path))]
    monkeypatch.setattr(sys, "argv", [*words, *more])
    script = importlib.import_module("filter")
    # As a job does it, which ends its process.
    monkeypatch.setattr(script.cli, "run", lambda run, arguments: run(arguments))
    script.main()
    return read_manifest(folder / "out.parquet"), read_text_csv(folder / "out.csv")


def test_an_oracle_lets_reserved_images_stand_in_for_real_ones_that_it_takes_out(files, monkeypatch):
    kept, table = run_filter(
        monkeypatch, files, "--source", "oracle", "--action", "replace", "--fpr", "0.5", "--fnr", "0"
    )
    assert len(kept) == SLOTS
    assert not [record for record, _ in kept if record.origin == "generated"]
    wrong = [row for row in table if row["origin"] == "real" and row["flagged"] == "True"]
    assert wrong
    assert {row["replaced_by"] for row in wrong} <= {record.id for record in FRESH}
    assert {file for record, file in kept if record.id.startswith("fresh/")} == {str(files / "fresh.parquet")}


def test_a_filter_by_watermark_finds_marked_rows_and_reads_each_file_once(files, monkeypatch):
    pixels = image_set(files / "made.parquet", GENERATED, 2)
    write_image_set(files / "made.parquet", watermark.mark(pixels, "k", 4.0), GENERATED)
    script, read = importlib.import_module("filter"), []
    monkeypatch.setattr(script, "read_image_set", lambda path, slots: read.append(path) or read_image_set(path, slots))
    mark = '{"method": "spread_spectrum", "key": "k", "strength": 4.0}'
    kept, _ = run_filter(
        monkeypatch, files, "--source", "watermark", "--action", "drop", "--threshold", "0.999", "--watermark", mark
    )
    assert {record.origin for record, _ in kept} == {"real"}
    assert len(kept) >= SLOTS / 2 - 2
    assert len(read) == len(set(read)) == 2


# ---- The grid


def arm(**parameters):
    return {"name": "cleaned", "control": "filter", "ratios": [25, 100], "parameters": parameters}


def test_only_filters_that_may_take_real_rows_reserve_others():
    plain = {"name": "none", "ratios": [0, 25, 100]}
    for parameters, sets in (
        ({"fnr": 0.1}, []),
        ({"action": "replace"}, []),
        ({"action": "replace", "fpr": 0.1}, ["1", "2", "3", "4"]),
        ({"action": "replace", "source": "detector"}, ["detector", "1", "2", "3", "4"]),
        ({"source": "detector"}, ["detector"]),
    ):
        given = arm(**parameters) | ({"ratios": [25]} if parameters == {} else {})
        assert grid_of(arms=[plain, given]).fresh_sets() == sets
        defaults = {key: value["default"] for key, value in CONTROL.parameters.items()}
        assert CONTROL.needs_fresh(defaults | parameters) == ("1" in sets)


def test_parameters_without_sense_are_told():
    told = mistakes(arms=[{"name": "none", "ratios": [0, 100]}, arm(source="detector", fnr=0.1)])
    assert "`arms[1].parameters.fnr`: only an oracle has it" in told
    told = mistakes(arms=[{"name": "none", "ratios": [0, 100]}, arm(fnr=0.1, retrained=True)])
    assert "`arms[1].parameters.retrained`: only a detector is trained" in told
    told = mistakes(arms=[{"name": "none", "ratios": [0, 100]}, arm()])
    assert "`arms[1].ratios`: at 100 % an oracle without errors leaves nothing to train on" in told
    told = mistakes(arms=[{"name": "none", "ratios": [0, 100]}, arm(fpr=1.0) | {"ratios": [25]}])
    assert "`arms[1].parameters.fpr`: an oracle that takes every row for generated leaves nothing to train on" in told
    told = mistakes(arms=[{"name": "none", "ratios": [0, 100]}, arm(fnr=0.1, threshold=0.9)])
    assert "`arms[1].parameters.threshold`: an oracle is sure of every row" in told
    told = mistakes(arms=[{"name": "none", "ratios": [0, 100]}, arm(source="detector", threshold=1)])
    assert "`arms[1].parameters.threshold`: 1 is out of range" in told
    told = mistakes(arms=[{"name": "none", "ratios": [0, 100]}, arm(source="watermark", action="replace")])
    assert "`arms[1].parameters.threshold`: missing; 0.99 takes one real image in a hundred for marked" in told


def test_a_parameter_that_means_nothing_reruns_nothing():
    plain = {"name": "none", "ratios": [0, 100]}
    for given, idle in (
        (arm(fnr=0.1), {"threshold", "retrained"}),
        (arm(source="detector", action="replace"), {"fpr", "fnr"}),
    ):
        grid = grid_of(arms=[plain, given])
        words = settings(grid, "filter", grid.arm("cleaned"))
        for key in CONTROL.parameters:
            assert (f"--{key}" in words or f"--no-{key}" in words) == (key not in idle), (key, words)


def test_a_detectors_settings_know_of_no_other_score():
    """Its job reads the weights of one model, and no Inception."""
    plain = {"name": "none", "ratios": [0, 100]}
    with_inception = {"features": ["clip", "inception"], "inception": "clean-fid"}
    few, more = (
        grid_of(arms=[plain, arm(source="detector", action="replace")], score=score) for score in ({}, with_inception)
    )
    for stage in ("filter", "train_detector"):
        assert settings(few, stage, few.arm("cleaned")) == settings(more, stage, more.arm("cleaned"))


MARK = {"method": "spread_spectrum", "key": "k", "strength": 3.0}


def test_a_filter_by_watermark_needs_the_mark_in_all_that_is_drawn():
    plain = {"name": "none", "ratios": [0, 100]}
    marked = arm(source="watermark", action="replace", threshold=0.99)
    told = mistakes(arms=[plain, marked | {"overrides": {"sample": {"watermark": MARK}}}])
    assert "`arms[1].parameters.source`: a watermark is to be found that is not there" in told
    both = {"sample": {"watermark": MARK}, "initial_images": {"watermark": MARK}}
    grid = grid_of(arms=[plain, marked | {"overrides": both}])
    assert '--watermark \'{"key":"k"' in settings(grid, "filter", grid.arm("cleaned"))
    assert grid.fresh_sets() == ["1", "2", "3", "4"]


def test_confidence_in_a_mark_is_the_share_of_unmarked_images_with_less_of_it():
    pictures = np.random.default_rng(0).integers(60, 190, (400, 64, 64, 3), dtype=np.uint8)
    sure = norm.cdf(watermark.detect(pictures, "k"))
    assert binom.cdf(int((sure > 0.9).sum()), 400, 0.1) > 1e-4
    assert binom.sf(int((sure > 0.9).sum()) - 1, 400, 0.1) > 1e-4
    marked = norm.cdf(watermark.detect(watermark.mark(pictures[:40], "k", 3.0), "k"))
    assert (marked > 0.99).mean() > 0.9
