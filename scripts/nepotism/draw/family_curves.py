"""What the figures of families share: which files a condition's rows are in, and lines of scores over generations.

Each figure is drawn from a table that is written beside it.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, MaxNLocator, NullLocator, ScalarFormatter

from nepotism.data.tables import Row, write_csv
from nepotism.draw.figures import nothing, rows_of_panels, save
from nepotism.experiment.cells import cell_in
from nepotism.judge.family_claims import Arms, base_of

# Points of a line: more do not show.
SHOWN_POINTS = 200
# Panels beside each other: more are too small to read on a page.
PANELS_OF_A_ROW = 4


@dataclass(frozen=True)
class FamilyPoint:
    """A value of a condition at an iteration: of the mean over chains and seeds, the range of the seeds' means, or a law."""

    condition: str
    statistic: str
    iteration: int
    value: float
    low: float
    high: float


def name_of(control: str, ratio: str) -> str:
    """What a condition is called in figures."""
    return f"{ratio} %" if control == "none" else f"{control} {ratio} %"


def files_of_conditions(paths: Sequence[Path], arms: Arms) -> dict[str, list[Path]]:
    """Files of every condition, from the generation 0 of its arm on."""
    bases = {path.parent.parent.name: path for path in paths if not cell_in(str(path))}
    found: dict[str, list[Path]] = {}
    for path in paths:
        if cell := cell_in(str(path)):
            first = bases[base_of(arms, cell.control)]
            found.setdefault(name_of(cell.control, cell.ratio), [first]).append(path)
    return found


def curves(rows: Sequence[Row], metric: str, arms: Arms) -> list[FamilyPoint]:
    """Means over the seeds of every condition, with the range of the seeds, at as many iterations as can be seen."""
    mine = [row for row in rows if row.metric == metric and row.set == "samples"]
    by_place: dict[tuple[str, str, int], list[float]] = {}
    for row in mine:
        by_place.setdefault((row.control, row.ratio, row.iteration), []).append(row.value)
    points = []
    for control, ratio in dict.fromkeys((row.control, row.ratio) for row in mine if row.ratio):
        base = base_of(arms, control)
        iterations = sorted(iteration for c, r, iteration in by_place if (c, r) == (control, ratio))
        for iteration in [0, *thinned(iterations)]:
            found = by_place.get((control, ratio, iteration)) or by_place.get((base, "", iteration), [])
            if found:
                mean = sum(found) / len(found)
                points.append(FamilyPoint(name_of(control, ratio), metric, iteration, mean, min(found), max(found)))
    return points


def floor(rows: Sequence[Row], metric: str, name: str) -> list[FamilyPoint]:
    """What original rows score, as one point that is called ``name``: the mean with its range; none where no score is there."""
    found = [row.value for row in rows if (row.metric, row.set, row.iteration) == (metric, "real", 0)]
    return [FamilyPoint(name, metric, 0, sum(found) / len(found), min(found), max(found))] if found else []


def draw_floor(axis: Axes, points: Sequence[FamilyPoint]) -> None:
    """What `floor` found, as a dotted line across."""
    for point in points:
        axis.axhline(point.value, color="black", ls=":", lw=1, label=point.condition)


def thinned(iterations: Sequence[int], most: int = SHOWN_POINTS) -> list[int]:
    """As many of them as can be seen, evenly, with the first and the last."""
    chosen = np.unique(np.linspace(0, len(iterations) - 1, min(most, len(iterations))).round().astype(int))
    return [iterations[index] for index in chosen]


def line_figure(points: Sequence[FamilyPoint], label: str, change: Callable[[Axes], object] | None = None) -> Figure:
    """A line per condition; of its first statistic with the range of the seeds, of others dashed. Of no points it says so.

    Args:
        points: to draw.
        label: of the vertical axis.
        change: what else is done to the axes.
    """
    if not points:
        return nothing("score")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for index, condition in enumerate(dict.fromkeys(point.condition for point in points)):
        colour = colours[index % len(colours)]
        mine = [point for point in points if point.condition == condition]
        for position, statistic in enumerate(dict.fromkeys(point.statistic for point in mine)):
            shown = [point for point in mine if point.statistic == statistic]
            steps = [point.iteration for point in shown]
            style, name = ("-", condition) if position == 0 else ("--", None)
            axis.plot(steps, [point.value for point in shown], style, color=colour, label=name)
            if position == 0:
                low, high = [point.low for point in shown], [point.high for point in shown]
                axis.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
    count_generations(axis)
    axis.set_xlabel("generation")
    axis.set_ylabel(label)
    if change:
        change(axis)
    axis.legend(fontsize=8)
    return figure


def logarithmic(axis: Axes) -> None:
    """A logarithmic vertical axis, after what it shows is drawn; within a decade its ticks are plain numbers."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    if high < 10 * low:
        axis.yaxis.set_major_locator(AutoLocator())
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.yaxis.set_minor_locator(NullLocator())


def count_generations(axis: Axes) -> None:
    """The horizontal axis in whole generations."""
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def panels(conditions: Sequence[str], iterations: Sequence[int], side: float = 1.4) -> tuple[Figure, Any]:
    """A row of panels per condition, a column per iteration, without ticks; ``side`` of a panel is in inches.

    Where there is no panel, a figure that says so.
    """
    if not conditions or not iterations:
        return nothing("row"), [[] for _ in conditions]
    size = (side * len(iterations) + 1.5, side * len(conditions) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(conditions), len(iterations), squeeze=False, sharex=True, sharey=True)
    for row, condition in zip(axes, conditions, strict=True):
        row[0].set_ylabel(condition.replace("_", "_\n"), rotation=0, ha="right", va="center", fontsize=8)
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, iteration in zip(axes[0], iterations, strict=True):
        axis.set_title(f"generation {iteration}", fontsize=8)
    return figure, axes


def condition_panels(
    conditions: Sequence[str], horizontal: str, vertical: str, sharex: bool = False
) -> tuple[Figure, dict[str, Axes]]:
    """A panel per condition, a few in a row, with one scale for all.

    Args:
        conditions: at least one.
        horizontal: label of the horizontal axes, below each column.
        vertical: label of the vertical axes, left of each row.
        sharex: whether the horizontal axes have one scale, too.
    """
    count = len(conditions)
    figure, axes = rows_of_panels(count, PANELS_OF_A_ROW, (3, 2.7), (0.8, 0.4), sharex=sharex, sharey=True)
    for number, (axis, condition) in enumerate(zip(axes, conditions, strict=True)):
        axis.set_title(condition, fontsize=8)
        # Below the last of each column, which the last row may not fill.
        if number + PANELS_OF_A_ROW >= count:
            axis.set_xlabel(horizontal)
            axis.tick_params(labelbottom=True)
        if number % PANELS_OF_A_ROW == 0:
            axis.set_ylabel(vertical)
    return figure, dict(zip(conditions, axes, strict=True))


def name_lines(axes: Mapping[str, Axes], title: str) -> None:
    """One legend for all panels, right of the first row."""
    named = max(axes.values(), key=lambda axis: len(axis.get_legend_handles_labels()[0]))
    right = list(axes.values())[:PANELS_OF_A_ROW][-1]
    right.legend(
        *named.get_legend_handles_labels(), fontsize=6, loc="upper left", bbox_to_anchor=(1, 1), title=title, title_fontsize=6
    )  # fmt: skip


def finish(figure: Figure, rows: Sequence[Any], arguments: argparse.Namespace, kind: type = FamilyPoint) -> None:
    """Write a figure as SVG and PNG, and the table of ``kind`` that it was drawn from."""
    svg, png, table = arguments.output
    write_csv(table, rows, kind)
    save(figure, [svg, png], arguments.dpi)
