"""Figures of recursive autoencoders, each drawn from a table that is written beside it."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow.parquet as pq
from matplotlib.axes import Axes

from nepotism.data.images import Pixels, decode
from nepotism.data.tables import read_csv
from nepotism.draw.family_curves import (
    FamilyPoint,
    condition_panels,
    count_generations,
    curves,
    draw_floor,
    files_of_conditions,
    finish,
    floor,
    line_figure,
    logarithmic,
    name_lines,
    panels,
)
from nepotism.draw.figures import nothing
from nepotism.families.vae import CLASSES

# Digits of a panel: SIDE rows of SIDE, each in a frame of FRAME pixels.
SIDE, FRAME = 6, 1


@dataclass(frozen=True)
class Shown:
    """One digit of figure `digits`: where it is drawn, and which row of an image set it is."""

    condition: str
    iteration: int
    position: int
    id: str
    group: str


def draw_digits(arguments: argparse.Namespace) -> None:
    """A row per condition, a column per snapshot: its first digits."""
    snapshots = {iteration for arm in arguments.arms.values() for iteration in arm["snapshots"]}
    shown: list[Shown] = []
    sheets: dict[tuple[str, int], Pixels] = {}
    files = files_of_conditions(arguments.samples, arguments.arms)
    for name, paths in files.items():
        for path in paths:
            _take(path, name, snapshots, shown, sheets)
    iterations = sorted({iteration for _, iteration in sheets})
    figure, axes = panels(list(files), iterations)
    for row, name in zip(axes, files, strict=True):
        for axis, iteration in zip(row, iterations, strict=True):
            sheet = sheets.get((name, iteration))
            if sheet is None:
                axis.axis("off")
            else:
                axis.imshow(sheet, cmap="gray", vmin=0, vmax=255)
    finish(figure, shown, arguments, Shown)


def _take(
    path: Path, name: str, snapshots: set[int], shown: list[Shown], sheets: dict[tuple[str, int], Pixels]
) -> None:
    """The first digits of every snapshot in a file of samples."""
    table = pq.read_table(path, columns=["image", "iteration", "id", "group"])
    iterations = np.array(table["iteration"])
    for iteration in snapshots & set(iterations.tolist()):
        rows = table.filter(iterations == iteration).slice(0, SIDE**2).to_pylist()
        digits = [decode(row["image"]["bytes"])[..., 0] for row in rows]
        side = len(digits[0])
        sheet = np.full((SIDE * (side + FRAME) - FRAME,) * 2, 255, np.uint8)
        for position, (row, digit) in enumerate(zip(rows, digits, strict=True)):
            top, left = ((side + FRAME) * part for part in divmod(position, SIDE))
            sheet[top : top + side, left : left + side] = digit
            shown.append(Shown(name, iteration, position, row["id"], row["group"]))
        sheets[name, iteration] = sheet


def draw_distance(arguments: argparse.Namespace) -> None:
    """Fréchet distance over generations, and that of real digits."""
    rows = read_csv(arguments.metrics)
    points = curves(rows, "fid", arguments.arms)
    original = floor(rows, "fid", "real digits")

    def change(axis: Axes) -> None:
        draw_floor(axis, original)
        logarithmic(axis)

    figure = line_figure(points, "Fréchet distance (classifier)", change)
    finish(figure, [*points, *original], arguments)


def draw_classes(arguments: argparse.Namespace) -> None:
    """What becomes of every digit: a panel per condition, an area per digit."""
    rows = read_csv(arguments.metrics)
    points = [point for digit in range(CLASSES) for point in curves(rows, f"class_share_{digit}", arguments.arms)]
    if not points:
        return finish(nothing("score"), points, arguments)
    conditions = list(dict.fromkeys(point.condition for point in points))
    figure, axes = condition_panels(conditions, "generation", "share of samples")
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for condition, axis in axes.items():
        mine = [point for point in points if point.condition == condition]
        steps = sorted({point.iteration for point in mine})
        shares = [
            [point.value for point in mine if point.statistic == f"class_share_{digit}"] for digit in range(CLASSES)
        ]
        axis.stackplot(steps, shares, labels=[str(digit) for digit in range(CLASSES)], colors=colours)
        count_generations(axis)
        axis.set_ylim(0, 1)
    name_lines(axes, "digit")
    finish(figure, points, arguments)


def draw_spread(arguments: argparse.Namespace) -> None:
    """Variety over generations: under generation 0's encoder and, dashed, between digits of a class, over that of real ones."""
    rows = read_csv(arguments.metrics)
    real = [row.value for row in rows if (row.metric, row.set) == ("within_class_distance", "real")]
    points = curves(rows, "latent_spread", arguments.arms)
    # A classifier that takes no real digit for one has nothing to compare with.
    mean = sum(real) / len(real) if real else math.nan
    points += [
        FamilyPoint(at.condition, "within_class_distance", at.iteration, at.value / mean, at.low / mean, at.high / mean)
        for at in (curves(rows, "within_class_distance", arguments.arms) if real else [])
    ]
    finish(line_figure(points, "variety, of real digits'"), points, arguments)
