"""Figures of recursive Gaussian mixtures, each drawn from a table that is written beside it."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nepotism.data.rows import read_rows, vectors
from nepotism.data.tables import read_csv
from nepotism.draw.family_curves import (
    FamilyPoint,
    curves,
    files_of_conditions,
    finish,
    line_figure,
    logarithmic,
    name_of,
    panels,
    thinned,
)
from nepotism.families.gmm.theory import (
    accumulated_mean_variance,
    diversity,
    expected_wasserstein,
    log_generalised_variance,
    mean_shift,
    mean_variance,
)

# Points of a panel: more do not show.
SHOWN_SAMPLES = 300
LAW = "law"

# Settings of an arm.
Arm = Mapping[str, Any]


@dataclass(frozen=True)
class Dot:
    """One sample of a panel of figure `samples`."""

    condition: str
    iteration: int
    x: float
    y: float


def draw_samples(arguments: argparse.Namespace) -> None:
    """A row per condition, a column per snapshot: the first chain's samples, in their first two dimensions."""
    snapshots = {iteration for arm in arguments.arms.values() for iteration in arm["snapshots"]}
    files = files_of_conditions(arguments.samples, arguments.arms)
    dots = [
        dot
        for name, paths in files.items()
        for path in paths
        for dot in _dots(path, name)
        if dot.iteration in snapshots
    ]
    iterations = sorted({dot.iteration for dot in dots})
    figure, axes = panels(list(files), iterations)
    for row, name in zip(axes, files, strict=True):
        for axis, iteration in zip(row, iterations, strict=True):
            shown = [dot for dot in dots if (dot.condition, dot.iteration) == (name, iteration)]
            axis.scatter([dot.x for dot in shown], [dot.y for dot in shown], s=2, linewidths=0, rasterized=True)
            if not shown:
                axis.axis("off")
    finish(figure, dots, arguments, Dot)


def draw_distance(arguments: argparse.Namespace) -> None:
    """Density distance over generations: the mean with the range of the seeds, and the median dashed."""
    rows = read_csv(arguments.metrics)
    points = [
        point
        for metric in ("density_distance", "density_distance_median")
        for point in curves(rows, metric, arguments.arms)
    ]
    figure = line_figure(points, "squared L2 distance of densities", logarithmic)
    finish(figure, points, arguments)


def draw_spread(arguments: argparse.Namespace) -> None:
    """Spread over generations, and the law of one Gaussian."""
    points = curves(read_csv(arguments.metrics), "log_spread", arguments.arms)

    def law(arm: Arm, iteration: int) -> float | None:
        dimensions = len(arm["original"][0]["mean"])
        return log_generalised_variance(arm["samples"], iteration, dimensions) if arm["regime"] == "replace" else None

    # The first fit, to original samples, is another one for each arm: its law begins where the arm begins.
    points += [
        replace(point, value=start + point.value, low=start + point.low, high=start + point.high)
        for point in _laws(arguments.arms, law)
        if (start := _start(points, point.condition)) is not None
    ]
    finish(line_figure(points, "ln det(covariance), of model over original"), points, arguments)


def draw_variance(arguments: argparse.Namespace) -> None:
    """Total variance over generations, and its law."""
    points = curves(read_csv(arguments.metrics), "variance", arguments.arms)
    points += _laws(
        arguments.arms,
        lambda arm, iteration: mean_variance(arm["samples"], iteration + 1) if arm["regime"] == "replace" else None,
    )
    finish(line_figure(points, "total variance, of model over original"), points, arguments)


def draw_mean(arguments: argparse.Namespace) -> None:
    """The walk of the mean over generations, and its laws."""
    laws = {"replace": mean_shift, "accumulate": accumulated_mean_variance}
    points = curves(read_csv(arguments.metrics), "mean_shift", arguments.arms)
    points += _laws(
        arguments.arms,
        lambda arm, iteration: laws[arm["regime"]](arm["samples"], iteration + 1) if arm["regime"] in laws else None,
    )
    figure = line_figure(points, "squared shift of the mean, over variance", logarithmic)
    finish(figure, points, arguments)


def draw_wasserstein(arguments: argparse.Namespace) -> None:
    """Wasserstein distance along one dimension over generations, and its law for one Gaussian."""

    def law(arm: Arm, iteration: int) -> float | None:
        normal = len({(part["mean"][-1], part["covariance"][-1][-1]) for part in arm["original"]}) == 1
        holds = arm["regime"] == "replace" and arm["n_components"] == 1 and normal
        return expected_wasserstein(arm["samples"], iteration + 1) if holds else None

    points = curves(read_csv(arguments.metrics), "gaussian_wasserstein", arguments.arms) + _laws(arguments.arms, law)
    figure = line_figure(points, "squared W2 distance along one axis", logarithmic)
    finish(figure, points, arguments)


def draw_components(arguments: argparse.Namespace) -> None:
    """How evenly the components share the samples, over generations, and the law of a discrete distribution."""

    def law(arm: Arm, iteration: int) -> float | None:
        weights = np.array([part["weight"] for part in arm["original"]])
        first = 1 - float(((weights / weights.sum()) ** 2).sum())
        # The components must be those of the original: others do not stay apart, and have no law.
        holds = arm["regime"] == "replace" and 1 < arm["n_components"] == len(weights)
        return diversity(arm["samples"], iteration + 1) * first if holds else None

    points = curves(read_csv(arguments.metrics), "weight_diversity", arguments.arms) + _laws(arguments.arms, law)
    finish(line_figure(points, "chance that two samples are of different components"), points, arguments)


def _laws(arms: Mapping[str, Arm], law: Callable[[Arm, int], float | None]) -> list[FamilyPoint]:
    """A law at ratio 100 for every arm that it has a value for, by iteration."""
    return [
        FamilyPoint(name_of(name, "100"), LAW, iteration, value, value, value)
        for name, arm in arms.items()
        if "100" in arm["ratios"]
        for iteration in thinned(range(arm["last"] + 1))
        if (value := law(arm, iteration)) is not None
    ]


def _start(points: Sequence[FamilyPoint], condition: str) -> float | None:
    return next((point.value for point in points if point.condition == condition), None)


def _dots(path: Path, condition: str) -> list[Dot]:
    table = read_rows(path, "vector")
    values, iterations = vectors(table), np.array(table["iteration"])
    groups = np.array(table["group"])
    dots: list[Dot] = []
    for iteration in np.unique(iterations):
        chosen = values[(iterations == iteration) & (groups == groups[0])][:SHOWN_SAMPLES]
        dots += [Dot(condition, int(iteration), float(row[0]), float(row[1] if len(row) > 1 else 0)) for row in chosen]
    return dots
