"""Figures 3 and 7: scores against the iteration. What is drawn is a table of points that is written beside the figure."""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from scipy.special import stdtrit

from nepotism.data.tables import Row, read_csv, write_csv
from nepotism.draw.figures import nothing, rows_of_panels, save
from nepotism.experiment.cells import BASELINE_ARM
from nepotism.measure.metrics import METRICS
from nepotism.runtime.options import add_keys

# The paper's symbols of its two controls come first.
CONTROL_MARKERS = "DsP*Xp"
MARKERS = "o^v<>8hd"
REGIME_COLOURS = ("tab:red", "tab:orange", "tab:brown", "tab:pink", "tab:gray", "tab:olive")
FLOOR = "real against real"
# Images below which a Frechet distance in many dimensions says most of how few they are.
FEW = 2000

Kind = Literal["mixture", "regime", "control", "heal", "repair", "floor"]
# Lines that go on from a finished cell.
BRANCHES = ("heal", "repair")


@dataclass(frozen=True)
class Panel:
    """What one panel shows: a title, and which rows of the table."""

    title: str
    metric: str
    features: str


@dataclass(frozen=True)
class Line:
    """An arm to show, and how.

    ``mixture`` as solid lines, ``regime`` as lines of a colour of its own, ``control`` as open symbols, ``heal`` (on real images
    only) and ``repair`` (without any) after a branching point.

    ``start`` is the {control} that its lines begin at: of its iteration 0, or of the cell before its branching point. Empty for
    the base model, or the plain mixture.
    """

    control: str
    kind: Kind
    start: str = ""


@dataclass(frozen=True)
class CurvePoint:
    """One point; the interval is within the run for one seed, between seeds for several. The floor has no iteration."""

    panel: str
    metric: str
    kind: Kind
    control: str
    ratio: str
    iteration: int
    value: float
    low: float | None
    high: float | None
    seeds: int


def score_panels(rows: Sequence[Row], clip: str) -> list[Panel]:
    """Figure 3: the Frechet distance in every feature space, and the CLIP score.

    Of few images, the features of DINOv2, which are a thousand and more, are compared by the kernel distance, which has no bias.

    Args:
        rows: the table of scores.
        clip: name of the CLIP model, for the titles.
    """
    few = max((row.n for row in rows if row.metric == "fid"), default=0) < FEW
    distances = [
        Panel(titled("kernel distance", space, clip), "kid", space)
        if few and space == "dinov2"
        else Panel(titled("Fréchet distance", space, clip), "fid", space)
        for space in _spaces(rows)
    ]
    return [*distances, Panel(f"CLIP score ({clip})", "clip_score", "clip")]


def drift_panels(rows: Sequence[Row], clip: str) -> list[Panel]:
    """Figure 7: how far apart images of one group are, and their colours."""
    spread = [
        Panel(titled("distance within groups", space, clip), "within_group_distance", space) for space in _spaces(rows)
    ]
    return [*spread, Panel("saturation", "saturation", "pixels"), Panel("contrast", "contrast", "pixels")]


def _spaces(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.features for row in rows if row.metric == "fid"))


def titled(what: str, space: str, clip: str) -> str:
    if space == "inception" and what.startswith("Fréchet"):
        return "FID"
    names = {"clip": clip, "conv": "random convolutions", "dinov2": "DINOv2"}
    return f"{what} ({names.get(space, space)})"


def curve_points(rows: Sequence[Row], panels: Sequence[Panel], lines: Sequence[Line]) -> list[CurvePoint]:
    """The points of every panel, line by line, each line from its iteration 0; then the floor."""
    points: list[CurvePoint] = []
    for panel in panels:
        mine = [row for row in rows if (row.metric, row.features) == (panel.metric, panel.features)]
        samples = [row for row in mine if row.set == "samples"]
        for line in lines:
            points += _line_points(panel, line, samples)
        # The floor is the same for every seed: its interval is that of one.
        floor = [row for row in mine if row.set == "real" and row.control == "base"][:1]
        points += [_point(panel, "floor", "base", "", 0, floor)] if floor else []
    return points


def _line_points(panel: Panel, line: Line, samples: Sequence[Row]) -> Iterator[CurvePoint]:
    for ratio in sorted({row.ratio for row in samples if row.control == line.control}, key=float):
        found = [row for row in samples if (row.control, row.ratio) == (line.control, ratio)]
        first = min(row.iteration for row in found)
        if line.kind in BRANCHES:
            origin = (line.start or BASELINE_ARM, ratio, first - 1)
            start = [row for row in samples if (row.control, row.ratio, row.iteration) == origin]
        else:
            start = [row for row in samples if row.control == (line.start or "base") and row.iteration == 0]
        for iteration in sorted({row.iteration for row in start + found}):
            here = [row for row in start + found if row.iteration == iteration]
            yield _point(panel, line.kind, line.control, ratio, iteration, here)


def _point(panel: Panel, kind: Kind, control: str, ratio: str, iteration: int, rows: Sequence[Row]) -> CurvePoint:
    values = np.array([row.value for row in rows])
    low, high = rows[0].ci_low, rows[0].ci_high
    if len(values) > 1:
        half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values)))
        low, high = float(values.mean()) - half, float(values.mean()) + half
    return CurvePoint(
        panel.title, panel.metric, kind, control, ratio, iteration, float(values.mean()), low, high, len(values)
    )


def curves(points: Sequence[CurvePoint], columns: int = 4) -> Figure:
    """Every score against the iteration, one line per arm and ratio, real against real as a dotted line.

    Without any point, a figure that says so.
    """
    if not points:
        return nothing("score")
    panels = list(dict.fromkeys(point.panel for point in points))
    figure, axes = rows_of_panels(len(panels), columns, (3.7, 3.3), (0, 0.3))
    ratios = sorted({point.ratio for point in points} - {""}, key=float)
    colours = dict(zip(ratios, matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, len(ratios))), strict=True))
    for axis, panel in zip(axes, panels, strict=True):
        _curve_panel(axis, [point for point in points if point.panel == panel], colours)
        axis.set_title(panel, fontsize=10)
    labelled = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    # Last in the legend.
    labelled |= {FLOOR: labelled.pop(FLOOR)} if FLOOR in labelled else {}
    figure.legend(
        list(labelled.values()), list(labelled), loc="outside lower center", ncols=5, fontsize=8, frameon=False
    )
    return figure


def _curve_panel(axis: Axes, points: Sequence[CurvePoint], colours: dict) -> None:
    lines: dict[tuple[Kind, str, str], list[CurvePoint]] = {}
    for point in points:
        lines.setdefault((point.kind, point.control, point.ratio), []).append(point)
    drawn = [line for line in lines if line[0] != "floor"]
    used = {
        kind: list(dict.fromkeys(key[1:] for key in drawn if key[0] == kind))
        for kind in ("mixture", "regime", "control", *BRANCHES)
    }
    for index, (kind, control, ratio) in enumerate(drawn):
        line = lines[kind, control, ratio]
        x = np.array([point.iteration for point in line]) + 0.06 * (index - (len(drawn) - 1) / 2)
        y = np.array([point.value for point in line])
        # Each curve is an interval around its value; where none is defined, only the value is drawn.
        below = [0.0 if point.low is None else point.value - point.low for point in line]
        above = [0.0 if point.high is None else point.high - point.value for point in line]
        style = _style(kind, control, ratio, used)
        style = {"color": colours[ratio]} | style
        axis.errorbar(x, y, [below, above], capsize=2, elinewidth=0.8, **style)
        if kind in BRANCHES:
            axis.axvline(line[0].iteration + 0.5, color="0.7", linestyle="--", linewidth=0.8)
            word = "repair" if used["repair"] else "healing"
            axis.text(line[0].iteration + 0.55, 0.99, word, transform=axis.get_xaxis_transform(), fontsize=7, va="top")
    for floor in (point for point in points if point.kind == "floor"):
        axis.axhline(floor.value, color="0.4", linestyle=":", linewidth=1, label=FLOOR)
    metric = points[0].metric
    if metric == "fid" and all(point.value > 0 and (point.low is None or point.low > 0) for point in points):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("retraining iteration (0: base model)")
    if METRICS[metric].direction:
        axis.set_ylabel(METRICS[metric].direction)
    axis.grid(alpha=0.25)


def _style(kind: Kind, control: str, ratio: str, used: dict[str, list[tuple[str, str]]]) -> dict:
    match kind:
        case "mixture":
            label = f"{ratio} % generated" if control == BASELINE_ARM else f"{control} {ratio} %"
            marker = MARKERS[used["mixture"].index((control, ratio)) % len(MARKERS)]
            dashes = "-" if control == BASELINE_ARM else "-."
            return {"label": label, "marker": marker, "markersize": 4, "linewidth": 1.2, "linestyle": dashes}
        case "regime":
            # Several regimes share a ratio, which gives other lines their colour.
            number = used["regime"].index((control, ratio))
            look = {"marker": MARKERS[number % len(MARKERS)], "color": REGIME_COLOURS[number % len(REGIME_COLOURS)]}
            return {"label": f"{control} {ratio} %", "markersize": 4, "linewidth": 1.2, "linestyle": "-.", **look}
        case "control":
            marker = CONTROL_MARKERS[used["control"].index((control, ratio)) % len(CONTROL_MARKERS)]
            label = f"{control} {ratio} %"
            return {"label": label, "marker": marker, "markersize": 6, "fillstyle": "none", "linewidth": 0.5}
        case _:
            label = f"{control}: {ratio} %, then " + ("real only" if kind == "heal" else "repaired")
            marker = ".12348+x"[used[kind].index((control, ratio)) % 8]
            dashes = "--" if kind == "heal" else ":"
            return {"label": label, "marker": marker, "markersize": 6, "linewidth": 1.2, "linestyle": dashes}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What figures 3 and 7 are drawn from."""
    add_keys(parser, "score", "clip")
    parser.add_argument(
        "--arms",
        nargs="+",
        required=True,
        help="arms to draw, as name:kind (mixture, regime, control, heal or repair) or name:kind:start, where its lines begin at "
        "another control than the plain one",
    )
    parser.add_argument("--metrics", type=Path, required=True, help="tables/metrics.csv")


def draw_curves(arguments: argparse.Namespace, panels: Callable[[Sequence[Row], str], list[Panel]]) -> None:
    """Read the table of scores, draw the panels, and write the table of their points."""
    rows = read_csv(arguments.metrics)
    lines = [Line(*arm.split(":")) for arm in arguments.arms]
    points = curve_points(rows, panels(rows, arguments.clip.name), lines)
    svg, png, table = arguments.output
    save(curves(points), [svg, png], arguments.dpi)
    write_csv(table, points, CurvePoint)
