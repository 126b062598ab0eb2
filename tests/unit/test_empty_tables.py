"""Tables without rows have their header, and what is drawn or told from them says so or leaves it out."""

import argparse
import importlib
import json

import answer
import docutils.core
import metrics_table
import pytest
import score
import summary
from conftest import ROOT
from nepotism.data.cost import Cost, costs
from nepotism.data.tables import COLUMNS, Row, read_csv, read_text_csv, write_csv, write_metrics
from nepotism.draw import curves
from nepotism.families import FAMILIES, family_package
from nepotism.families.diffusion import claims
from nepotism.judge.verdicts import Claim
from nepotism.plan import config as configuration
from nepotism.plan import configfiles
from nepotism.plan.status import remaining_work
from test_config import DEFAULT, merged

HEADER = "experiment,control,ratio,seed,iteration,set,features,metric,value,sd,se,ci_low,ci_high,n\n"


def test_a_table_of_no_rows_has_its_header_and_is_read_again(tmp_path):
    write_csv(tmp_path / "rows.csv", [], COLUMNS)
    assert (tmp_path / "rows.csv").read_text() == HEADER
    assert read_csv(tmp_path / "rows.csv") == []
    write_csv(tmp_path / "plain.csv", [], ["a", "b"])
    assert (tmp_path / "plain.csv").read_text() == "a,b\n"


def test_cells_without_scores_give_an_empty_table(tmp_path):
    write_metrics(tmp_path / "metrics.json", [])
    outputs = {"output": tmp_path / "metrics.csv", "jackknife": tmp_path / "jackknife.csv"}
    metrics_table.run(argparse.Namespace(metrics=[tmp_path / "metrics.json"], **outputs))
    assert (tmp_path / "metrics.csv").read_text() == HEADER
    assert read_csv(tmp_path / "metrics.csv", tmp_path / "jackknife.csv") == []


def page(tmp_path, monkeypatch):
    """The report's page and the table of costs, of an experiment whose benchmarks may be anything."""
    write_csv(tmp_path / "metrics.csv", [], COLUMNS)
    verdicts, _ = claims.judge([], claims.Arms(None, None, None, None))
    write_csv(tmp_path / "claims.csv", verdicts, Claim)
    (tmp_path / "details.csv").write_text("claim,features,statistic,value,ci90_low,ci90_high\n")
    (tmp_path / "diagnostics.csv").write_text("features,statistic,relation,bound,value,ci90_low,ci90_high,verdict\n")
    write_metrics(tmp_path / "base.json", [])
    answer.run(
        argparse.Namespace(
            benchmarks=tmp_path / "benchmarks", base_metrics=tmp_path / "base.json", claims=tmp_path / "claims.csv",
            details=tmp_path / "details.csv", diagnostics=tmp_path / "diagnostics.csv", metrics=tmp_path / "metrics.csv", family=None,
            threshold=None, cost=tmp_path / "cost.csv", output=tmp_path / "answer.rst",
        )
    )  # fmt: skip
    text = (tmp_path / "answer.rst").read_text()
    targets = "".join(f"\n.. _{name}: x\n" for name in ("Figures", "Tables", "Contact sheets"))
    docutils.core.publish_string(text + targets, settings_overrides={"halt_level": 2, "report_level": 5})
    return text, (tmp_path / "cost.csv").read_text()


def test_without_benchmarks_the_page_has_no_paragraph_on_time_and_the_table_its_header_only(tmp_path, monkeypatch):
    text, table = page(tmp_path, monkeypatch)
    assert "Time and memory" not in text
    assert table == "rule,jobs,seconds,cpu_seconds,peak_memory_mib\n"


def test_benchmarks_that_are_half_written_count_with_what_is_known(tmp_path, monkeypatch):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "empty.tsv").write_text("")
    (folder / "begun.tsv").write_text("s\tcpu_time\tmax_rss\n")
    (folder / "cut.tsv").write_text("s\tcpu_time\tmax_rss\n3.5\t")
    assert costs(folder) == [Cost("cut", 1, 3.5, 0.0, 0.0)]
    assert remaining_work([], tmp_path).work == 0
    text, _ = page(tmp_path, monkeypatch)
    assert "Time and memory" in text


@pytest.mark.parametrize("panels", [curves.score_panels, curves.drift_panels])
def test_figures_of_an_empty_table_of_scores_say_so(tmp_path, panels):
    write_csv(tmp_path / "metrics.csv", [], COLUMNS)
    output = [tmp_path / f"figure.{suffix}" for suffix in ("svg", "png", "csv")]
    curves.draw_curves(
        argparse.Namespace(
            metrics=tmp_path / "metrics.csv", clip=tmp_path, arms=["none:mixture"], output=output, dpi=30
        ),
        panels,
    )
    assert "there is no such score" in output[0].read_text()
    assert output[2].read_text().startswith("panel,metric,kind,")


def test_a_figure_without_the_floor_of_real_images_is_drawn():
    row = Row("x", "base", "", 0, 0, "samples", "clip", "fid", 1.0, None, None, None, None, 10)
    rows = [row, Row("x", "none", "0", 0, 1, "samples", "clip", "fid", 2.0, None, None, None, None, 10)]
    points = curves.curve_points(rows, curves.score_panels(rows, "clip"), [curves.Line("none", "mixture")])
    assert [point.value for point in points] == [1.0, 2.0]
    assert len(curves.curves(points).axes) == 1


@pytest.mark.parametrize(("family", "figure"), [(f, name) for f in FAMILIES for name in family_package(f).FIGURES])
def test_figures_of_families_of_an_empty_table_say_so(tmp_path, family, figure):
    write_csv(tmp_path / "metrics.csv", [], COLUMNS)
    output = [tmp_path / f"figure.{suffix}" for suffix in ("svg", "png", "csv")]
    drawing = importlib.import_module(f"nepotism.families.{family}.figures")
    arguments = argparse.Namespace(metrics=tmp_path / "metrics.csv", samples=[], arms={}, output=output, dpi=30)
    getattr(drawing, f"draw_{figure}")(arguments)
    assert "there is no such" in output[0].read_text()
    assert read_text_csv(output[2]) == []


def test_a_controls_table_without_rows_has_no_kept_images(tmp_path):
    (tmp_path / "curated.csv").write_text("slot,kept\n")
    assert score.kept_column(read_text_csv(tmp_path / "curated.csv")) is None


@pytest.mark.parametrize("family", ["diffusion", *FAMILIES])
def test_the_summary_of_an_empty_table_prints_where_the_results_are(tmp_path, capsys, family):
    (tmp_path / "tables").mkdir()
    write_csv(tmp_path / "tables" / "metrics.csv", [], COLUMNS)
    experiment = (
        {} if family == "diffusion" else configfiles.read(ROOT / "resources" / "experiments" / f"{family}.yaml")
    )
    config = configuration.checked(merged(DEFAULT, experiment))
    (tmp_path / "config.json").write_text(json.dumps(config))
    summary.run(argparse.Namespace(folder=tmp_path))
    assert f"tables: {tmp_path}/tables" in capsys.readouterr().out


def test_the_summary_shows_the_base_model_of_iteration_0_only():
    """With the noise of other iterations the base model is drawn for claims, and is no cell of theirs."""

    def row(control, ratio, iteration, value):
        return Row("x", control, ratio, 0, iteration, "samples", "clip", "fid", value, None, None, None, None, 9)

    rows = [row("base", "", 0, 10.0), row("base", "", 1, 1000.0), row("none", "100", 1, 20.0)]
    lines = summary.matrix(rows, {"none": "base"}).splitlines()
    assert lines[1].split() == ["100", "%", "10", "20"]
