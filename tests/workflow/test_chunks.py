"""Families whose generations are made in chunks, end to end."""

import csv
import re

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT, copy_project

SMALL = {
    "experiment": "small",
    "seeds": [0],
    "iterations": 6,
    "gmm": {"pool": {"samples": 60, "chains": 4}, "samples": 50, "chains": 3, "chunk": 4, "snapshots": [0, 3, 6]},
    "arms": [
        {"name": "none", "ratios": [90, 100]},
        {"name": "accumulate", "regime": "accumulate", "ratios": [100], "iterations": 5},
    ],
}
OPTIONS = ("--configfile", "resources/experiments/gmm.yaml", "small.yaml")
CELL = "results/small/none/ratio-100/seed-0/iteration-6"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = copy_project(tmp_path_factory.mktemp("families"))
    (made.folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    made.snakemake("--cores", "2", *OPTIONS)
    return made


def table(project, name):
    with open(project.folder / "results" / "small" / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_generation_is_a_row_and_every_chunk_a_file(project):
    rows = [row for row in table(project, "metrics") if row["metric"] == "log_spread"]
    found = {(row["control"], row["ratio"]): [] for row in rows}
    for row in rows:
        found[row["control"], row["ratio"]].append(int(row["iteration"]))
    assert found == {
        ("base", ""): [0], ("none", "90"): [1, 2, 3, 4, 5, 6], ("none", "100"): [1, 2, 3, 4, 5, 6],
        ("accumulate", "100"): [1, 2, 3, 4, 5],
    }  # fmt: skip
    cells = (project.folder / "results" / "small" / "none" / "ratio-100" / "seed-0").iterdir()
    assert {path.name for path in cells} == {"iteration-4", "iteration-6"}


def test_the_manifest_names_the_original_rows_that_are_kept(project):
    folder = project.folder / "results/small/none/ratio-90/seed-0/iteration-6"
    plans = pq.read_table(folder / "mix.parquet").to_pylist()
    assert [(plan["iteration"], plan["origin"], plan["source_iteration"], plan["rows"]) for plan in plans] == [
        (5, "real", 0, 5), (5, "generated", 4, 45), (6, "real", 0, 5), (6, "generated", 5, 45),
    ]  # fmt: skip
    assert plans[0]["slots"] == plans[2]["slots"]
    samples = pq.read_table(folder / "samples.parquet")
    assert set(samples["iteration"].to_pylist()) == {6}
    assert samples["group"].to_pylist()[::50] == ["chain-00", "chain-01", "chain-02"]
    assert len(set(samples["id"].to_pylist())) == len(samples) == 150
    assert set(samples["model"].to_pylist()) != {""}


def test_figures_claims_and_the_first_page_are_there(project):
    folder = project.folder / "results" / "small"
    for name in ("samples", "distance", "spread", "variance", "mean", "wasserstein", "components"):
        for suffix in (".svg", ".png", ".csv"):
            assert (folder / "figures" / f"{name}{suffix}").stat().st_size > 100
    with open(folder / "figures" / "components.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["condition"] == "100 %" and row["iteration"] == "2"]
    assert {row["statistic"] for row in rows} == {"weight_diversity", "law"}
    # Two equal components of 50 samples, after three fits.
    assert float(rows[-1]["value"]) == pytest.approx(0.5 * 0.98**3)
    assert {row["claim"] for row in table(project, "claims")} == {str(number) for number in range(1, 12)}
    profile = table(project, "profile")
    assert {row["metric"] for row in profile} == {
        "density_distance_median",
        "log_spread_median",
        "weight_diversity",
        "tail_share",
    }
    assert {row["control"] for row in profile} == {arm["name"] for arm in SMALL["arms"]}
    for name in ("report/answer.rst", "index.html"):
        assert "What is left of a distribution" in (folder / name).read_text()
    # Its figures stand for the pictures that it has not.
    assert (folder / "index.html").read_text().count('<figure class="wide"><img src="data:image/webp;base64,') == 7


def test_a_second_run_does_nothing_and_another_figure_setting_redraws_only_figures(project):
    assert project.jobs(*OPTIONS) == {}
    (project.folder / "dpi.yaml").write_text("figures: {dpi: 50}")
    assert project.jobs(*OPTIONS, "dpi.yaml") == {"family_figure": 7, "page": 1}


def test_another_score_fits_nothing_anew(project):
    stages = project.folder / "scripts" / "nepotism" / "experiment" / "stages.py"
    code = stages.read_text()
    stages.write_text(code.replace('    "generations.gmm"', '    "score_generations.gmm": 17,\n    "generations.gmm"'))
    planned = project.jobs(*OPTIONS)
    stages.write_text(code)
    assert planned["score_generations"] == 6
    assert planned["score_generation_0"] >= 1
    assert not {"family_reference", "generations", "generation_0"} & planned.keys()


def test_a_chunk_reads_no_model_without_need(project):
    def read(cell, *options):
        told = project.snakemake("-n", "-p", "--forceall", f"results/small/{cell}/samples.parquet", *options).stdout
        (command,) = (line for line in told.splitlines() if f"--cell {cell}" in line and "generations.py" in line)
        return re.search(r"--models(.*?)--drawn", command)[1].split()

    # Fitted from the mixture before, by a chain that is cut in two: not generation 0's besides.
    assert read("none/ratio-100/seed-0/iteration-6", *OPTIONS) == [
        "results/small/none/ratio-100/seed-0/iteration-4/model/generations.safetensors"
    ]
    assert len(read("accumulate/ratio-100/seed-0/iteration-5", *OPTIONS)) == 2
    (project.folder / "kmeans.yaml").write_text(yaml.safe_dump({"gmm": {"init": "kmeans"}}))
    assert read("none/ratio-100/seed-0/iteration-6", *OPTIONS, "kmeans.yaml") == []


def test_several_rows_of_a_slot_are_drawn_by_the_model_before(project):
    """From scratch: models are read to draw from them only."""
    arms = [{"name": "more", "regime": "augment", "ratios": [100, 150]}]
    changes = {"arms": arms, "gmm": {"init": "kmeans"}, "iterations": 3}
    (project.folder / "drawn.yaml").write_text(
        yaml.safe_dump({**changes, "experiment": "drawn", "gmm": {"init": "kmeans", "chunk": 2}})
    )
    options = (*OPTIONS, "drawn.yaml")
    folder = "results/drawn/more/ratio-{}/seed-0/iteration-3"
    told = project.snakemake("-n", "-p", f"{folder.format(150)}/samples.parquet", *options).stdout
    (command,) = (line for line in told.splitlines() if "--cell more/ratio-150/seed-0/iteration-3" in line)
    assert "--models results/drawn/more/ratio-150/seed-0/iteration-2/model/generations.safetensors --drawn" in command
    told = project.snakemake("-n", "-p", f"{folder.format(100)}/samples.parquet", *options).stdout
    (command,) = (line for line in told.splitlines() if "--cell more/ratio-100/seed-0/iteration-3" in line)
    assert "--models  --drawn" in command
    project.snakemake("--cores", "2", f"{folder.format(150)}/metrics.json", *options)
    plans = pq.read_table(project.folder / folder.format(150) / "mix.parquet").to_pylist()
    assert [(plan["origin"], plan["source_iteration"], plan["draw"], plan["rows"]) for plan in plans] == [
        ("real", 0, 0, 50), ("generated", 2, 0, 50), ("generated", 2, 1, 25),
    ]  # fmt: skip


def test_more_iterations_and_another_arm_run_only_what_is_new(project):
    arms = [*SMALL["arms"], {"name": "half", "ratios": [50]}]
    (project.folder / "more.yaml").write_text(yaml.safe_dump({"iterations": 8, "arms": arms}))
    planned = project.jobs(*OPTIONS, "more.yaml")
    # Two chains go on from generation 4, for which 5 to 8 is one chunk; the new arm has two.
    assert planned["generations"] == 4
    assert "generation_0" not in planned
    assert "family_reference" not in planned


def test_a_chunk_can_be_asked_for_and_a_generation_inside_it_is_explained(project):
    assert project.jobs(f"{CELL}/metrics.json", *OPTIONS) == {}
    result = project.snakemake("-n", CELL.replace("6", "5") + "/metrics.json", *OPTIONS, check=False)
    assert result.returncode
    assert "it is a row of iteration-6/metrics.json" in result.stdout + result.stderr


def test_the_report_is_made_and_status_and_summary_tell_the_scores(project):
    project.snakemake("--report", "results/small/report.html", *OPTIONS)
    page = (project.folder / "results/small/report.html").read_text()
    assert "What the first chain of every condition draws" in page
    assert "6 of 6 cells done" in project.script("status", "results/small").stdout
    summary = project.script("summary", "results/small").stdout
    assert "squared L2 distance from the original density" in summary
    assert "90 %" in summary


ARMS = [
    {"name": "none", "ratios": [90, 100]},
    {"name": "accumulate", "regime": "accumulate", "ratios": [100], "iterations": 2},
    {"name": "accumulate_subsample", "regime": "accumulate_subsample", "ratios": [100], "iterations": 2},
]
# The family's block, the figures' tables with a column that has a row of every generation, and what its rows are.
FAMILIES = {
    "vae": (
        {"split": {"classifier": 60, "real": 40, "holdout": 40}, "classifier": {"steps": 20}, "width": 4, "steps": 10,
         "batch_size": 20, "chunk": 2, "snapshots": [0, 2, 3]},
        ("digits", "distance", "classes", "spread"),
        "image",
    ),
    "lm": (
        {"network": {"vocabulary": 400, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
         "model": None, "block_size": 12, "first_epochs": 2,
         "split": {"real": 40, "validation": 10, "holdout": 20}, "epochs": 1, "generation_batch": 40, "chunk": 2},
        ("perplexity", "histograms", "texts", "repetition", "zipf"),
        "text",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_images_and_texts_run_in_every_regime(name, tmp_path):
    project = copy_project(tmp_path)
    block, figures, kind = FAMILIES[name]
    (tmp_path / "small.yaml").write_text(
        yaml.safe_dump({"experiment": "small", "seeds": [0], "iterations": 3, name: block, "arms": ARMS})
    )
    options = ("--configfile", f"resources/experiments/{name}.yaml", "small.yaml")
    project.snakemake("--cores", "2", *options)
    assert project.jobs(*options) == {}
    folder = tmp_path / "results" / "small"
    for figure in figures:
        for suffix in (".svg", ".png", ".csv"):
            assert (folder / "figures" / f"{figure}{suffix}").stat().st_size > 100
    with open(folder / "figures" / f"{figures[0]}.csv", newline="") as file:
        conditions = {row["condition"] for row in csv.DictReader(file)}
    assert conditions == {"90 %", "100 %", "accumulate 100 %", "accumulate_subsample 100 %"}
    samples = pq.read_table(folder / "none/ratio-90/seed-0/iteration-3/samples.parquet")
    assert samples[kind].null_count == 0
    assert len(samples) == 40
    plans = pq.read_table(folder / "accumulate/ratio-100/seed-0/iteration-2/mix.parquet").to_pylist()
    assert [(plan["iteration"], plan["origin"], plan["source_iteration"], plan["rows"]) for plan in plans] == [
        (1, "real", 0, 40), (1, "generated", 0, 40),
        (2, "real", 0, 40), (2, "generated", 0, 40), (2, "generated", 1, 40),
    ]  # fmt: skip
    project.snakemake("--report", "results/small/report.html", *options)
    assert "6 of 6 cells done" in project.script("status", "results/small").stdout
    assert project.script("summary", "results/small").returncode == 0
    # The same bytes, wherever the chain is cut.
    (tmp_path / "whole.yaml").write_text(
        yaml.safe_dump({"experiment": "whole", name: {**block, "chunk": 3}, "arms": ARMS[:1]})
    )
    project.snakemake("--cores", "2", *options, "whole.yaml")
    whole = pq.read_table(tmp_path / "results/whole/none/ratio-90/seed-0/iteration-3/samples.parquet")
    last = whole.filter([iteration == 3 for iteration in whole["iteration"].to_pylist()])
    assert (
        last[kind].to_pylist() == samples.filter([i == 3 for i in samples["iteration"].to_pylist()])[kind].to_pylist()
    )


def test_the_worked_example_of_a_new_family_is_true(tmp_path):
    """The blocks of CONTRIBUTING.md, put where they belong, make a family that works."""
    project = copy_project(tmp_path)
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding a family")[1].split("\n## ")[0]
    files = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", text, re.DOTALL))
    assert len(files) == 5
    for name, code in files.items():
        path = project.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    options = ("--configfile", "resources/experiments/urn.yaml")
    assert project.jobs(*options)["generations"] == 3 * 2 * 3
    (tmp_path / "short.yaml").write_text("seeds: [0]\niterations: 60\n")
    project.snakemake("--cores", "2", *options, "short.yaml")
    with open(tmp_path / "results" / "urn" / "tables" / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["iteration"] in ("0", "60")]
    left = {(row["control"], row["ratio"]): float(row["value"]) for row in rows}
    assert left["none", "100"] < left["all", "100"] < 0.7
    assert left["base", ""] == pytest.approx(2 / 3, abs=0.05)
    for name in ("report/answer.rst", "index.html"):
        page = (tmp_path / "results" / "urn" / name).read_text()
        assert "What is left of a distribution that is counted" in page


@pytest.mark.parametrize("name", ["gmm", "gmm-blob", "vae", "vae-mnist", "lm", "lm-wikitext"])
def test_the_experiments_are_planned(project, name):
    planned = project.jobs("--configfile", f"resources/experiments/{name}.yaml")
    assert planned["generations"] > 5
    assert (ROOT / "resources" / "experiments" / f"{name}.yaml").is_file()
