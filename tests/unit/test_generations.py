"""Chains of generations: what each is fitted to, in whatever chunks they are made, and whenever a job is killed."""

import logging
import os
import signal
import time

import declared
import numpy as np
import pyarrow.parquet as pq
import pytest
from interrupted import at_random, until_done
from nepotism.chain import engine
from nepotism.chain.manifest import write_plans
from nepotism.chain.regimes import REGIMES
from nepotism.chain.slots import Slots
from nepotism.data.images import Record
from nepotism.data.rows import write_rows
from nepotism.families import gmm as gmm_package
from nepotism.families.gmm import family as gmm
from nepotism.families.gmm import original_settings
from nepotism.runtime.errors import Interrupted, UserError
from nepotism.runtime.resume.checkpoints import Checkpoints
from nepotism.runtime.resume.job import Job

SETTINGS = {
    "original": [
        {"weight": 1, "mean": [-2.0, 0.0], "covariance": [[1.0, 0.0], [0.0, 1.0]]},
        {"weight": 1, "mean": [2.0, 0.0], "covariance": [[1.0, 0.0], [0.0, 1.0]]},
    ],
    "pool": {"samples": 40, "chains": 2},
    "samples": 40,
    "chains": 2,
    "n_components": 2,
    "init": "parent",
    "tolerance": 1e-3,
    "max_iter": 100,
    "snapshots": [0, 2],
}


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    folder = tmp_path_factory.mktemp("family_reference")
    files = {name: folder / f"{name}.parquet" for name in ("real", "holdout")}
    gmm.write_originals(original_settings(SETTINGS), files)
    found = gmm.Family(SETTINGS, 0, files)
    found.files = files
    return found


def made(family, folder, models, first, last, regime="replace", ratio="100", seconds=1e9, rows=(), **options):
    options = options or {"kept": "fixed"}
    with Job(folder / "samples.parquet", seconds) as job:
        return engine.run(
            family,
            job,
            models,
            dict(rows),
            first,
            last,
            REGIMES[regime],
            options,
            ratio,
            0,
            "test",
            settings="settings",
        )


def scored(family, made, base):
    return engine.score(family, made.models, made.rows, base[0])


def same(one, other):
    assert one.keys() == other.keys()
    for iteration, model in one.items():
        for name, array in model.items():
            np.testing.assert_array_equal(array, other[iteration][name])


def same_rows(one, other):
    assert one.rows.keys() == other.rows.keys()
    for iteration, rows in one.rows.items():
        np.testing.assert_array_equal(rows, other.rows[iteration])


@pytest.fixture
def base(family, tmp_path):
    return made(family, tmp_path, {}, 0, 0).models


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    "regime", [name for name, regime in REGIMES.items() if not regime.branches and not regime.listens]
)
def test_chunks_do_not_matter(family, base, tmp_path, regime, kept):
    whole = made(family, tmp_path, base, 1, 6, regime)
    first = made(family, tmp_path, base, 1, 3, regime)
    # What replaces needs the last model only.
    known = base | first.models if REGIMES[regime].accumulates else {3: first.models[3]}
    second = made(family, tmp_path, known, 4, 6, regime, rows=first.rows if kept else ())
    same(whole.models, first.models | second.models)
    assert scored(family, whole, base) == scored(family, first, base) | scored(family, second, base)
    np.testing.assert_array_equal(whole.rows[6], second.rows[6])


def test_a_chain_of_generations_has_no_rows_of_another(family, base, tmp_path):
    with pytest.raises(ValueError, match="a chain of generations has no rows of another chain"):
        made(family, tmp_path, base, 1, 1, "feed", share=50)


def test_several_draws_of_a_model_are_fitted_to_in_whatever_chunks(family, base, tmp_path):
    fitted = {}

    class Watched:
        def __getattr__(self, name):
            return getattr(family, name)

        def fit(self, rows, parent, iteration, checkpoints):
            fitted[iteration] = rows
            return family.fit(rows, parent, iteration, checkpoints)

    whole = made(Watched(), tmp_path, base, 1, 4, "augment", "250", kept="fixed")
    half = Slots({"": 40}, 0).split("50")[0]
    for iteration in (1, 4):
        mixtures = gmm.Mixtures(**(base | whole.models)[iteration - 1])
        # Of the streams' names: what is drawn today, and two more.
        drawn = [
            gmm.sample(mixtures, 40, 0, iteration - 1, name).transpose(2, 1, 0)
            for name in ("sample", "sample-1", "sample-2")
        ]
        expected = np.concatenate([family.originals(), drawn[0], drawn[1], drawn[2][half]])
        np.testing.assert_array_equal(fitted[iteration], expected)
    first = made(family, tmp_path, base, 1, 2, "augment", "250")
    second = made(family, tmp_path, {2: first.models[2]}, 3, 4, "augment", "250", rows={2: first.rows[2]})
    same(whole.models, first.models | second.models)
    one, two = (
        made(family, tmp_path, base, 1, 1, "augment", "100"),
        made(family, tmp_path, base, 1, 1, "augment", "200"),
    )
    assert len(two.plans[1]) == len(one.plans[1]) + 1

    write_plans(tmp_path / "mix.parquet", whole.plans, 40)
    rows = pq.read_table(tmp_path / "mix.parquet").to_pylist()
    assert [(row["origin"], row["draw"], row["rows"]) for row in rows if row["iteration"] == 4] == [
        ("real", 0, 40), ("generated", 0, 40), ("generated", 1, 40), ("generated", 2, 20),
    ]  # fmt: skip
    assert {row["source_iteration"] for row in rows if row["iteration"] == 4} == {0, 3}


@pytest.mark.parametrize("regime", ["replace", "accumulate", "accumulate_subsample"])
def test_a_killed_chunk_goes_on_at_any_generation(family, base, tmp_path, regime, caplog):
    undisturbed = made(family, tmp_path / "undisturbed", base, 1, 6, regime)

    class Dies:
        def __getattr__(self, name):
            return getattr(family, name)

        def fit(self, rows, parent, iteration, checkpoints):
            if iteration == 5:
                raise KeyboardInterrupt
            return family.fit(rows, parent, iteration, checkpoints)

    with pytest.raises(KeyboardInterrupt):
        made(Dies(), tmp_path / "killed", base, 1, 6, regime, seconds=0)
    with caplog.at_level(logging.INFO):
        again = made(family, tmp_path / "killed", base, 1, 6, regime, seconds=0)
    assert "resumed after generation 4" in caplog.text
    same(undisturbed.models, again.models)
    same_rows(undisturbed, again)
    assert not list((tmp_path / "killed").glob(".*")), "state was left behind"


def test_a_finished_generation_is_written_once(family, base, tmp_path, monkeypatch):
    written = []
    original = Checkpoints._write

    def watched(self, position, tensors, values):
        if self._parts:
            written.append({name for name in tensors if name.startswith("model/")})
        original(self, position, tensors, values)

    monkeypatch.setattr(Checkpoints, "_write", watched)
    chunk = made(family, tmp_path, base, 1, 6, seconds=0)
    assert sorted(name for names in written for name in names) == sorted(engine.packed(chunk.models, "model"))
    assert len(written) == 6


def test_a_damaged_checkpoint_of_a_generation_costs_what_came_after_it(family, base, tmp_path, monkeypatch, caplog):
    undisturbed = made(family, tmp_path / "undisturbed", base, 1, 6)
    stop_at(monkeypatch, 5)
    with pytest.raises(Interrupted):
        made(family, tmp_path / "killed", base, 1, 6, seconds=0)
    monkeypatch.undo()
    (damaged,) = (tmp_path / "killed" / ".samples.state").glob("generations@*@000000003.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with caplog.at_level(logging.INFO):
        again = made(family, tmp_path / "killed", base, 1, 6)
    assert "000000003 is damaged" in caplog.text
    assert "resumed after generation 2" in caplog.text
    same(undisturbed.models, again.models)
    same_rows(undisturbed, again)


def stop_at(monkeypatch, count):
    """Have a job end after ``count`` generations were saved."""
    original = Job.saved

    def saved(self, position):
        original(self, position)
        if len(list(self._folder.glob("generations@*.json"))) == count:
            raise Interrupted("stopped", signal.SIGTERM)

    monkeypatch.setattr(Job, "saved", saved)


@pytest.mark.parametrize("seed", range(3))
def test_fits_and_draws_that_are_stopped_anywhere_go_on_to_the_same_bytes(family, base, tmp_path, monkeypatch, seed):
    """Expectation maximisation from k-means, step by step."""
    settings = {**SETTINGS, "init": "kmeans", "tolerance": 1e-6, "max_iter": 500}
    slow = gmm.Family(settings, 0, family.files)
    undisturbed = made(slow, tmp_path / "undisturbed", base, 1, 3)
    ends = at_random(monkeypatch, seed, 5)
    again = until_done(lambda: made(slow, tmp_path / "killed", base, 1, 3, seconds=0))
    assert [name for name, _ in ends].count("fit") >= 2
    same(undisturbed.models, again.models)
    same_rows(undisturbed, again)


class Slow:
    """A family whose generations take longer than the time between two checkpoints."""

    def __init__(self, family, stop):
        self._family, self._stop, self.fitted = family, stop, []

    def __getattr__(self, name):
        return getattr(self._family, name)

    def fit(self, rows, parent, iteration, checkpoints):
        self.fitted.append(iteration)
        for step in range(4):
            if self._stop == (iteration, step):
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.02)
            checkpoints.offer(step, lambda: ({"state": np.zeros(1)}, {}))
        if self._stop == (iteration, 4):
            # As SIGKILL: nothing is saved from here on.
            raise RuntimeError("killed")
        return self._family.fit(rows, parent, iteration)


@pytest.mark.parametrize(("stop", "again"), [((4, 4), 4), ((4, 1), 4), ((1, 2), 1)])
def test_generations_that_take_longer_than_an_interval_are_kept(family, base, tmp_path, stop, again):
    undisturbed = made(family, tmp_path / "undisturbed", base, 1, 5)
    with pytest.raises((RuntimeError, Interrupted)):
        made(Slow(family, stop), tmp_path / "killed", base, 1, 5, seconds=0.03)
    slow = Slow(family, None)
    resumed = made(slow, tmp_path / "killed", base, 1, 5, seconds=0.03)
    assert slow.fitted == list(range(again, 6))
    same(undisturbed.models, resumed.models)
    same_rows(undisturbed, resumed)


def test_rows_of_shown_generations_and_of_the_last_are_kept(family, base, tmp_path):
    assert list(made(family, tmp_path, base, 1, 5).rows) == [2, 5]


def planned(regime, ratio, iteration, kept="fixed"):
    return REGIMES[regime].plan(Slots({"": 40}, 0), ratio, iteration, {"kept": kept})


def test_the_plan_that_replaces_is_nested_and_keeps_original_rows():
    taken = {}
    for ratio in ("0", "10", "90", "100"):
        sources = [source for source in planned("replace", ratio, 7) if len(source.slots)]
        by_origin = {source.origin: source for source in sources}
        taken[ratio] = set(by_origin["generated"].slots) if "generated" in by_origin else set()
        assert len(taken[ratio]) == 40 * int(ratio) // 100
        assert all(source.iteration == 6 for source in sources if source.origin == "generated")
        assert sorted(slot for source in sources for slot in source.slots) == list(range(40))
    assert taken["10"] < taken["90"] < taken["100"]
    again = planned("replace", "10", 1)
    assert set(again[-1].slots) == taken["10"], "the original rows that stay are the same in every generation"


def test_kept_rows_may_be_drawn_anew_for_every_generation():
    def kept(ratio, iteration):
        return set(planned("replace", ratio, iteration, "redrawn")[0].slots.tolist())

    assert len({frozenset(kept("90", iteration)) for iteration in range(1, 9)}) > 5
    assert all(len(kept("90", iteration)) == 4 for iteration in range(1, 9))
    assert kept("90", 3) < kept("50", 3), "nested within a generation"
    assert kept("90", 3) == kept("90", 3)


@pytest.mark.parametrize("ratio", ["0.1", "99.9"])
def test_a_ratio_that_is_none_or_all_of_the_rows_is_explained(ratio):
    with pytest.raises(UserError, match=rf"`arms\.ratios`: {ratio} % of 40 slots is (no row at all|all of them)"):
        planned("replace", ratio, 1)


def test_the_plans_that_accumulate():
    everything = planned("accumulate", "100", 3)
    assert [(source.origin, source.iteration) for source in everything] == [
        ("real", 0), ("generated", 0), ("generated", 1), ("generated", 2),
    ]  # fmt: skip
    assert all(len(source.slots) == 40 for source in everything)
    some = planned("accumulate_subsample", "100", 3)
    drawn = [(source.origin, source.iteration, slot) for source in some for slot in source.slots]
    assert len(drawn) == len(set(drawn)) == 40
    assert len(some) > 1


def test_rows_survive_their_file(family, base, tmp_path):
    kept = made(family, tmp_path, base, 1, 5).rows
    records = [Record(str(slot), "", "", f"{slot:05d}", "generated", 2) for slot in range(40)]
    write_rows(tmp_path / "samples.parquet", family.table(kept[2], records))
    read = engine.read_drawn(family, tmp_path / "samples.parquet")
    assert list(read) == [2]
    np.testing.assert_array_equal(read[2], kept[2])


def test_models_survive_their_file(family, base, tmp_path):
    chunk = made(family, tmp_path, base, 1, 3).models
    engine.write_models(tmp_path / "generations.safetensors", chunk)
    same(chunk, engine.read_models(tmp_path / "generations.safetensors"))
    (tmp_path / "usual").touch()
    # Not for their owner only, as safetensors would have it.
    assert (tmp_path / "generations.safetensors").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_sampling_alone_costs_is_a_row_of_generation_0(family, tmp_path):
    chunk = made(family, tmp_path, {}, 0, 0)
    scores = {(score.set, score.metric): score.value for score in scored(family, chunk, chunk.models)[0]}
    floor, found = scores["real", "wasserstein"], scores["samples", "wasserstein"]
    assert 0 < floor < 2
    assert floor / 3 < found < 3 * floor


def test_scores_are_over_chains(family, base, tmp_path):
    scores = {score.metric: score for score in scored(family, made(family, tmp_path, base, 1, 2), base)[2]}
    declared.check(gmm_package, scores.values())
    assert all(score.n == 2 for score in scores.values())
    spread = scores["log_spread"]
    assert spread.ci_low < spread.value < spread.ci_high
    assert spread.sd > spread.se > 0
