"""Scores against what a family declares of its metrics and feature spaces."""

import re


def bounds(metric, n):
    """The ends of a declared range; ``n`` is the number of images or slots, and other words have no bound."""
    low, high = re.match(r"[\[(](\S+), ([^\])]+)[\])]", metric.range).groups()
    return float(low), {"n": n, "components": float("inf")}.get(high) or float(high)


def check(package, scores):
    """All metrics of a family were found and no other, in its feature spaces and in their ranges."""
    assert {score.metric for score in scores} == package.METRICS.keys()
    assert {score.features for score in scores} - {""} <= {space.name for space in package.SPACES}
    for score in scores:
        low, high = bounds(package.METRICS[score.metric], score.n)
        assert low - 1e-9 <= score.value <= high + 1e-9, score
