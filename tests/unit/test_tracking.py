"""Scores that are sent to experiment trackers: read back from TensorBoard's files, and asked of stand-ins for the others."""

import json
import subprocess
import sys
import types

import pytest
from conftest import ROOT
from nepotism.data.tables import Row, write_metrics
from nepotism.runtime.errors import UserError
from nepotism.share.tracking import Run, send, values_by_iteration
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CHAIN = "none/ratio-50/seed-0"


def write_cell(folder, iteration, value):
    place = folder / CHAIN / f"iteration-{iteration}" if iteration else folder / "base" / "seed-0"
    named = {"control": "none", "ratio": "50", "seed": 0, "iteration": iteration, "n": 60}
    unknown = {"sd": None, "se": None, "ci_low": None, "ci_high": None}
    scores = enumerate([("clip", "fid"), ("", "accepted_share")])
    rows = [
        Row("one", set="samples", features=space, metric=metric, value=value + more, **named, **unknown)
        for more, (space, metric) in scores
    ]
    write_metrics(place / "metrics.json", rows)
    return place / "metrics.json"


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results" / "one"
    for iteration in range(3):
        write_cell(folder, iteration, 10.0 * iteration)
    (folder / "config.json").write_text(json.dumps({"seeds": [0], "model": {"path": "/srv/of someone/tiny"}}))
    return folder


def track(folder, tracker, iteration, python=(), cwd=ROOT):
    metrics = [folder / CHAIN / f"iteration-{iteration}" / "metrics.json"]
    output = folder / "tracking" / tracker / CHAIN / f"iteration-{iteration}.json"
    before = output.with_name(f"iteration-{iteration - 1}.json")
    words = ["--log-with", tracker, "--project", "one", "--run", CHAIN, "--iteration", iteration]
    words += ["--metrics", *([folder / "base" / "seed-0" / "metrics.json"] if iteration == 1 else []), *metrics]
    words += ["--before", before] if iteration > 1 else []
    words += ["--configuration", folder / "config.json", "--output", output]
    command = [sys.executable, *python, ROOT / "scripts" / "track.py", *words]
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    return done.returncode, done.stderr, output


def scalars(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_reads_what_was_sent_once(results):
    for iteration in (1, 2):
        code, error, output = track(results, "tensorboard", iteration)
        assert code == 0, error
    assert json.loads(output.read_text())["values"] == {"2": 2}
    run = results / "tracking" / "tensorboard" / CHAIN
    wanted = {
        "samples/clip/fid": [(0, 0.0), (1, 10.0), (2, 20.0)],
        "samples/accepted_share": [(0, 1.0), (1, 11.0), (2, 21.0)],
    }
    assert scalars(run) == wanted
    # No other run beside it, and nothing of this machine in its configuration.
    assert not [path for path in run.iterdir() if path.is_dir()]
    assert not [path for path in run.iterdir() if b"of someone" in path.read_bytes()]
    # Scored anew, and sent anew: the old value is gone.
    write_cell(results, 2, 7.0)
    assert track(results, "tensorboard", 2)[0] == 0
    assert scalars(run)["samples/clip/fid"] == [(0, 0.0), (1, 10.0), (2, 7.0)]


class StandIn(types.ModuleType):
    """A tracker's package: what is asked of it, and nothing else."""

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = types.SimpleNamespace(name=name, submodule_search_locations=None)
        self.calls, self.config = [], self
        self.info = types.SimpleNamespace(run_id="run-1")
        self.utils = types.SimpleNamespace(
            validation=types.SimpleNamespace(MAX_PARAM_VAL_LENGTH=500, MAX_PARAMS_TAGS_PER_BATCH=100)
        )

    def _noted(self, what, *values, **options):
        self.calls.append((what, values, options))
        return self

    def init(self, **options):
        return self._noted("init", **options)

    def update(self, values, **options):
        self._noted("settings", values)

    def log(self, values, step):
        self._noted("log", step, values)

    def finish(self):
        self._noted("finish")

    # MLflow's names of these.
    def search_experiments(self, filter_string):
        return []

    def create_experiment(self, name, **options):
        return name

    def start_run(self, **options):
        return self._noted("init", **options)

    def log_params(self, values):
        self._noted("settings", values)

    def log_metrics(self, values, step):
        self._noted("log", step, values)

    def end_run(self):
        self._noted("finish")


@pytest.fixture
def stand_in(monkeypatch):
    def make(name):
        made = StandIn(name)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    return make


@pytest.mark.parametrize("name", ["wandb", "trackio", "mlflow"])
def test_all_cells_of_a_chain_are_one_run_of_other_trackers(name, stand_in, results, tmp_path):
    asked = stand_in(name)
    chain = Run("one", CHAIN, tmp_path)
    files = [results / "base/seed-0/metrics.json", *(results / CHAIN / f"iteration-{i}/metrics.json" for i in (1, 2))]
    number = send(name, chain, 1, values_by_iteration(files[:2]), {"finetune.epochs": "2"})
    again = Run("one", CHAIN, tmp_path, number)
    assert send(name, again, 2, values_by_iteration(files[2:]), {}) == number
    assert [what for what, *_ in asked.calls] == ["init", "settings", "log", "log", "finish", "init", "log", "finish"]
    logged = [values for what, values, _ in asked.calls if what == "log"]
    assert logged == [
        (step, {"samples/clip/fid": 10.0 * step, "samples/accepted_share": 10.0 * step + 1}) for step in range(3)
    ]
    first, second = (options for what, _, options in asked.calls if what == "init")
    if name == "mlflow":
        assert (first["experiment_id"], first["run_name"], first["run_id"]) == ("one", CHAIN, None)
        assert second["run_id"] == "run-1"
    else:
        assert first == second
        assert (first["project"], first["name"], first["resume"]) == ("one", CHAIN, "allow")
    if name == "wandb":
        assert first["id"] != Run("one", "none/ratio-50/seed-1", tmp_path).key


def test_what_is_not_installed_and_what_a_tracker_refuses_is_told_in_one_line(results, stand_in, tmp_path):
    code, error, output = track(results, "wandb", 1)
    assert code == 2
    assert "`tracking.log_with`: the package wandb is not installed; `python -m pip install wandb`, or set" in error
    assert len(error.strip().splitlines()) == 1
    assert not output.exists()
    asked = stand_in("wandb")

    def refuse(**options):
        raise ConnectionError("no network\nand more")

    asked.init = refuse
    with pytest.raises(UserError, match=r"wandb did not take the scores of none/ratio-50/seed-0: no network$"):
        send("wandb", Run("one", CHAIN, tmp_path), 1, {1: {"fid": 1.0}}, {})
