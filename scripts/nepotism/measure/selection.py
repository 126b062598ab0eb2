"""What selection did to a set of images: scores of all draws against those that were kept, and the groups that images look like."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nepotism.measure.scores import Estimate, mean, positions

# Percentiles that stand for the tails.
TAILS = {"low": 5, "high": 95}


def selection(table: Sequence[Mapping[str, str]]) -> dict[str, Estimate]:
    """The scores of a selection, by metric.

    Args:
        table: a row for each slot, as text by column: ``group``, ``score`` of the image that fills it, ``scores`` of all its draws,
            ``seen_as`` and ``plain_seen_as``, the groups that this image and the slot's first draw look like.
    """
    groups = [row["group"] for row in table]
    chosen = np.array([float(row["score"]) for row in table])
    pool = np.array([[float(score) for score in row["scores"].split()] for row in table])
    found: dict[str, Estimate] = {}
    for name, values in (("pool", pool), ("chosen", chosen[:, None])):
        blocks = np.repeat(positions(groups), values.shape[1])
        found[f"selection_score_{name}"] = mean(values.ravel(), blocks)
        for end, percent in TAILS.items():
            found[f"selection_tail_{name}_{end}"] = Estimate(float(np.percentile(values, percent)), values.size)
        between = [values[[group == each for each in groups]].mean() for group in dict.fromkeys(groups)]
        if len(between) > 1:
            found[f"selection_group_sd_{name}"] = Estimate(float(np.std(between, ddof=1)), values.size)
    for name, column in (("plain", "plain_seen_as"), ("chosen", "seen_as")):
        found[f"selection_groups_{name}"] = Estimate(effective_number(row[column] for row in table), len(table))
    return found


def effective_number(names: Iterable[str]) -> float:
    """exp of the entropy of a histogram: the number of names, if all are as frequent, and 1 of a single one."""
    counts = np.array(list(Counter(names).values()))
    shares = counts / counts.sum()
    return math.exp(-(shares * np.log(shares)).sum())
