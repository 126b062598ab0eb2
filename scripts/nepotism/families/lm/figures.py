"""Figures of recursive language models, each drawn from a table that is written beside it."""

import argparse
import textwrap
from dataclasses import dataclass

import matplotlib
import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from nepotism.data.tables import read_csv
from nepotism.draw.family_curves import curves, files_of_conditions, finish, line_figure
from nepotism.draw.figures import nothing
from nepotism.families.lm import BINS, BINS_PER_OCTAVE

# The block that figure `texts` goes on from, and how a text is cut to lines.
SLOT, WIDTH = 0, 96


@dataclass(frozen=True)
class Text:
    """What a generation wrote after the prompt."""

    condition: str
    iteration: int
    text: str


def draw_perplexity(arguments: argparse.Namespace) -> None:
    """Perplexity of original text over generations."""
    points = curves(read_csv(arguments.metrics), "perplexity", arguments.arms)
    figure = line_figure(points, "perplexity of original test text", lambda axis: axis.set_yscale("log"))
    finish(figure, points, arguments)


def draw_histograms(arguments: argparse.Namespace) -> None:
    """A panel per condition: a line per generation of how likely generation 0 finds what it wrote."""
    rows = read_csv(arguments.metrics)
    points = [
        point for number in range(BINS) for point in curves(rows, f"perplexity_share_{number:02d}", arguments.arms)
    ]
    if not points:
        return finish(nothing("score"), points, arguments)
    conditions = list(dict.fromkeys(point.condition for point in points))
    figure = Figure(figsize=(3.2 * len(conditions) + 0.8, 3.2), layout="constrained")
    axes = figure.subplots(1, len(conditions), squeeze=False, sharey=True)[0]
    edges = 2 ** (np.arange(BINS + 1) / BINS_PER_OCTAVE)
    last = max(point.iteration for point in points)
    shown = [
        number
        for number in range(BINS)
        if any(point.value for point in points if point.statistic.endswith(f"_{number:02d}"))
    ]
    for axis, condition in zip(axes, conditions, strict=True):
        mine = [point for point in points if point.condition == condition]
        for iteration in sorted({point.iteration for point in mine}):
            shares = [point.value for point in mine if point.iteration == iteration]
            colour = matplotlib.colormaps["viridis"](0.9 * iteration / max(last, 1))
            axis.stairs(shares, edges, color=colour, label=iteration)
        axis.set_xscale("log", base=2)
        axis.set_xlim(edges[min(shown)], edges[max(shown) + 1])
        axis.set_title(condition, fontsize=8)
        axis.set_xlabel("perplexity under generation 0")
    axes[0].set_ylabel("share of blocks")
    axes[-1].legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1), title="generation", title_fontsize=6)
    finish(figure, points, arguments)


def draw_texts(arguments: argparse.Namespace) -> None:
    """What every generation wrote after the same block of original text."""
    texts = []
    for condition, paths in files_of_conditions(arguments.samples, arguments.arms).items():
        for path in paths:
            slot = f"{SLOT:05d}"
            table = pq.read_table(path, columns=["iteration", "text"], filters=[("slot", "=", slot)])
            texts += [Text(condition, row["iteration"], row["text"]) for row in table.to_pylist()]
    lines = []
    if not texts:
        return finish(nothing("text"), texts, arguments, Text)
    for condition in dict.fromkeys(text.condition for text in texts):
        lines.append((condition, "bold"))
        for text in texts:
            if text.condition == condition:
                told = " ".join(text.text.split())
                lines += [
                    (line, "normal")
                    for line in textwrap.wrap(f"{text.iteration}: {told}", WIDTH, subsequent_indent="    ")
                ]
    figure = Figure(figsize=(8, 0.17 * len(lines) + 0.2))
    for number, (line, weight) in enumerate(lines):
        figure.text(0.01, 1 - (number + 1) / (len(lines) + 1), line, family="monospace", fontsize=7, weight=weight)
    finish(figure, texts, arguments, Text)
