"""What the experiment file of scripts/plan.py makes Snakemake do: cells of new seeds, and what gathers all seeds. Nothing is computed."""

import json
import re
import shutil

import yaml
from conftest import ROOT
from nepotism.data.tables import write_csv
from nepotism.judge.verdicts import Claim
from nepotism.plan import configfiles
from nepotism.plan.config import checked

FOLDER = "results/faces"
GATHERING = {"metrics_table", "claims", "profile_table", "answer", "page"}


def planned(project, *options):
    """What a dry run says, and the output files that it names."""
    said = project.snakemake("--quiet", "host", "-n", *options).stdout
    files = [file for line in re.findall(r"^    output: (.*)$", said, re.MULTILINE) for file in line.split(", ")]
    return said, files


def write_tables(folder):
    """Claim 4 as it may stand after three seeds: effects of -0.2 with a spread of 0.12."""
    half = 0.12 * 2.9199855803537256 / 3**0.5
    columns = [
        "claim",
        "features",
        "statistic",
        "relation",
        "bound",
        "value",
        "ci90_low",
        "ci90_high",
        "seeds",
        "verdict",
    ]
    part = [4, "clip", "mean of F(r,1) - b over r > 0", "<", 0.0, -0.2, -0.2 - half, -0.2 + half, 3, "undecided"]
    write_csv(folder / "tables" / "claim_details.csv", [part], columns)
    claim = Claim(4, "the first iteration improves slightly", "paper", "undecided", "", "", "")
    write_csv(folder / "tables" / "claims.csv", [claim], Claim)


def test_only_new_seeds_are_planned_and_nothing_that_there_is_reruns(project):
    experiment = project.folder / "small.yaml"
    arms = [
        {"name": "none", "ratios": [0, 100]},
        {"name": "histogram_match", "control": "histogram_match", "ratios": [100]},
        {
            "name": "oracle",
            "control": "filter",
            "ratios": [100],
            "parameters": {"source": "oracle", "action": "replace"},
        },
        {"name": "heal", "regime": "heal", "ratios": [100], "parameters": {"after": 1, "iterations": 1}},
    ]
    experiment.write_text(yaml.safe_dump({"seeds": [0, 1, 2], "iterations": 2, "arms": arms}))
    options = ("--configfile", str(experiment))
    # As if all had run: every file is there, and Snakemake has noted by which settings it was made.
    _, files = planned(project, *options)
    for file in files:
        path = project.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    project.snakemake("--touch", "--forceall", "--cores", "1", "--quiet", "all", *options)
    assert project.jobs(*options) == {}

    results = project.folder / FOLDER
    write_tables(results)
    config = configfiles.laid_over(configfiles.read(ROOT / "workflow_config.yaml"), configfiles.read(experiment))
    (results / "config.json").write_text(json.dumps(checked(config)))
    for cell in results.glob("*/ratio-*/seed-0/iteration-*"):
        benchmark = results / "benchmarks" / "finetune" / cell.relative_to(results).with_suffix(".tsv")
        benchmark.parent.mkdir(parents=True, exist_ok=True)
        benchmark.write_text("s\th:m:s\n60.0\t0:01:00\n")
    made = project.script("plan", FOLDER, "--apply", "24")
    assert made.returncode == 0, made.stderr
    command = made.stdout.splitlines()[-1].partition("snakemake --cores all ")[2].split()
    assert command == ["all", "cells", "--configfile", "resources/experiments/faces-more.yaml"]
    seeds = yaml.safe_load((project.folder / command[-1]).read_text())["seeds"]
    new = seeds[3:]
    assert seeds == list(range(len(seeds)))
    assert new

    said, files = planned(project, *command)
    places = [re.search(r"/seed-(\d+)", file) for file in files]
    assert {int(place[1]) for place in places if place} == set(new)
    rules = set(re.findall(r"^(?:local)?rule (\w+):", said, re.MULTILINE))
    once = {
        rule for rule in rules if rule in GATHERING or rule.startswith("figure_") or rule in ("remedies", "threshold")
    }
    others = {file for file, place in zip(files, places) if not place}
    # All that is made anew without being of a seed gathers the scores of all of them.
    assert all(re.match(f"{FOLDER}/(index.html$|(tables|figures|report)/)", file) for file in others)
    assert once > GATHERING
    jobs = project.jobs(*command)
    assert jobs["finetune"] == len(new) * 9
    assert jobs["initial_images"] == len(new)
    assert not {"reference", "preflight", "encode", "embed_reference"} & set(jobs)
    # Results that were copied without what Snakemake has noted of them.
    shutil.rmtree(project.folder / ".snakemake" / "metadata")
    assert project.jobs(*command)["finetune"] == jobs["finetune"]
