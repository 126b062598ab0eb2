"""Figure 3 as plain SVG, from the table that the figure was drawn from: a few kilobytes, and every point says its numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nepotism.experiment.cells import BASELINE_ARM
from nepotism.measure.metrics import METRICS
from nepotism.page.numbers import Number

# Of a panel, in units of its view box: its size, and the edges of what is drawn.
WIDTH, HEIGHT = 340, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 332, 10, 222
# How far beyond the values an axis may reach to show intervals, by how far apart the values are.
BEYOND = 0.7
# Symbols around the origin, so that lines differ without colours.
SYMBOLS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-3.6 -3.6h7.2v7.2h-7.2z",
    "M0 -4.6L4.4 3.4H-4.4z",
    "M0 -5L5 0L0 5L-5 0z",
    "M-4.4 -3.4H4.4L0 4.6z",
    "M-1.4 -4.6h2.8v3.2h3.2v2.8h-3.2v3.2h-2.8v-3.2h-3.2v-2.8h3.2z",
    "M0 -5L1.3 -1.5L5 -1.5L2 0.8L3.1 4.4L0 2.2L-3.1 4.4L-2 0.8L-5 -1.5L-1.3 -1.5z",
)
# As many as the style sheet has.
COLOURS = 8
DASHED = {"heal": "6 3", "repair": "2 3", "control": "8 2 2 2", "regime": "10 3"}

Point = Mapping[str, str]


@dataclass(frozen=True)
class Mark:
    """One point: where it is, the ends of its interval (None without one; cut at the panel's edge), and what it says."""

    x: float
    y: float
    low: float | None
    high: float | None
    title: str


@dataclass(frozen=True)
class Drawn:
    """One line of a panel, with the number of its look."""

    look: int
    path: str
    marks: list[Mark]


@dataclass(frozen=True)
class ChartPanel:
    """One panel: its words, its lines, the height of the floor, and the ticks of both axes."""

    title: str
    direction: str
    lines: list[Drawn]
    floor: float | None
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class Look:
    """How a line looks, and what it is called."""

    label: str
    colour: int
    symbol: str
    dashes: str


@dataclass(frozen=True)
class Chart:
    """The panels, the looks of all lines, and the rows of the table behind them: texts, and a value with its interval."""

    panels: list[ChartPanel]
    looks: list[Look]
    table: list[tuple[str, str, str, Number, Number, Number]]


def chart(points: Sequence[Point]) -> Chart:
    """The figure of a table.

    Args:
        points: rows of figures/figure-3.csv, as text.
    """
    drawn = [_finite(point) for point in points if math.isfinite(float(point["value"]))]
    keys = list(dict.fromkeys(_key(point) for point in drawn if point["kind"] != "floor"))
    looks = [
        Look(_label(*key), number % COLOURS, SYMBOLS[number % len(SYMBOLS)], DASHED.get(key[0], ""))
        for number, key in enumerate(keys)
    ]
    panels = [
        _panel(title, [point for point in drawn if point["panel"] == title], keys)
        for title in dict.fromkeys(point["panel"] for point in drawn)
    ]
    table = [
        (
            point["panel"],
            "real against real" if point["kind"] == "floor" else _label(*_key(point)),
            "" if point["kind"] == "floor" else point["iteration"],
            Number(point["value"]),
            Number(point["low"]),
            Number(point["high"]),
        )
        for point in points
    ]
    return Chart(panels, looks, table)


def _finite(point: Point) -> Point:
    """A point without an end of its interval that no axis has: the table beside the figure has it."""
    return {**point, **{end: "" for end in ("low", "high") if point[end] and not math.isfinite(float(point[end]))}}


def _key(point: Point) -> tuple[str, str, str]:
    return point["kind"], point["control"], point["ratio"]


def _label(kind: str, control: str, ratio: str) -> str:
    if kind == "heal":
        return f"{control}: {ratio} %, then real only"
    if kind == "repair":
        return f"{control}: {ratio} %, then repaired"
    return f"{ratio} % generated" if control == BASELINE_ARM else f"{control} {ratio} %"


def _panel(title: str, points: Sequence[Point], keys: Sequence[tuple[str, str, str]]) -> ChartPanel:
    values = [float(point["value"]) for point in points]
    numbers = [float(point[name]) for point in points for name in ("value", "low", "high") if point[name]]
    # As the figure: a distance by powers, if all of it is above 0.
    logarithmic = points[0]["metric"] == "fid" and min(numbers) > 0
    change = math.log if logarithmic else float
    # A wide interval must not make lines flat: it is cut where it is much wider than they are apart.
    beyond = BEYOND * (change(max(values)) - change(min(values)))
    bottom, top = change(min(numbers)), change(max(numbers))
    if beyond:
        bottom, top = max(bottom, change(min(values)) - beyond), min(top, change(max(values)) + beyond)
    margin = 0.04 * (top - bottom) or 0.5 * abs(top) or 1.0
    bottom, top = bottom - margin, top + margin
    last = max(int(point["iteration"]) for point in points) or 1

    def x(iteration: float) -> float:
        return round(LEFT + 12 + (RIGHT - LEFT - 24) * iteration / last, 1)

    def y(value: str) -> float:
        inside = min(max(change(float(value)), bottom), top)
        return round(BOTTOM - (BOTTOM - TOP) * (inside - bottom) / (top - bottom), 1)

    lines = []
    present = [key for key in keys if any(_key(point) == key for point in points)]
    for place, key in enumerate(present):
        mine = sorted((point for point in points if _key(point) == key), key=lambda point: int(point["iteration"]))
        # Beside each other, so that intervals can be told apart.
        shift = 2.2 * (place - (len(present) - 1) / 2)
        marks = [
            Mark(
                round(x(int(point["iteration"])) + shift, 1),
                y(point["value"]),
                y(point["low"]) if point["low"] else None,
                y(point["high"]) if point["high"] else None,
                f"{_label(*key)}, iteration {point['iteration']}: {Number(point['value'])}"
                + (f" ({Number(point['low'])} to {Number(point['high'])})" if point["low"] and point["high"] else ""),
            )
            for point in mine
        ]
        path = "M" + "L".join(f"{mark.x:g} {mark.y:g}" for mark in marks)
        lines.append(Drawn(keys.index(key), path, marks))
    floors = [point["value"] for point in points if point["kind"] == "floor"]
    step = max(1, math.ceil(last / 8))
    low, high = (math.exp(bottom), math.exp(top)) if logarithmic else (bottom, top)
    return ChartPanel(
        title,
        METRICS[points[0]["metric"]].direction,
        lines,
        y(floors[0]) if floors else None,
        [(x(iteration), str(iteration)) for iteration in range(0, last + 1, step)],
        [(y(repr(tick)), f"{tick:g}") for tick in ticks(low, high, logarithmic)],
    )


def ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round numbers from ``low`` to ``high``: three to seven of them, of 1, 2 and 5 times powers of ten where there are enough."""
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factors in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
            found = [factor * 10.0**power for power in powers for factor in factors]
            found = [tick for tick in found if low <= tick <= high]
            if 3 <= len(found) <= 7:
                return found
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step)
    return [float(f"{number * step:.10g}") for number in range(first, math.floor(high / step) + 1)]
