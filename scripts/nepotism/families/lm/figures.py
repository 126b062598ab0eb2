"""Figures of recursive language models, each drawn from a table that is written beside it."""

import argparse
import textwrap
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from nepotism.data.tables import read_csv
from nepotism.draw.family_curves import (
    condition_panels,
    curves,
    draw_floor,
    files_of_conditions,
    finish,
    floor,
    line_figure,
    logarithmic,
    name_lines,
    thinned,
)
from nepotism.draw.figures import nothing
from nepotism.families.lm.measures.rare_words import words
from nepotism.families.lm.metrics import BINS, BINS_PER_OCTAVE

# The block that figure `texts` goes on from, how many generations it shows at most, the letters of a line, and inches of a letter.
SLOT, COLUMNS, WIDTH, INCHES = 0, 8, 30, 0.056


@dataclass(frozen=True)
class Text:
    """What a generation wrote after the prompt."""

    condition: str
    iteration: int
    text: str


def draw_perplexity(arguments: argparse.Namespace) -> None:
    """Perplexity of original text over generations."""
    points = curves(read_csv(arguments.metrics), "perplexity", arguments.arms)
    figure = line_figure(points, "perplexity of original test text", logarithmic)
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
    figure, axes = condition_panels(conditions, "perplexity under generation 0", "share of blocks")
    edges = 2 ** (np.arange(BINS + 1) / BINS_PER_OCTAVE)
    last = max(point.iteration for point in points)
    shown = [
        number
        for number in range(BINS)
        if any(point.value for point in points if point.statistic.endswith(f"_{number:02d}"))
    ]
    for condition, axis in axes.items():
        mine = [point for point in points if point.condition == condition]
        for iteration in sorted({point.iteration for point in mine}):
            shares = [point.value for point in mine if point.iteration == iteration]
            colour = matplotlib.colormaps["viridis"](0.9 * iteration / max(last, 1))
            axis.stairs(shares, edges, color=colour, label=iteration)
        axis.set_xscale("log", base=2)
        axis.set_xlim(edges[min(shown)], edges[max(shown) + 1])
    name_lines(axes, "generation")
    finish(figure, points, arguments)


def draw_texts(arguments: argparse.Namespace) -> None:
    """What every generation wrote after the same block of original text: a row per condition, a column per generation."""
    texts: list[Text] = []
    for condition, paths in files_of_conditions(arguments.samples, arguments.arms).items():
        for path in paths:
            slot = f"{SLOT:05d}"
            table = pq.read_table(path, columns=["iteration", "text"], filters=[("slot", "=", slot)])
            texts += [Text(condition, row["iteration"], row["text"]) for row in table.to_pylist()]
    if not texts:
        return finish(nothing("text"), texts, arguments, Text)
    rows: dict[str, list[Text]] = {}
    for text in texts:
        rows.setdefault(text.condition, []).append(text)
    iterations = thinned(sorted({text.iteration for text in texts}), COLUMNS)
    columns = {
        (text.condition, text.iteration): textwrap.wrap(" ".join(text.text.split()), WIDTH)
        for text in texts
        if text.iteration in iterations
    }
    heights = [max(len(columns.get((name, at), [])) for at in iterations) + 2 for name in rows]
    figure = Figure(figsize=(len(iterations) * WIDTH * INCHES, 0.105 * (sum(heights) + 1)))
    top = 1.0
    style: dict[str, Any] = {"family": "monospace", "fontsize": 6, "va": "top", "linespacing": 1.15}
    for name, height in zip(rows, heights, strict=True):
        for number, iteration in enumerate(iterations):
            title = f"{name}, generation 0" if number == 0 and iteration == 0 else f"generation {iteration}"
            at = (number + 0.1) / len(iterations)
            figure.text(at, top, title, weight="bold", **style)
            figure.text(at, top - 1.2 / (sum(heights) + 1), "\n".join(columns.get((name, iteration), [])), **style)
        top -= height / (sum(heights) + 1)
    finish(figure, texts, arguments, Text)


def draw_repetition(arguments: argparse.Namespace) -> None:
    """How much of what is written a block had before, over generations, and how much of original text."""
    rows = read_csv(arguments.metrics)
    points = curves(rows, "repeated_4grams", arguments.arms)
    original = floor(rows, "repeated_4grams", "original text")
    label = "share of runs of 4 tokens that were there before"
    figure = line_figure(points, label, lambda axis: draw_floor(axis, original))
    finish(figure, [*points, *original], arguments)


@dataclass(frozen=True)
class Rank:
    """How often the word of a rank occurs in what a generation wrote."""

    condition: str
    iteration: int
    rank: int
    share: float


def draw_zipf(arguments: argparse.Namespace) -> None:
    """A panel per condition, a line per generation: how often words are used, by their rank."""
    ranks: list[Rank] = []
    for condition, paths in files_of_conditions(arguments.samples, arguments.arms).items():
        for path in paths:
            table = pq.read_table(path, columns=["iteration", "text"]).to_pylist()
            for iteration in sorted({row["iteration"] for row in table}):
                counts = words(row["text"] for row in table if row["iteration"] == iteration)
                shares = [count / counts.total() for _, count in counts.most_common()]
                # As far apart as can be told on a logarithmic axis.
                shown = np.unique(np.geomspace(1, max(len(shares), 1), 60).astype(int))[: len(shares)]
                ranks += [Rank(condition, iteration, int(rank), shares[rank - 1]) for rank in shown]
    if not ranks:
        return finish(nothing("text"), ranks, arguments, Rank)
    conditions = list(dict.fromkeys(rank.condition for rank in ranks))
    figure, axes = condition_panels(conditions, "rank of the word", "share of all words", sharex=True)
    last = max(rank.iteration for rank in ranks)
    for condition, axis in axes.items():
        for iteration in sorted({rank.iteration for rank in ranks if rank.condition == condition}):
            mine = [rank for rank in ranks if (rank.condition, rank.iteration) == (condition, iteration)]
            colour = matplotlib.colormaps["viridis"](0.9 * iteration / max(last, 1))
            axis.loglog([rank.rank for rank in mine], [rank.share for rank in mine], color=colour, label=iteration)
    name_lines(axes, "generation")
    finish(figure, ranks, arguments, Rank)
