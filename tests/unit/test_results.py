"""The configuration in a results folder: every script that reads it says in one line what is wrong with it."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT
from nepotism.data.tables import Row, write_scores
from nepotism.experiment.search import ROUNDS
from nepotism.plan import configfiles
from nepotism.plan.config import checked
from nepotism.plan.lines import planned
from nepotism.plan.results import read_config, read_grid
from nepotism.runtime.errors import UserError

SCRIPTS = {"summary": 1, "status": 1, "plan": 1, "publish": 1, "compare": 2}


def configuration(**keys):
    return checked(
        configfiles.laid_over(configfiles.read(ROOT / "workflow_config.yaml"), {"experiment": "one", **keys})
    )


def score(control, iteration, value):
    ratio = "" if control == "base" else "0"
    place = ("one", control, ratio, 0, iteration, "samples", "clip", "fid")
    return Row(*place, value, None, None, None, None, 60)


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results" / "one"
    rows = [score("base", 0, 30.0), score("none", 1, 40.0), score("bygone", 1, 50.0)]
    write_scores(folder / "tables" / "metrics.csv", folder / "tables" / "jackknife.csv", rows)
    (folder / "config.json").write_text(json.dumps(configuration(arms=[{"name": "none", "ratios": [0]}])))
    return folder


def called(script, folder):
    command = [sys.executable, ROOT / "scripts" / f"{script}.py", *[folder] * SCRIPTS[script]]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_says_in_one_line_that_there_is_no_configuration(results, script):
    path = results / "config.json"
    path.unlink()
    code, _, error = called(script, results)
    assert code == 2
    assert f"error: there is no {path}; give an experiment's results, such as results/faces" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"seeds"', "config.json: no JSON: "),
        ("[]", "config.json is no configuration; start Snakemake once"),
        ('{"arms": 3}', "config.json is no configuration; start Snakemake once"),
        ('{"arms": [{"ratios": [0]}]}', "config.json is no configuration; start Snakemake once"),
        ('{"model": "tiny"}', "config.json is no configuration; start Snakemake once"),
    ],
)
def test_what_is_no_configuration_is_told(results, text, told):
    (results / "config.json").write_text(text)
    with pytest.raises(UserError, match=told):
        read_config(results)


@pytest.mark.parametrize(
    "change", [{"arms": [{"name": "none", "ratios": [0], "regime": "bygone"}]}, {"seeds": 3}, {"model": {}}]
)
def test_a_configuration_of_another_version_is_told(results, change):
    config = read_config(results) | change
    (results / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is no configuration of this version: .*; start Snakemake once"):
        read_grid(results)


def test_a_grid_has_the_ratios_that_searches_asked_for(results):
    config = configuration(arms=[{"name": "none", "ratios": {"search": [0, 100], "until": 5}}])
    (results / "config.json").write_text(json.dumps(config))
    folder = results / ROUNDS / "none"
    folder.mkdir(parents=True)
    asked = {"low": "0", "high": "100", "next": "50", "outcome": "searching", "tried": []}
    (folder / "round-1.json").write_text(json.dumps(asked))
    assert {cell.ratio for cell in read_grid(results).cells()} == {"0", "50", "100"}


def test_a_page_is_told_which_arms_start_anew(results):
    arms = [
        {"name": "none", "ratios": [0]},
        {"name": "anew", "ratios": [0], "overrides": {"finetune": {"start_from": "base"}}},
    ]
    (results / "config.json").write_text(json.dumps(configuration(arms=arms)))
    grid = read_grid(results)
    assert [planned(grid, arm).get("anew") for arm in grid.arms] == [None, True]


def test_scores_of_an_arm_that_the_configuration_has_no_more_begin_nowhere(results):
    code, printed, error = called("summary", results)
    assert code == 0, error
    lines = {line.split(" %")[0].strip(): line.split() for line in printed.splitlines() if " %" in line}
    assert lines["0"][-2:] == ["30", "40"]
    assert lines["bygone 0"][-2:] == ["-", "50"]
