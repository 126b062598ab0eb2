"""What is proposed for undecided claims, from tables and benchmarks made by hand."""

import csv
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from conftest import ROOT
from nepotism.data.tables import write_scores
from nepotism.judge.decisions import FAILS, Effect, decide
from nepotism.judge.looks import ONCE, REPEATED
from nepotism.judge.power import Measured, seeds_needed
from nepotism.plan import configfiles
from nepotism.plan.config import checked
from nepotism.plan.grid import Grid
from nepotism.plan.price import price
from nepotism.plan.requests import OURS, experiment_with, extended
from nepotism.plan.settings import settings
from nepotism.plan.undecided import MOST_SEEDS, Tables
from test_claims import growing, table
from test_pages import SHOWN, resolved

RATES = ROOT / "resources" / "rates.csv"
ARMS = [
    {"name": "none", "ratios": [0, 10, 25, 100]},
    {"name": "histogram_match", "control": "histogram_match", "ratios": [100]},
    {"name": "sifid_cull", "control": "sifid_cull", "ratios": [100]},
    {"name": "heal", "regime": "heal", "ratios": [25], "parameters": {"after": 5, "iterations": 3}},
]
CELLS = 4 * 5 + 5 + 5 + 3


def configured(**changes):
    """The default's configuration with what the tables of `test_claims` are of laid over it."""
    above = {"experiment": "x", "iterations": 5, "arms": ARMS, "seeds": [0, 1, 2, 3]} | changes
    return checked(configfiles.laid_over(configfiles.read(ROOT / "workflow_config.yaml"), above))


def noisy(seeds, spread):
    """Scores of a collapse in which the distance of every cell differs between seeds, by a factor; the rest a little."""
    changed = []
    for row in table(seeds=seeds, fid=growing(1.0)):
        if (row.metric, row.set) == ("fid", "samples"):
            place = [row.seed, row.iteration, int(float(row.ratio or 0)), len(row.control), len(row.features)]
            factor = np.exp(np.random.default_rng(place).normal(0, spread))
            row = dataclasses.replace(row, value=row.value * factor)
        changed.append(row)
    return changed


@pytest.fixture
def results(tmp_path):
    """Makes results/x: configuration, tables as the rules write them, and one seed's benchmarks and files."""

    def make(seeds=(0, 1, 2, 3), spread=0.25, looks=ONCE, rows=None, **changes):
        folder = tmp_path / "results" / "x"
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        config = configured(**{"seeds": list(seeds), "looks": looks} | changes)
        (folder / "config.json").write_text(json.dumps(config))
        tables = {name: folder / "tables" / f"{name}.csv" for name in ("metrics", "jackknife", "diagnostics")}
        write_scores(tables["metrics"], tables["jackknife"], rows or noisy(seeds, spread))
        files = {
            **tables,
            "output": folder / "tables" / "claims.csv", "details": folder / "tables" / "claim_details.csv",
        }  # fmt: skip
        words = shlex.split(settings(Grid(config), "claims", None, 0))
        words += [f"--{name}={file}" for name, file in files.items()]
        subprocess.run([sys.executable, ROOT / "scripts" / "claims.py", *words], check=True)
        for cell in Grid(config).cells():
            if cell.seed == seeds[0]:
                for rule, seconds in (("finetune", 30.0), ("score", 6.0)):
                    write_benchmark(folder / "benchmarks" / rule / f"{cell.path}.tsv", seconds)
                (folder / cell.path).mkdir(parents=True, exist_ok=True)
                (folder / cell.path / "metrics.json").write_text("x" * 1000)
        write_benchmark(folder / "benchmarks" / "sample_base" / "base" / f"seed-{seeds[0]}.tsv", 12.0)
        # Made once, for all seeds.
        write_benchmark(folder / "benchmarks" / "encode.tsv", 1e6)
        return folder

    return make


def write_benchmark(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\tcpu_time\n{seconds}\t0:00:30\t100.0\t{seconds}\n")


def plan(*words):
    """Run the script; what it printed, and what it said went wrong."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "plan.py", *map(str, words)], capture_output=True, text=True, cwd=words[0]
    )
    return done.returncode, done.stdout, done.stderr


def details(folder):
    with open(folder / "tables" / "claim_details.csv", newline="") as file:
        return list(csv.DictReader(file))


# ---- What is read from the tables


@pytest.mark.parametrize("looks", [ONCE, REPEATED])
def test_the_spread_between_seeds_is_read_back_from_the_interval(results, looks):
    folder = results(looks=looks)
    rows = {(row.control, row.ratio, row.iteration, row.seed): row for row in noisy((0, 1, 2, 3), 0.25)
            if (row.metric, row.set, row.features) == ("fid", "samples", "conv")}  # fmt: skip
    effects = [np.log(rows["heal", "25", 8, s].value / rows["base", "", 8, s].value) for s in range(4)]
    tables = Tables(folder)
    assert (tables.looks, tables.seeds) == (looks, 4)
    part = next(row for row in details(folder) if (row["claim"], row["features"]) == ("9", "conv"))
    measured = tables._measured(part)
    assert (measured.relation, measured.bound) == ("<", pytest.approx(np.log(1.25)))
    assert (measured.mean, measured.sd) == (pytest.approx(np.mean(effects)), pytest.approx(np.std(effects, ddof=1)))


def test_each_undecided_claim_is_proposed_with_the_least_seeds_and_the_cheapest_first(results):
    tables = Tables(results())
    undecided = {int(claim["claim"]) for claim in tables.claims if "undecided" in claim["verdict"]}
    found = tables.proposals()
    assert {proposal.claim for proposal in found} == undecided
    assert len(undecided) >= 2
    seeds = [proposal.seeds or np.inf for proposal in found]
    assert seeds == sorted(seeds)
    # A part in each of two feature spaces.
    four = next(proposal for proposal in found if proposal.claim == 4)
    parts = [[tables._measured(row)] for row in details(tables.folder) if row["claim"] == "4"]
    assert len(parts) == 2
    assert (four.seeds, four.power) == seeds_needed(parts, 4, MOST_SEEDS)
    assert four.toward == "does not hold"


def test_more_seeds_decide_as_often_as_was_promised(results):
    """Claim 4 anew with as many seeds as were proposed, and effects that go on as they were, independent between spaces."""
    tables = Tables(results())
    four = next(proposal for proposal in tables.proposals() if proposal.claim == 4)
    parts = [tables._measured(row) for row in details(tables.folder) if row["claim"] == "4"]
    rng = np.random.default_rng(2)
    decided = 0
    for _ in range(500):
        drawn = [rng.normal(part.mean, part.sd, four.seeds) for part in parts]
        verdicts = [decide([Effect(value, None) for value in values], "<", 0.0, REPEATED).verdict for values in drawn]
        decided += verdicts == [FAILS, FAILS]
    assert decided / 500 >= 0.8 - 3 * np.sqrt(0.16 / 500)


def test_with_fewer_than_three_seeds_three_are_proposed_and_no_power(results):
    found = Tables(results(seeds=(0,))).proposals()
    assert found
    assert {(proposal.seeds, proposal.power, proposal.toward) for proposal in found} == {(3, None, "")}


@pytest.mark.parametrize("looks", [ONCE, REPEATED])
def test_what_no_seeds_decide_says_why(results, looks):
    without = [
        row for row in noisy((0, 1, 2, 3), 0.25) if (row.control, row.ratio, row.set) != ("none", "25", "unseen")
    ]
    starved = [dataclasses.replace(row, value=20.0) if row.metric == "unique_images" else row for row in without]
    tables = Tables(results(rows=starved, looks=looks))
    six = next(proposal for proposal in tables.proposals() if proposal.claim == 6)
    assert six.seeds is None
    assert six.why == "undecided (starved): at worst 20% of the curated images are different ones"
    # No unseen captions at 25 %.
    assert tables.not_run() == [8]
    # Exactly at its bound, no number of seeds tells.
    at_bound = Measured("<", 0.5, 0.5, 0.1)
    assert seeds_needed([[at_bound]], 4, MOST_SEEDS) is None


def test_what_a_single_look_decided_and_more_might_not_is_told(results):
    tables = Tables(results())
    decided = {int(claim["claim"]) for claim in tables.claims if claim["verdict"] in ("holds", "does not hold")}
    assert set(tables.unsure(5)) < decided
    # With seeds enough, whatever has been seen is seen again.
    assert len(tables.unsure(5)) > len(tables.unsure(20))
    assert tables.unsure(MOST_SEEDS) == []


def test_by_intervals_for_any_number_of_looks_nothing_is_decided_too_early(results):
    once = {proposal.claim for proposal in Tables(results(spread=0.15)).proposals()}
    tables = Tables(results(spread=0.15, looks=REPEATED))
    assert tables.unsure(5) == []
    assert {proposal.claim for proposal in tables.proposals()} > once


# ---- What it costs


def test_a_seed_costs_what_the_first_one_took(results):
    folder = results()
    grid = Grid(json.loads((folder / "config.json").read_text()))
    one = price(grid, folder, RATES)
    assert (one.cells, one.seconds, one.size) == (CELLS, CELLS * 36 + 12, CELLS * 1000)
    assert one.source == "measured: the jobs of seed 0"


def test_without_a_benchmark_a_measured_speed_tells_or_nothing_does(results, tmp_path):
    grid, nowhere = Grid(configured()), tmp_path / "nowhere"
    million = sum(file.stat().st_size for file in (ROOT / "resources/tiny-diffusion/unet").glob("*.safetensors")) / 4e6
    rates = tmp_path / "rates.csv"
    head = RATES.read_text().splitlines()[0]
    values = ["a card", f"{million:.1f}", "64", "fp32/fp32", "100", "1000", "1", "today"]
    rates.write_text(f"{head}\n{','.join(values + [''] * (head.count(',') + 1 - len(values)))}\n")
    one = price(grid, nowhere, rates)
    assert one.source == "forecast: a card, today"
    assert one.seconds > 0
    assert one.size > 0
    rates.write_text(head + "\n")
    assert price(grid, nowhere, rates).seconds is None
    gmm = Grid(resolved(["resources/experiments/gmm.yaml"]))
    assert price(gmm, nowhere, rates).seconds is None


# ---- The script


def test_the_table_is_printed_and_nothing_is_written(results):
    folder = results()
    before = sorted(folder.rglob("*"))
    code, printed, _ = plan(folder)
    assert code == 0
    assert printed.startswith("x: 12 claims after 4 seeds:")
    assert f"one more seed: {CELLS} cells, 0.333 hours of work, 3.3e-05 GB (measured: the jobs of seed 0)" in printed
    rows = [line.split() for line in printed.splitlines() if "+" in line]
    assert rows
    for row in rows:
        more = int(row[2])
        assert int(row[1]) == 4 + more
        assert int(row[3]) == more * CELLS
        assert float(row[4]) == pytest.approx(more * (CELLS * 36 + 12) / 3600, rel=0.01)
        assert int(row[6].rstrip("%")) >= 80
    assert sorted(folder.rglob("*")) == before


def test_apply_asks_for_what_the_budget_decides_and_says_what_it_does_not(results, tmp_path):
    folder = results()
    tables = Tables(folder)
    least = [proposal for proposal in tables.proposals() if proposal.seeds]
    assert least[0].seeds < least[-1].seeds, "the test needs claims that cost more than others"
    hours = (least[0].seeds - 4) * (CELLS * 36 + 12) / 3600 + 0.01
    file = tmp_path / "x-more.yaml"
    code, printed, _ = plan(folder, "--apply", hours, "--output", file)
    assert code == 0
    assert f"not within the budget: claim {least[-1].claim}, which takes " in printed
    assert f"nothing was started; run it with: snakemake --cores all all cells --configfile {file}" in printed
    assert file.read_text().startswith(OURS)
    # The same experiment with more seeds, and intervals for any number of looks; nothing else.
    found = checked(configfiles.laid_over(configfiles.read(ROOT / "workflow_config.yaml"), configfiles.read(file)))
    before = json.loads((folder / "config.json").read_text())
    assert found == before | {"seeds": list(range(least[0].seeds)), "looks": REPEATED}
    # Half the work at a time costs half the hours, so that it may decide more.
    code, printed, _ = plan(folder, "--apply", hours / 2, "--jobs", 2, "--output", file)
    assert code == 0


def test_it_stops_where_nothing_can_be_decided_within_the_budget(results, tmp_path):
    folder, file = results(), tmp_path / "more.yaml"
    for words in (("--apply", 0.01), ("--apply", 1000, "--gigabytes", 1e-6)):
        code, _, told = plan(folder, *words, "--output", file)
        assert code == 2
        assert len(told.strip().splitlines()) == 1
        assert "no claim can be decided within" in told
    assert not file.exists()


def test_seeds_that_were_asked_for_are_not_asked_for_again(results, tmp_path):
    folder = results()
    grid = configured(seeds=list(range(MOST_SEEDS)))
    (folder / "config.json").write_text(json.dumps(grid))
    code, _, told = plan(folder, "--apply", 1e6, "--output", tmp_path / "more.yaml")
    assert code == 2
    assert f"its {MOST_SEEDS} seeds are asked for already" in told


def test_a_file_of_somebody_elses_is_left_alone(results, tmp_path):
    folder, file = results(), tmp_path / "mine.yaml"
    file.write_text("experiment: mine\n")
    code, _, told = plan(folder, "--apply", 1000, "--output", file)
    assert (code, file.read_text()) == (2, "experiment: mine\n")
    assert f"{file} was not written by this script" in told


def test_seeds_in_a_ring_are_not_added_to(results, tmp_path):
    ring = {"name": "ring", "regime": "feed", "ratios": [100], "parameters": {"other": None, "seed": "next"}}
    folder = results(arms=[*ARMS, ring])
    code, printed, told = plan(folder, "--apply", 1000, "--output", tmp_path / "more.yaml")
    assert code == 2
    assert "the arm 'ring' feeds each seed from the next" in told
    assert "the arm 'ring' feeds each seed from the next" in printed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "config.json").unlink(), "there is no {folder}/config.json; give"),
        (lambda folder: (folder / "config.json").write_text("{"), "{folder}/config.json: no JSON"),
        (lambda folder: (folder / "config.json").write_text("{}"), "{folder}/config.json is no configuration"),
        (lambda folder: (folder / "tables/claims.csv").unlink(), "there is no {folder}/tables/claims.csv"),
        (
            lambda folder: (folder / "tables/claim_details.csv").write_text("claim,features\n1,clip\n"),
            "{folder}/tables/claim_details.csv line 2: no column relation",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(results, change, told):
    folder = results()
    change(folder)
    code, printed, error = plan(folder)
    assert (code, printed) == (2, "")
    assert told.format(folder=folder) in error
    assert len(error.strip().splitlines()) == 1


def test_three_thousand_cells_take_less_than_two_seconds_of_this_machine(results):
    """Of a processor's time: what others do on it is not its fault."""
    folder = results(arms=[{**ARMS[0], "ratios": list(range(0, 75))}, *ARMS[1:]], seeds=list(range(8)))
    grid = Grid(json.loads((folder / "config.json").read_text()))
    assert len(grid.cells()) > 3000
    before, began = os.times(), time.monotonic()
    code, _, told = plan(folder)
    spent, wall = os.times(), time.monotonic() - began
    seconds = spent.children_user + spent.children_system - before.children_user - before.children_system
    assert code == 0, told
    assert seconds < 2, f"{seconds:.2f} s of a processor, {wall:.2f} s in all"


def test_it_imports_no_torch():
    names = "('torch', 'diffusers', 'scipy.stats')"
    loaded = f"import sys; sys.path.insert(0, 'scripts'); import plan; print([m for m in {names} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


# ---- The experiment file


def test_seeds_go_on_after_the_largest():
    assert extended([0, 1, 2], 5) == [0, 1, 2, 3, 4]
    assert extended([7, 3], 4) == [7, 3, 8, 9]


@pytest.mark.parametrize("file", [None, *sorted((ROOT / "resources" / "experiments").glob("*.yaml"))])
def test_every_experiment_can_be_asked_for_again_with_more_seeds(file):
    """Laid over the defaults, what is written is the same experiment: also where an arm's defaults must not be given."""
    defaults = configfiles.read(ROOT / "workflow_config.yaml")
    config = checked(configfiles.laid_over(defaults, configfiles.read(file)) if file else defaults)
    named = experiment_with(json.loads(json.dumps(config)), len(config["seeds"]) + 2, REPEATED, defaults)
    again = checked(configfiles.laid_over(defaults, named))
    assert again == config | {"seeds": extended(config["seeds"], len(config["seeds"]) + 2), "looks": REPEATED}
    if file is None:
        assert named == yaml.safe_load(SHOWN["resources/experiments/faces-more.yaml"])


def test_a_configuration_of_another_version_is_refused(results, tmp_path):
    folder = results()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"bygone": 1}))
    code, _, told = plan(folder, "--apply", 1000, "--output", tmp_path / "more.yaml")
    assert code == 2
    assert f"{folder}/config.json is of another version of the project" in told


def test_what_is_written_can_be_written_again(results, tmp_path):
    folder, file = results(), tmp_path / "more.yaml"
    assert plan(folder, "--apply", 1000, "--output", file)[0] == 0
    first = file.read_text()
    assert plan(folder, "--apply", 1000, "--output", file)[0] == 0
    assert file.read_text() == first


def test_the_first_seeds_that_can_decide_anything_are_no_second_look(results, tmp_path):
    folder, file = results(seeds=(0,)), tmp_path / "more.yaml"
    assert plan(folder, "--apply", 1000, "--output", file)[0] == 0
    found = configfiles.read(file)
    assert found["seeds"] == [0, 1, 2]
    assert "looks" not in found
