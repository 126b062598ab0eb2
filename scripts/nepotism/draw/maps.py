"""Figure 10: how far each ratio and iteration is from 0 %, where that exceeds delta, and in how many seeds it has not yet."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nepotism.draw.curves import titled
from nepotism.draw.figures import nothing
from nepotism.judge.contrasts import DELTA
from nepotism.judge.looks import ONCE, Looks
from nepotism.judge.threshold import INTERVAL, Measured, Survival, Threshold, survivals, thresholds

# Bounds of colours: distances over that of 0 %.
FACTORS = (1.0, 1.1, math.exp(DELTA), 1.5, 2.0, 3.0, 5.0, 10.0)
# In the colours of scores against the iteration.
COLOURS = "viridis"
SEED = "tab:red"


@dataclass(frozen=True)
class MapPoint:
    """One cell of one seed.

    Attributes:
        theta: logarithm of its distance minus that of 0 %; empty where it is not known.
        fitted: the same as fitted, increasing along both axes; empty where some theta of the seed is not known.
    """

    arm: str
    features: str
    statistic: str
    ratio: str
    iteration: int
    seed: int
    theta: float | None
    fitted: float | None


def map_points(found: Measured) -> Iterator[MapPoint]:
    """All cells of an arm in one feature space."""
    for each in found.surfaces:
        for row, ratio in enumerate(each.ratios):
            for column, iteration in enumerate(each.iterations):
                theta = float(each.values[row, column])
                fitted = None if each.fitted is None else float(each.fitted[row, column])
                yield MapPoint(
                    *found.name, ratio, iteration, each.seed, theta if math.isfinite(theta) else None, fitted
                )


def threshold_maps(maps: Sequence[Measured], clip: str, looks: Looks = ONCE) -> Figure:
    """A column for each arm and feature space: the map above, survival below. Without any, a figure that says so.

    Args:
        maps: by the distance itself.
        clip: name of the CLIP model, for the titles.
        looks: whether seeds may be added after a look.
    """
    if not maps:
        return nothing("map of ratios and iterations")
    figure = Figure(figsize=(4.2 * len(maps) + 0.8, 6.2), layout="constrained")
    axes = figure.subplots(2, len(maps), squeeze=False, height_ratios=(3, 2))
    several = len({each.arm for each in maps}) > 1
    norm = BoundaryNorm(np.log(FACTORS), matplotlib.colormaps[COLOURS].N, extend="max")
    colours = ScalarMappable(norm, COLOURS)
    for above, below, each in zip(*axes, maps, strict=True):
        _map(above, each, norm, looks)
        _survival(below, list(survivals(each)))
        title = titled("Fréchet distance", each.features, clip) if each.features else each.statistic
        above.set_title(f"{each.arm}: {title}" if several else title, fontsize=9)
        for axis in (above, below):
            axis.tick_params(labelsize=8)
            axis.set_xlabel("retraining iteration (0: base model)", fontsize=8)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel("generated images in the training set, %", fontsize=8)
    axes[1, 0].set_ylabel("share of seeds without collapse", fontsize=8)
    bar = figure.colorbar(colours, ax=axes[0].tolist(), ticks=np.log(FACTORS))
    bar.ax.set_yticklabels([f"{factor:g}" for factor in FACTORS], fontsize=8)
    bar.set_label("distance over that of 0 %, as fitted (mean of seeds)", fontsize=8)
    shown: dict[str, Artist] = {}
    for axis in axes.flat:
        shown |= {label: look for look, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    return figure


def _map(axis: Axes, found: Measured, norm: BoundaryNorm, looks: Looks) -> None:
    first = found.surfaces[0]
    x, y = np.array([0, *first.iterations], float), np.array([0.0, *map(float, first.ratios)])
    fitted = [each.fitted for each in found.surfaces if each.fitted is not None]
    # A mean of some of the seeds is no map.
    if len(fitted) == len(found.surfaces):
        # At ratio 0 and at iteration 0, nothing is different.
        surface = np.pad(np.mean(fitted, axis=0), ((1, 0), (1, 0)))
        axis.contourf(x, y, surface, levels=np.log(FACTORS), cmap=COLOURS, norm=norm, extend="max", zorder=0)
    means = np.mean([each.values for each in found.surfaces], axis=0)
    across, up = np.meshgrid(first.iterations, y[1:])
    known = np.isfinite(means)
    axis.scatter(
        across[known], up[known], c=means[known], cmap=COLOURS, norm=norm, edgecolors="white", linewidths=0.8, s=28,
        zorder=3, clip_on=False, label="cells that were run (colour: mean of seeds as measured)",
    )  # fmt: skip
    rows = list(thresholds(found, looks))
    _band(axis, [row for row in rows if not row.seed])
    _seeds(axis, [row for row in rows if row.seed], y[-1])
    axis.set(xlim=(0, x[-1]), ylim=(0, y[-1]))
    axis.margins(0)


def _band(axis: Axes, rows: Sequence[Threshold]) -> None:
    """Where collapse begins, all seeds together: a line with its intervals, interrupted where there is none."""
    known = [(row.ratio, row.low, row.high) if row.state == INTERVAL else (math.nan,) * 3 for row in rows]
    ratio, low, high = np.array(known, float).reshape(-1, 3).T
    if np.isnan(ratio).all():
        return
    x = [row.iteration for row in rows]
    axis.fill_between(x, low, high, facecolor="none", edgecolor="white", hatch="////", linewidth=0, zorder=2)
    axis.errorbar(
        x, ratio, [ratio - low, high - ratio], fmt="o-", color="black", capsize=3, markersize=4, linewidth=1.2, zorder=4,
        clip_on=False, label="collapse begins (90 % interval between seeds)",
    )  # fmt: skip


def _seeds(axis: Axes, rows: Sequence[Threshold], top: float) -> None:
    """Each seed's threshold, or an arrow where it lies beyond the ratios that were run."""
    looks = {"x": "a seed's threshold", "^": "no ratio exceeds (a seed)"}
    for row in rows:
        if row.ratio is not None:
            marker, height = "x", row.ratio
        elif row.low is None:
            continue
        else:
            marker, height = "^", top
        axis.plot(
            row.iteration, height, marker, color=SEED, markersize=5, zorder=5, clip_on=False, fillstyle="none", label=looks[marker]
        )  # fmt: skip


def _survival(axis: Axes, rows: Sequence[Survival]) -> None:
    """A step for each ratio; with intervals, which are drawn as bars at every iteration."""
    ratios = list(dict.fromkeys(row.ratio for row in rows))
    shades = matplotlib.colormaps[COLOURS](np.linspace(0.0, 0.85, len(ratios)))
    for number, (ratio, shade) in enumerate(zip(ratios, shades, strict=True)):
        mine = [row for row in rows if row.ratio == ratio]
        x = np.array([row.iteration for row in mine])
        shift = 0.05 * (number - (len(ratios) - 1) / 2)
        y = np.array([row.survival for row in mine])
        axis.step([0, *x], [1.0, *y], where="post", color=shade, linewidth=1.2, label=f"{ratio} %")
        errors = [y - [row.ci90_low for row in mine], [row.ci90_high for row in mine] - y]
        axis.errorbar(
            x + shift, y, errors, fmt="|o^vs*D"[number % 7], color=shade, markersize=4, capsize=2, linewidth=0.6
        )
    axis.set_ylim(-0.03, 1.03)
    axis.grid(alpha=0.25)
