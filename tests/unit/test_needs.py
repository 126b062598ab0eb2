"""What jobs ask a cluster for, and where an experiment stands."""

import argparse
import itertools
import json
import time

import pytest
import status as script
from nepotism.plan import status
from nepotism.plan.forecast import forecast, groups_of_folder
from nepotism.plan.needs import LEAST_MINUTES, Needs
from nepotism.plan.rates import Rate
from test_config import DEFAULT, grid_of


def rate(**changes):
    values = {"device": "GPU", "parameters": 2.3, "resolution": 64, "precision": "fp32/fp32", "train_per_second": 0.5,
              "passes_per_second": 1.0, "job_seconds": 60.0, "measured": "today", **changes}  # fmt: skip
    return Rate(**values)


def test_time_follows_from_measured_rates_of_the_experiments_own_arithmetic():
    grid = grid_of(
        reference={"images_per_group": 6},
        finetune={"epochs": 5},
        sample={"guidance_scale": 3.0, "num_inference_steps": 10},
    )
    needs = Needs(grid, [rate(), rate(precision="bf16/fp16", train_per_second=1000.0), rate(parameters=866.0)], 30)
    # 180 images, five epochs at 0.5 a second, and a minute to start; three times that.
    assert needs.minutes("finetune", None) == pytest.approx(3 * (5 * 180 / 0.5 + 60) / 60, abs=1)
    assert needs.minutes("sample", None) == pytest.approx(3 * (180 * 20 + 60) / 60, abs=1)
    assert Needs(grid, [rate(train_per_second=1e9)], 30).minutes("finetune", None) == LEAST_MINUTES


def test_iteration_0_takes_as_long_as_its_own_settings_say_whatever_the_first_arm_overrides():
    slow = {"name": "slow", "ratios": [100], "overrides": {"sample": {"num_inference_steps": 1000}}}
    plain = {"name": "none", "ratios": [100]}
    grid = grid_of(arms=[slow, plain], sample={"num_inference_steps": 10})
    needs = Needs(grid, [rate()], 30)
    quick, long = (needs.minutes("sample", grid.arm_of_base(base)) for base in ("base", "base-slow"))
    assert long > 50 * quick
    plan, swapped = (forecast(grid_of(arms=arms), 30).passes for arms in ([slow, plain], [plain, slow]))
    assert plan == swapped


def test_further_draws_are_counted_once_where_they_are_shared():
    def arm(*ratios, **overrides):
        return {"name": "more", "regime": "augment", "ratios": list(ratios), "overrides": overrides}

    plan, more = (forecast(grid_of(arms=[arm(*ratios)], iterations=3), 30) for ratios in ((100, 50), (250, 150)))
    slots = plan.slots
    # At iteration 1, 150 % takes an image set of the base model that 250 % takes, too.
    assert (more.jobs["initial_draws"], more.jobs["sample_draws"]) == (2, (2 + 1) * 2)
    assert not {"initial_draws", "sample_draws"} & plan.jobs.keys()
    sample, first = (2 * DEFAULT[name]["num_inference_steps"] for name in ("sample", "initial_images"))
    assert more.passes - plan.passes == slots * (6 * sample + 2 * int(first * DEFAULT["initial_images"]["strength"]))
    assert more.trained == plan.trained, "at equal steps"
    assert more.final_bytes > plan.final_bytes
    equal = grid_of(arms=[arm(250, finetune={"budget": "epochs", "epochs": 2})], iterations=3)
    assert forecast(equal, 30).trained == 3 * 2 * 3.5 * slots
    grid = grid_of(arms=[arm(250, finetune={"epochs": 2})])
    slow = [rate(train_per_second=0.01)]
    longer = Needs(equal, slow, 30).minutes("finetune", equal.arm("more"))
    assert longer > 3 * Needs(grid, slow, 30).minutes("finetune", grid.arm("more"))
    assert Needs(grid, [], 30).memory_mb("finetune", grid.arm("more")) > Needs(grid_of(), [], 30).memory_mb("finetune")


def test_memory_grows_with_the_model_and_the_images(tmp_path):
    small = Needs(grid_of(), [], 30)
    (tmp_path / "unet").mkdir()
    with open(tmp_path / "unet" / "model.safetensors", "wb") as file:
        file.truncate(3_463_726_498)
    large = Needs(grid_of(model={"path": str(tmp_path), "resolution": 512}), [], 30)
    assert 1000 < small.memory_mb("finetune") < 2100, "1.1 GB were measured"
    assert large.memory_mb("finetune") > 7 * 3463
    assert large.memory_mb("finetune") > large.memory_mb("sample") > 2 * 3463
    assert large.memory_mb("histogram_match") < 4000


def test_groups_are_counted_in_the_users_folder_only_where_nothing_else_names_them(tmp_path):
    assert groups_of_folder(tmp_path / "nowhere") is None
    for name in ("cats", "dogs", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "readme.txt").touch()
    assert groups_of_folder(tmp_path) == 2
    (tmp_path / "metadata.jsonl").touch()
    assert groups_of_folder(tmp_path) is None


# ---- Where an experiment stands


@pytest.fixture
def experiment(tmp_path):
    arms = [
        {"name": "none", "ratios": [0, 100]},
        {"name": "histogram_match", "control": "histogram_match", "ratios": [100]},
    ]
    grid = grid_of(arms=arms, iterations=2)
    (tmp_path / "config.json").write_text(json.dumps(grid.config))
    return grid, tmp_path


def make(folder, path, content=""):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def by_path(grid, folder):
    return {cell_status.cell.path: cell_status for cell_status in status.cell_statuses(grid, folder)}


def test_the_state_of_every_cell_is_told_from_files_alone(experiment):
    grid, folder = experiment
    done, running, failed, paused = (
        "none/ratio-0/seed-0/iteration-1",
        "none/ratio-0/seed-0/iteration-2",
        "none/ratio-100/seed-0/iteration-1",
        "histogram_match/ratio-100/seed-0/iteration-1",
    )
    for name in status.OUTPUTS.values():
        make(folder, f"{done}/{name}")
    rows = [{"iteration": 1, "metric": "fid", "set": "samples", "features": "clip", "value": 12.5}]
    make(folder, f"{done}/metrics.json", json.dumps({"rows": rows}))
    make(folder, f"{running}/mix.parquet")
    make(folder, f"{running}/.model.state/lease.json")
    make(folder, f"logs/finetune/{running}.log", "12:00:00 finetune: step 5/30, loss 0.1, 9 s left\n")
    make(folder, f"{failed}/mix.parquet")
    before = "--- today on here\n12:00:00 begun\n--- again\n"
    make(
        folder,
        f"logs/finetune/{failed}.log",
        before + "12:00:00 error: the loss is nan; lower `finetune.learning_rate`\n",
    )
    make(folder, f"{paused}/.model.state/finetune@1@2.json")
    found = by_path(grid, folder)
    assert (found[done].state, found[done].distance, found[done].missing) == ("done", 12.5, ())
    assert (found[running].state, found[running].stage) == ("running", "finetune")
    assert found[running].message == "finetune: step 5/30, loss 0.1, 9 s left"
    assert found[failed].state == "failed"
    assert found[failed].message == "the loss is nan; lower `finetune.learning_rate`"
    assert found[failed].log == folder / f"logs/finetune/{failed}.log"
    assert found[paused].state == "paused"
    assert found[paused].missing == ("histogram_match", "mix", "finetune", "sample", "score")
    assert found["none/ratio-100/seed-0/iteration-2"].state == "waiting"


def test_a_heartbeat_that_stopped_is_no_running_job(experiment):
    import os

    grid, folder = experiment
    place = "none/ratio-0/seed-0/iteration-1"
    make(folder, f"{place}/.model.state/lease.json")
    make(folder, f"logs/finetune/{place}.log", "12:00:00 begun\n")
    assert by_path(grid, folder)[place].state == "running"
    long_ago = time.time() - 1000
    os.utime(folder / place / ".model.state/lease.json", (long_ago, long_ago))
    assert by_path(grid, folder)[place].state == "paused"


def test_a_heartbeat_is_fresh_by_the_clock_of_the_files_and_not_by_ours(experiment, monkeypatch):
    grid, folder = experiment
    place = "none/ratio-0/seed-0/iteration-1"
    make(folder, f"{place}/.model.state/lease.json")
    make(folder, f"logs/finetune/{place}.log", "12:00:00 begun\n")
    here = time.time()
    # This machine's clock is an hour ahead: the job has been silent for an hour only by that.
    monkeypatch.setattr(time, "time", lambda: here + 3600)
    before = sorted(folder.iterdir())
    assert by_path(grid, folder)[place].state == "running"
    assert sorted(folder.iterdir()) == before, "asking leaves nothing behind"


def test_the_time_left_is_that_of_measured_jobs_and_of_the_longest_chain(experiment):
    grid, folder = experiment
    for stage, seconds in (("finetune", 10), ("sample", 4), ("mix", 1)):
        make(folder, f"benchmarks/{stage}/x.tsv", f"s\tcpu_time\n{seconds}\t1\n")
    rest = status.remaining_work(status.cell_statuses(grid, folder), folder)
    # Three chains of two cells, none of them begun.
    assert (rest.work, rest.chain) == (6 * 15, 2 * 15)
    assert set(rest.unmeasured) == {"score", "histogram_match"}
    assert (rest.wall(1), rest.wall(100)) == (90, 30)


def test_the_grid_of_states_stands_in_columns_and_tells_what_it_does_not_know(experiment, capsys):
    _, folder = experiment
    make(folder, "histogram_match/ratio-100/seed-0/iteration-1/mix.parquet")
    script.run(argparse.Namespace(folder=folder, jobs=None))
    printed = capsys.readouterr().out
    header, row = next(
        pair for pair in itertools.pairwise(printed.splitlines()) if pair[0].startswith("histogram_match")
    )
    # It has its training set, but not what that is made of.
    assert row.split() == ["100", "%", "to", "histogram_match", "."]
    assert [row[header.index(number)] for number in "12"] == ["h", "."]
    assert script.LEGEND in printed
    assert "time left: not known, for no job of" in printed


def test_an_arm_without_cells_is_a_line_of_its_name(experiment):
    grid, _ = experiment
    assert script.matrix(grid.arms[0], [], []).split() == ["none"]


def test_filters_and_further_draws_are_stages_of_a_cell(tmp_path):
    arms = [
        {"name": "none", "ratios": [0, 100]},
        {"name": "cleaned", "control": "filter", "ratios": [100], "parameters": {"fnr": 0.1}},
        {"name": "more", "regime": "augment", "ratios": [250]},
    ]
    grid = grid_of(arms=arms, iterations=2)
    missing = {path: cell_status.missing for path, cell_status in by_path(grid, tmp_path).items()}
    assert missing["cleaned/ratio-100/seed-0/iteration-1"] == ("mix", "filter", "finetune", "sample", "score")
    first, last = (f"more/ratio-250/seed-0/iteration-{iteration}" for iteration in (1, 2))
    assert missing[first] == ("mix", "finetune", "sample", "sample_draws", "score")
    assert missing[last] == ("mix", "finetune", "sample", "score"), "nothing is trained on what it draws"
    make(tmp_path, f"logs/sample_draws/{first}/draw-2.log", "12:00:00 error: no room\n")
    assert by_path(grid, tmp_path)[first].message == "no room"


def test_failures_are_named_once_each_from_snakemakes_log(tmp_path):
    (tmp_path / "log").write_text(
        "Error in rule finetune:\n    message: None\n    log: results/a.log, cluster/7.log (check log file(s))\n"
        "Finished jobid: 3 (Rule: mix)\n    log: results/b.log\n"
        "Error in rule finetune:\n    message: None\n    log: results/a.log (check log file(s))\n"
        "Error in rule score:\n    jobid: 3\n    log: results/c.log (check log file(s))\n"
    )
    assert status.failures(tmp_path / "log") == [("finetune", "results/a.log"), ("score", "results/c.log")]
