"""Figures of recursive Gaussian mixtures, each drawn from a table that is written beside it."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from nepotism.cells import cell_in
from nepotism.families.gmm.theory import log_generalised_variance
from nepotism.figures import save
from nepotism.rows import read_rows, vectors
from nepotism.tables import Row, read_csv, write_csv

# Points of a panel, and of a line: more do not show.
SHOWN_SAMPLES, SHOWN_POINTS = 300, 200
LAW = "law"


@dataclass(frozen=True)
class Dot:
    """One sample of a panel of figure `samples`."""

    condition: str
    iteration: int
    x: float
    y: float


@dataclass(frozen=True)
class Point:
    """A value of a condition at an iteration: of the mean over chains and seeds, the range of the seeds' means, or a law."""

    condition: str
    statistic: str
    iteration: int
    value: float
    low: float
    high: float


def draw_samples(arguments: argparse.Namespace) -> None:
    """A row per condition, a column per snapshot: the first chain's samples, in their first two dimensions."""
    snapshots = {iteration for arm in arguments.arms.values() for iteration in arm["snapshots"]}
    dots = [dot for dot in _all_dots(arguments.samples) if dot.iteration in snapshots]
    conditions = list(dict.fromkeys(dot.condition for dot in dots))
    iterations = sorted({dot.iteration for dot in dots})
    figure = Figure(figsize=(1.4 * len(iterations) + 1.5, 1.4 * len(conditions) + 0.4), layout="constrained")
    axes = figure.subplots(len(conditions), len(iterations), squeeze=False, sharex=True, sharey=True)
    for row, condition in enumerate(conditions):
        axes[row, 0].set_ylabel(condition.replace("_", "_\n"), rotation=0, ha="right", va="center", fontsize=8)
        for column, iteration in enumerate(iterations):
            axis = axes[row, column]
            shown = [dot for dot in dots if (dot.condition, dot.iteration) == (condition, iteration)]
            axis.scatter([dot.x for dot in shown], [dot.y for dot in shown], s=2, linewidths=0, rasterized=True)
            axis.set_xticks([])
            axis.set_yticks([])
            if not shown:
                axis.axis("off")
            if row == 0:
                axis.set_title(f"generation {iteration}", fontsize=8)
    _finish(figure, dots, arguments)


def draw_distance(arguments: argparse.Namespace) -> None:
    """Density distance over generations: the mean with the range of the seeds, and the median dashed."""
    rows = read_csv(arguments.metrics)
    points = [point for metric in ("density_distance", "density_distance_median") for point in _points(rows, metric)]
    figure = _lines(points, "squared L2 distance of densities", lambda axis: axis.set_yscale("log"))
    _finish(figure, points, arguments)


def draw_spread(arguments: argparse.Namespace) -> None:
    """Spread over generations, and the law of one Gaussian."""
    points = _points(read_csv(arguments.metrics), "log_spread")
    for name, arm in arguments.arms.items():
        condition = _condition(name, "100")
        start = next((point.value for point in points if point.condition == condition), None)
        if arm["type"] == "none" and start is not None:
            dimensions = len(arm["original"][0]["mean"])
            for count in _thinned(range(arm["last"] + 1)):
                law = start + log_generalised_variance(arm["samples"], count, dimensions)
                points.append(Point(condition, LAW, count, law, law, law))
    figure = _lines(points, "ln det(covariance), of model over original", None)
    _finish(figure, points, arguments)


def _all_dots(paths: Sequence[Path]) -> list[Dot]:
    """Samples of every condition, each from its own generation 0 or, where it has none, from the shared one."""
    bases = {path.parent.parent.name: path for path in paths if not cell_in(str(path))}
    dots: list[Dot] = []
    for path in paths:
        if cell := cell_in(str(path)):
            condition = _condition(cell.control, cell.ratio)
            if not any(dot.condition == condition for dot in dots):
                dots += _dots(bases.get(f"base-{cell.control}", bases["base"]), condition)
            dots += _dots(path, condition)
    return dots


def _condition(control: str, ratio: str) -> str:
    return f"{ratio} %" if control == "none" else f"{control} {ratio} %"


def _dots(path: Path, condition: str) -> list[Dot]:
    table = read_rows(path, "vector")
    values, iterations = vectors(table), np.array(table["iteration"])
    groups = np.array(table["group"])
    dots = []
    for iteration in np.unique(iterations):
        chosen = values[(iterations == iteration) & (groups == groups[0])][:SHOWN_SAMPLES]
        dots += [Dot(condition, int(iteration), float(row[0]), float(row[1] if len(row) > 1 else 0)) for row in chosen]
    return dots


def _points(rows: Sequence[Row], metric: str) -> list[Point]:
    """Means over the seeds of every condition, with the range of the seeds, at as many iterations as can be seen."""
    mine = [row for row in rows if row.metric == metric]
    own = {row.control.removeprefix("base-") for row in mine if row.control.startswith("base-")}
    conditions = dict.fromkeys((row.control, row.ratio) for row in mine if row.ratio)
    by_place: dict[tuple[str, str, int], list[float]] = {}
    for row in mine:
        by_place.setdefault((row.control, row.ratio, row.iteration), []).append(row.value)
    points = []
    for control, ratio in conditions:
        base = f"base-{control}" if control in own else "base"
        iterations = sorted(iteration for c, r, iteration in by_place if (c, r) == (control, ratio))
        for iteration in [0, *_thinned(iterations)]:
            found = by_place.get((control, ratio, iteration)) or by_place.get((base, "", iteration), [])
            if found:
                mean = sum(found) / len(found)
                points.append(Point(_condition(control, ratio), metric, iteration, mean, min(found), max(found)))
    return points


def _thinned(iterations: Sequence[int]) -> list[int]:
    """As many of them as can be seen, evenly, with the first and the last."""
    chosen = np.unique(np.linspace(0, len(iterations) - 1, min(SHOWN_POINTS, len(iterations))).round().astype(int))
    return [iterations[index] for index in chosen]


def _lines(points: Sequence[Point], label: str, finish: Callable | None) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    conditions = list(dict.fromkeys(point.condition for point in points))
    for index, condition in enumerate(conditions):
        colour = colours[index % len(colours)]
        mine = [point for point in points if point.condition == condition]
        for position, statistic in enumerate(dict.fromkeys(point.statistic for point in mine)):
            shown = [point for point in mine if point.statistic == statistic]
            steps = [point.iteration for point in shown]
            name = condition if position == 0 else None
            axis.plot(steps, [point.value for point in shown], "-" if position == 0 else "--", color=colour, label=name)
            if position == 0:
                axis.fill_between(
                    steps,
                    [point.low for point in shown],
                    [point.high for point in shown],
                    color=colour,
                    alpha=0.2,
                    lw=0,
                )
    axis.set_xlabel("generation")
    axis.set_ylabel(label)
    axis.legend(fontsize=8)
    if finish:
        finish(axis)
    return figure


def _finish(figure: Figure, rows: Sequence[Dot] | Sequence[Point], arguments: argparse.Namespace) -> None:
    svg, png, table = arguments.output
    write_csv(table, rows)
    save(figure, [svg, png], arguments.dpi)
