"""Figures show what their tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from nepotism import figures
from nepotism.tables import Row, read_csv, read_metrics, write_csv, write_metrics


def row(ratio, iteration, value, seed=0, name="samples", metric="fid", control="none"):
    control = control if ratio else "base"
    return Row(
        "x", control, ratio, seed, iteration, name, "clip", metric, value, None, 0.1, value - 0.2, value + 0.2, 10
    )


ROWS = [
    row(ratio, iteration, 1 + iteration * (1 + float(ratio or 0)), seed, metric=metric)
    for metric in ("fid", "clip_score") for seed in (0, 1)
    for ratio, iteration in [("", 0), ("0", 1), ("0", 2), ("3.3", 1), ("3.3", 2)]
] + [row("", 0, 0.5, seed, "real", metric) for metric in ("fid", "clip_score") for seed in (0, 1)]  # fmt: skip


def test_every_drawn_line_equals_its_source_table():
    points = figures.curve_points(ROWS, "none", "tiny-clip")
    figure = figures.curves(points)
    axis = figure.axes[0]
    lines = [container.lines[0] for container in axis.containers]
    for line, ratio in zip(lines, ("0", "3.3"), strict=True):
        expected = [p.value for p in points if p.panel == axis.get_title() and p.ratio in ("", ratio)]
        np.testing.assert_allclose(line.get_ydata(), expected)
    floor = [line for line in axis.lines if line.get_label() == figures.FLOOR]
    assert floor[0].get_ydata()[0] == pytest.approx(0.5)
    plt.close(figure)


def test_one_seed_shows_its_own_interval_and_several_show_the_t_interval():
    one = figures.curve_points([r for r in ROWS if r.seed == 0], "none", "tiny-clip")[0]
    assert (one.low, one.high, one.seeds) == (pytest.approx(0.8), pytest.approx(1.2), 1)
    rows = [row("0", 1, value, seed) for seed, value in enumerate((1.0, 2.0, 3.0))]
    point = figures._point("p", "0", 1, rows)
    assert point.value == pytest.approx(2)
    assert point.high - point.value == pytest.approx(4.3027 / np.sqrt(3), rel=1e-3)


def test_the_grid_shows_each_image_where_its_table_says():
    places = [("0 %", "base"), ("0 %", "1"), ("25 %", "base"), ("25 %", "1")]
    pictures = [figures.Picture("p", row, column, "p", f"{row}{column}", "f") for row, column in places]
    pixels = {p.id: np.full((4, 4, 3), 50 * index, np.uint8) for index, p in enumerate(pictures)}
    figure = figures.image_grid(pictures, pixels)
    shown = [float(axis.images[0].get_array().mean()) for axis in figure.axes]
    assert shown == [0, 50, 100, 150]
    assert [axis.get_ylabel() for axis in figure.axes] == ["0 %", "", "25 %", ""]
    plt.close(figure)


def test_figures_are_the_same_bytes_twice(tmp_path):
    for name in ("one", "other"):
        paths = [tmp_path / f"{name}.svg", tmp_path / f"{name}.png"]
        figures.save(figures.curves(figures.curve_points(ROWS, "none", "tiny-clip")), paths, 60)
    for suffix in ("svg", "png"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"other.{suffix}").read_bytes()


def test_tables_survive_their_files(tmp_path):
    write_csv(tmp_path / "t.csv", ROWS)
    assert read_csv(tmp_path / "t.csv") == ROWS
    write_metrics(tmp_path / "m.json", ROWS)
    assert read_metrics(tmp_path / "m.json") == ROWS
