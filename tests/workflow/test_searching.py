"""The search for the ratio at which collapse begins, end to end: it converges, ends, goes on after a kill, and plans no more."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import Project, copy_project

GMM = {
    "experiment": "hunt",
    "seeds": [0, 1],
    "iterations": 4,
    "gmm": {"pool": {"samples": 60, "chains": 4}, "samples": 50, "chains": 3, "chunk": 2, "snapshots": [0, 4]},
    "arms": [
        {"name": "none", "ratios": {"search": [0, 100], "until": 20}},
        {
            "name": "few",
            "ratios": {"search": [0, 100], "until": 20},
            "iterations": 2,
            "overrides": {"gmm": {"samples": 20}},
        },
    ],
    # Models that nothing goes on from stay, also those of ratios that nobody knew of.
    "execution": {"keep_models": "last"},
}
OPTIONS = ("--configfile", "resources/experiments/gmm.yaml", "hunt.yaml")
# Two ratios of two seeds, in chains of two chunks and of one.
ENDS = {"generations": 2 * 2 * (2 + 1), "score_generations": 2 * 2 * (2 + 1)}


def rounds(folder, arm="none"):
    files = sorted((folder / "results/hunt/tables/search" / arm).glob("round-*.json"))
    return [json.loads(file.read_text()) for file in files]


def write(folder, **changes):
    (folder / "hunt.yaml").write_text(yaml.safe_dump(GMM | changes))


@pytest.fixture(scope="module")
def hunt(tmp_path_factory):
    made = copy_project(tmp_path_factory.mktemp("hunt"))
    write(made.folder)
    made.snakemake("--cores", "2", *OPTIONS)
    return made


def table(folder, name):
    with open(folder / "results/hunt/tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_dry_run_plans_the_first_round_and_says_that_more_follows(project):
    write(project.folder)
    jobs = project.jobs(*OPTIONS)
    assert {name: jobs[name] for name in ENDS} == ENDS
    assert jobs["search"] == 2
    said = project.snakemake("-n", *OPTIONS).stdout
    assert "The run involves checkpoint jobs" in said


def test_one_command_finds_the_ratio_in_every_arm(hunt):
    for arm in ("none", "few"):
        known = rounds(hunt.folder, arm)
        last = known[-1]
        tried = [each["ratio"] for each in last["tried"]]
        assert last["next"] is None
        assert last["outcome"] == "between"
        assert float(last["high"]) - float(last["low"]) <= 20
        # Ends, 50 and so on: each the middle of what was left.
        assert tried[:2] == ["100", "50"]
        assert len(tried) == 4
        there = {path.name.removeprefix("ratio-") for path in (hunt.folder / "results/hunt" / arm).glob("ratio-*")}
        assert there == {"0", *tried}
        assert {row["ratio"] for row in table(hunt.folder, "metrics") if row["control"] == arm} == {"0", *tried}
        over = {each["ratio"] for each in last["tried"] if each["exceeds"]}
        assert last["high"] in over
        assert last["low"] not in over


def test_thresholds_and_figures_know_the_ratios_that_were_asked_for(hunt):
    mine = [row for row in table(hunt.folder, "threshold") if row["arm"] == "none" and row["iteration"] == "4"]
    assert [row["seed"] for row in mine] == ["0", "1", ""]
    asked = {row["ratio"] for row in table(hunt.folder, "survival") if row["arm"] == "none"}
    assert asked == {each["ratio"] for each in rounds(hunt.folder)[-1]["tried"]}
    assert (hunt.folder / "results/hunt/figures/figure-10.svg").stat().st_size > 1000
    assert "After 4 retrainings" in (hunt.folder / "results/hunt/report/answer.rst").read_text()
    said = hunt.script("status", "results/hunt").stdout
    assert "none: searched: collapse begins between" in said
    assert "thresholds" in hunt.script("summary", "results/hunt").stdout


def test_models_at_the_ends_of_all_chains_stay_and_no_others(hunt):
    cells = [path.parent for path in (hunt.folder / "results/hunt").glob("*/ratio-*/seed-*/iteration-*/metrics.json")]
    kept = {cell for cell in cells if (cell / "model/generations.safetensors").is_file()}
    assert kept == {cell for cell in cells if cell.name == "iteration-4" or "/few/" in str(cell)}
    assert len(cells) - len(kept) == 2 * 5


def test_a_second_run_does_nothing(hunt):
    assert hunt.jobs(*OPTIONS) == {}


def test_a_finer_search_goes_on_from_what_is_there(hunt, tmp_path):
    shutil.copytree(hunt.folder, tmp_path / "finer", symlinks=True)
    finer = Project(tmp_path / "finer")
    arms = [{**GMM["arms"][0], "ratios": {"search": [0, 100], "until": 10}}, GMM["arms"][1]]
    write(finer.folder, arms=arms)
    jobs = finer.jobs(*OPTIONS)
    # Rounds are judged anew, of cells that are there.
    assert jobs["search"] >= 1
    assert "generations" not in jobs
    finer.snakemake("--cores", "2", *OPTIONS)
    before, after = rounds(hunt.folder), rounds(finer.folder)
    assert after[-1]["tried"][:4] == before[-1]["tried"]
    assert len(after[-1]["tried"]) == 5
    assert finer.jobs(*OPTIONS) == {}


def test_a_kill_between_rounds_loses_nothing(hunt, tmp_path):
    killed = copy_project(tmp_path)
    write(killed.folder)
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "2", *OPTIONS]
    running = subprocess.Popen(
        command, cwd=killed.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    first, begun = killed.folder / "results/hunt/tables/search/none/round-1.json", time.monotonic()
    while not first.is_file():
        assert running.poll() is None
        assert time.monotonic() - begun < 600
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    killed.snakemake("--unlock", *OPTIONS)
    cells = {
        path: path.stat().st_mtime_ns
        for path in (killed.folder / "results/hunt").glob("none/ratio-100/*/*/metrics.json")
    }
    assert len(cells) == 4
    killed.snakemake("--cores", "2", "--rerun-incomplete", *OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in cells} == cells
    for arm in ("none", "few"):
        assert rounds(killed.folder, arm) == rounds(hunt.folder, arm)
    assert table(killed.folder, "threshold") == table(hunt.folder, "threshold")


def test_a_round_after_the_end_is_an_error_that_says_so(hunt):
    made = hunt.snakemake("-n", "results/hunt/tables/search/none/round-9.json", *OPTIONS, check=False)
    assert made.returncode
    assert "the search of the arm 'none' has ended before round 5" in made.stdout + made.stderr


def test_the_planner_adds_no_seeds_to_a_search_and_says_what_to_do(hunt):
    made = hunt.script("plan", "results/hunt")
    assert "searches for its ratio by the mean over seeds" in made.stdout
    assert "write the ratios that it has found as a list: ratios: [0, " in made.stdout


def test_experiments_with_lists_have_no_checkpoint(project):
    said = project.snakemake("-n").stdout
    assert "checkpoint" not in said


def test_the_shipped_search_plans_its_ends_and_forecasts_the_most(project):
    jobs = project.jobs("--configfile", "resources/experiments/threshold.yaml")
    assert jobs["finetune"] == 2 * 2 * 3 * 3
    said = project.script("forecast", "resources/experiments/threshold.yaml").stdout
    assert "experiment threshold: 126 cells" in said
    assert "the arm guidance1 searches for its ratio: counted are its ends and 5 more" in said


@pytest.mark.slow
def test_a_search_of_images_ends_and_its_report_is_made(tmp_path):
    """Tiny cells: one retraining of sixty images in two epochs."""
    small = copy_project(tmp_path)
    changes = {
        "experiment": "hunt", "seeds": [0], "iterations": 1, "reference": {"images_per_group": 2},
        "arms": [{"name": "none", "ratios": {"search": [0, 100], "until": 50}}],
        "initial_images": {"num_inference_steps": 4}, "sample": {"num_inference_steps": 4}, "unseen": {"images_per_prompt": 1},
        "finetune": {"epochs": 1},
    }  # fmt: skip
    (small.folder / "small.yaml").write_text(yaml.safe_dump(changes))
    options = ("--configfile", "small.yaml")
    small.snakemake("--cores", "2", *options)
    last = rounds(small.folder)[-1]
    assert last["next"] is None
    assert last["features"] == "clip"
    tried = {each["ratio"] for each in last["tried"]}
    rows = table(small.folder, "metrics")
    assert {row["ratio"] for row in rows if row["control"] == "none"} == {"0", *tried}
    with open(small.folder / "results/hunt/figures/figure-2.csv", newline="") as file:
        assert {f"{ratio} %" for ratio in tried} <= {row["row"] for row in csv.DictReader(file)}
    assert small.jobs(*options) == {}
    small.snakemake("--report", "results/hunt/report.html", *options)
    assert "figure-10.svg" in (small.folder / "results/hunt/report.html").read_text()
