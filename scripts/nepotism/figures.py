"""The paper's figures. Every figure is drawn from rows of a table that is written beside it."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from scipy.special import stdtrit

from nepotism.files import whole
from nepotism.images import Pixels
from nepotism.tables import METRICS, Row

MARKERS = "osD^vPX*"
FLOOR = "real against real"
CLIP_SCORE = "CLIP score"


@dataclass(frozen=True)
class Picture:
    """One picture of figure 2: the panel, row and column it stands in, and which image it shows."""

    panel: str
    row: str
    column: str
    prompt: str
    id: str
    file: str


@dataclass(frozen=True)
class Point:
    """One point of figure 3; the interval is within the run for one seed, between seeds for several."""

    panel: str
    ratio: str
    iteration: int
    value: float
    low: float | None
    high: float | None
    seeds: int


def save(figure: Figure, paths: Sequence[Path], dpi: int) -> None:
    """Save under every given name, whole or not at all, with no date in the files: equal figures are equal bytes."""
    with matplotlib.rc_context({"svg.hashsalt": "nepotism"}):
        for path in paths:
            with whole(path) as temporary:
                metadata = {"Date": None} if path.suffix == ".svg" else None
                figure.savefig(temporary, dpi=dpi, bbox_inches="tight", metadata=metadata)


def image_grid(pictures: Sequence[Picture], pixels: dict[str, Pixels]) -> Figure:
    """Figure 2: a block of rows per panel; rows and columns appear in the order in which the pictures name them."""
    panels = {name: [p for p in pictures if p.panel == name] for name in dict.fromkeys(p.panel for p in pictures)}
    rows = {name: list(dict.fromkeys(p.row for p in shown)) for name, shown in panels.items()}
    columns = {name: list(dict.fromkeys(p.column for p in shown)) for name, shown in panels.items()}
    heights = [len(names) + 0.6 for names in rows.values()]
    width = max(map(len, columns.values()))
    figure = Figure(figsize=(width + 0.7, sum(heights)), layout="constrained")
    blocks = figure.subfigures(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for block, (name, shown) in zip(blocks, panels.items(), strict=True):
        block.suptitle(name, fontsize=8)
        spacing = {"wspace": 0.02, "hspace": 0.02}
        axes = block.subplots(len(rows[name]), len(columns[name]), squeeze=False, gridspec_kw=spacing)
        for picture in shown:
            axis = axes[rows[name].index(picture.row), columns[name].index(picture.column)]
            axis.imshow(pixels[picture.id], interpolation="nearest")
        for axis, label in zip(axes[:, 0], rows[name], strict=True):
            axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        for axis, label in zip(axes[0], columns[name], strict=True):
            axis.set_title(textwrap.fill(label, 20), fontsize=8 if len(label) < 8 else 5, pad=3)
        for axis in axes.flat:
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
    return figure


def curve_points(rows: Sequence[Row], control: str, clip: str) -> list[Point]:
    """The points of figure 3: FID in every feature space and CLIP score of the samples, and the floor (ratio ``real``).

    Args:
        rows: the table of scores.
        control: the arm to show.
        clip: name of the CLIP model, for the titles.
    """
    points = []
    wanted = [row for row in rows if row.metric in ("fid", "clip_score")]
    for panel, metric, space in _panels(wanted, clip):
        mine = [row for row in wanted if row.metric == metric and row.features == space]
        keys = {(row.ratio, row.iteration) for row in mine if row.set == "samples" and row.control in ("base", control)}
        for ratio, iteration in sorted(keys, key=lambda key: (float(key[0] or -1), key[1])):
            found = [
                row for row in mine
                if (row.set, row.ratio, row.iteration) == ("samples", ratio, iteration) and row.control in ("base", control)
            ]  # fmt: skip
            points.append(_point(panel, ratio, iteration, found))
        # The floor is the same for every seed: its interval is that of one.
        points.append(_point(panel, "real", 0, [row for row in mine if row.set == "real"][:1]))
    return points


def _panels(rows: Sequence[Row], clip: str) -> list[tuple[str, str, str]]:
    names = {"clip": clip, "conv": "random convolutions"}
    spaces = list(dict.fromkeys(row.features for row in rows if row.metric == "fid"))
    distances = [
        ("FID" if space == "inception" else f"Fréchet distance ({names[space]})", "fid", space) for space in spaces
    ]
    return [*distances, (f"{CLIP_SCORE} ({clip})", "clip_score", "clip")]


def _point(panel: str, ratio: str, iteration: int, rows: Sequence[Row]) -> Point:
    """One point from its replicates: the interval of a single seed, or the t interval between seeds."""
    values = np.array([row.value for row in rows])
    low, high = rows[0].ci_low, rows[0].ci_high
    if len(values) > 1:
        half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values)))
        low, high = float(values.mean()) - half, float(values.mean()) + half
    return Point(panel, ratio, iteration, float(values.mean()), low, high, len(values))


def curves(points: Sequence[Point]) -> Figure:
    """Figure 3: every score against the iteration, one line per ratio, real against real as a dotted line."""
    panels = list(dict.fromkeys(point.panel for point in points))
    figure = Figure(figsize=(3.6 * len(panels), 3.3), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        _curve_panel(axis, panel, [point for point in points if point.panel == panel])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    lines_first = sorted(range(len(labels)), key=lambda index: labels[index] == FLOOR)
    figure.legend(
        [handles[i] for i in lines_first], [labels[i] for i in lines_first],
        loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False,
    )  # fmt: skip
    return figure


def _curve_panel(axis: Axes, panel: str, points: Sequence[Point]) -> None:
    base = [point for point in points if point.ratio == ""]
    ratios = sorted({point.ratio for point in points} - {"", "real"}, key=float)
    colours = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, len(ratios)))
    for index, ratio in enumerate(ratios):
        line = base + sorted((point for point in points if point.ratio == ratio), key=lambda point: point.iteration)
        x = np.array([point.iteration for point in line]) + 0.06 * (index - (len(ratios) - 1) / 2)
        y = np.array([point.value for point in line])
        # Each curve is an interval around its value; where none is defined, only the value is drawn.
        below = [0.0 if point.low is None else point.value - point.low for point in line]
        above = [0.0 if point.high is None else point.high - point.value for point in line]
        axis.errorbar(
            x, y, [below, above], marker=MARKERS[index % len(MARKERS)], markersize=4, capsize=2, linewidth=1.2,
            color=colours[index], label=f"{ratio} % generated",
        )  # fmt: skip
    for point in points:
        if point.ratio == "real":
            axis.axhline(point.value, color="0.4", linestyle=":", linewidth=1, label=FLOOR)
    if not panel.startswith(CLIP_SCORE) and all(
        point.value > 0 and (point.low is None or point.low > 0) for point in points
    ):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xticks(sorted({point.iteration for point in points}))
    axis.set_xlabel("retraining iteration (0: base model)")
    axis.set_title(panel, fontsize=10)
    metric = "clip_score" if panel.startswith(CLIP_SCORE) else "fid"
    axis.set_ylabel(f"{METRICS[metric].better} is better")
    axis.grid(alpha=0.25)
