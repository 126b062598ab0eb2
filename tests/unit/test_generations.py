"""Chains of generations: what each is fitted to, in whatever chunks they are made, and whenever a job is killed."""

import logging

import numpy as np
import pytest
from nepotism import generations
from nepotism.errors import UserError
from nepotism.families.gmm import family as gmm
from nepotism.families.gmm import original_settings
from nepotism.images import Record
from nepotism.resume.job import Job
from nepotism.rows import write_rows

SETTINGS = {
    "original": [
        {"weight": 1, "mean": [-2.0, 0.0], "covariance": [[1.0, 0.0], [0.0, 1.0]]},
        {"weight": 1, "mean": [2.0, 0.0], "covariance": [[1.0, 0.0], [0.0, 1.0]]},
    ],
    "pool": {"samples": 40, "chains": 2},
    "samples": 40,
    "chains": 2,
    "components": 2,
    "snapshots": [0, 2],
}


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    files = {name: folder / f"{name}.parquet" for name in ("real", "holdout")}
    gmm.write_originals(original_settings(SETTINGS), files)
    return gmm.Family(SETTINGS, 0, files)


def made(family, folder, models, first, last, regime="replace", ratio="100", seconds=1e9, rows=()):
    with Job(folder / "metrics.json", seconds) as job:
        return generations.run(
            family, job, models, dict(rows), first, last, regime, ratio, 0, "test", settings="settings"
        )


def same(one, other):
    assert one.keys() == other.keys()
    for iteration, model in one.items():
        for name, array in model.items():
            np.testing.assert_array_equal(array, other[iteration][name])


@pytest.fixture
def base(family, tmp_path):
    return made(family, tmp_path, {}, 0, 0).models


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("regime", ["replace", "accumulate", "accumulate_subsample"])
def test_chunks_do_not_matter(family, base, tmp_path, regime, kept):
    whole = made(family, tmp_path, base, 1, 6, regime)
    first = made(family, tmp_path, base, 1, 3, regime)
    # What replaces needs the last model only, and the first one to compare with.
    known = base | ({3: first.models[3]} if regime == "replace" else first.models)
    second = made(family, tmp_path, known, 4, 6, regime, rows=first.rows if kept else ())
    same(whole.models, first.models | second.models)
    assert whole.scores == first.scores | second.scores
    np.testing.assert_array_equal(whole.rows[6], second.rows[6])


@pytest.mark.parametrize("regime", ["replace", "accumulate", "accumulate_subsample"])
def test_a_killed_chunk_goes_on_at_any_generation(family, base, tmp_path, regime, caplog):
    undisturbed = made(family, tmp_path / "undisturbed", base, 1, 6, regime)

    class Dies:
        def __getattr__(self, name):
            return getattr(family, name)

        def fit(self, rows, parent, iteration):
            if iteration == 5:
                raise KeyboardInterrupt
            return family.fit(rows, parent, iteration)

    with pytest.raises(KeyboardInterrupt):
        made(Dies(), tmp_path / "killed", base, 1, 6, regime, seconds=0)
    with caplog.at_level(logging.INFO):
        again = made(family, tmp_path / "killed", base, 1, 6, regime, seconds=0)
    assert "resumed at generation 4" in caplog.text
    same(undisturbed.models, again.models)
    assert undisturbed.scores == again.scores
    assert not list((tmp_path / "killed").glob(".*")), "state was left behind"


def test_rows_of_shown_generations_and_of_the_last_are_kept(family, base, tmp_path):
    assert list(made(family, tmp_path, base, 1, 5).rows) == [2, 5]


def test_the_plan_that_replaces_is_nested_and_keeps_original_rows():
    taken = {}
    for ratio in ("0", "10", "90", "100"):
        sources = generations.plan("replace", ratio, 40, 0, 7)
        by_origin = {source.origin: source for source in sources}
        taken[ratio] = set(by_origin["generated"].slots) if "generated" in by_origin else set()
        assert len(taken[ratio]) == 40 * int(ratio) // 100
        assert all(source.iteration == 6 for source in sources if source.origin == "generated")
        assert sorted(slot for source in sources for slot in source.slots) == list(range(40))
    assert taken["10"] < taken["90"] < taken["100"]
    again = generations.plan("replace", "10", 40, 0, 1)
    assert set(again[-1].slots) == taken["10"], "the original rows that stay are the same in every generation"


@pytest.mark.parametrize("ratio", ["0.1", "99.9"])
def test_a_ratio_that_is_none_or_all_of_the_rows_is_explained(ratio):
    with pytest.raises(UserError, match=rf"`arms\.ratios`: {ratio} % of 40 rows is (none|all) of them"):
        generations.plan("replace", ratio, 40, 0, 1)


def test_the_plans_that_accumulate():
    everything = generations.plan("accumulate", "100", 40, 0, 3)
    assert [(source.origin, source.iteration) for source in everything] == [
        ("real", 0), ("generated", 0), ("generated", 1), ("generated", 2),
    ]  # fmt: skip
    assert all(len(source.slots) == 40 for source in everything)
    some = generations.plan("accumulate_subsample", "100", 40, 0, 3)
    drawn = [(source.origin, source.iteration, slot) for source in some for slot in source.slots]
    assert len(drawn) == len(set(drawn)) == 40
    assert len(some) > 1


def test_rows_survive_their_file(family, base, tmp_path):
    kept = made(family, tmp_path, base, 1, 5).rows
    records = [Record(str(slot), "", "", f"{slot:05d}", "generated", 2) for slot in range(40)]
    write_rows(tmp_path / "samples.parquet", family.table(kept[2], records))
    read = generations.read_drawn(family, tmp_path / "samples.parquet")
    assert list(read) == [2]
    np.testing.assert_array_equal(read[2], kept[2])


def test_models_survive_their_file(family, base, tmp_path):
    chunk = made(family, tmp_path, base, 1, 3).models
    generations.write_models(tmp_path / "generations.safetensors", chunk)
    same(chunk, generations.read_models(tmp_path / "generations.safetensors"))
    (tmp_path / "usual").touch()
    # Not for their owner only, as safetensors would have it.
    assert (tmp_path / "generations.safetensors").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_sampling_alone_costs_is_a_row_of_generation_0(family, tmp_path):
    scores = {(score.set, score.metric): score.value for score in made(family, tmp_path, {}, 0, 0).scores[0]}
    floor, found = scores["real", "wasserstein"], scores["samples", "wasserstein"]
    assert 0 < floor < 2
    assert floor / 3 < found < 3 * floor


def test_scores_are_over_chains(family, base, tmp_path):
    scores = {score.metric: score for score in made(family, tmp_path, base, 1, 2).scores[2]}
    assert scores.keys() == gmm.METRICS.keys()
    assert all(score.n == 2 for score in scores.values())
    spread = scores["log_spread"]
    assert spread.ci_low < spread.value < spread.ci_high
    assert spread.sd > spread.se > 0
