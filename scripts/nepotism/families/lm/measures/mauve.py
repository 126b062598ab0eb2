"""MAUVE: how near the distribution of what is written is to that of original text (Pillutla et al. 2021, arXiv 2102.01454)."""

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.special import rel_entr

from nepotism.runtime import streams

Features = NDArray[np.float32]
# As in the paper: texts for each cluster, variance that principal components keep, scale of the divergences, points of the curve.
PER_CLUSTER, KEPT, SCALE, POINTS = 10, 0.9, 5.0, 25


def mauve(written: Features, original: Features) -> float:
    """Area under the curve of exp(-5 KL) of both from all their mixtures, of histograms over clusters of features: (0, 1].

    Depends on the number of texts, by which the clusters grow; only equal numbers compare.

    Args:
        written: float (N, D), a vector per text.
        original: the same of as many original texts.
    """
    if len(written) != len(original):
        raise ValueError(f"{len(written)} and {len(original)} texts")
    both = np.concatenate([written, original]).astype(np.float64)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    labels = _clusters(_principal(both), max(2, round(len(written) / PER_CLUSTER)))
    counts = [np.bincount(part, minlength=labels.max() + 1) for part in np.split(labels, 2)]
    return area(*(count / count.sum() for count in counts))


def area(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """The area under the divergence curve of two histograms, float64 (K,) each of sum 1: mean of both ways to integrate it."""
    weights = np.linspace(1e-6, 1 - 1e-6, POINTS)[:, None]
    mixtures = weights * p + (1 - weights) * q
    x, y = (np.exp(-SCALE * rel_entr(one, mixtures).sum(1)) for one in (q, p))
    # The curve begins and ends on the axes: at infinite divergence of the one, none of the other.
    x, y = np.concatenate([[1.0], x, [0.0]]), np.concatenate([[0.0], y, [1.0]])
    return float((abs(np.trapezoid(y, x)) + abs(np.trapezoid(x, y))) / 2)


def _principal(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows in the fewest principal components that keep `KEPT` of their variance."""
    centred = rows - rows.mean(0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    share = np.cumsum(singular**2) / (singular**2).sum()
    count = int(np.searchsorted(share, KEPT)) + 1
    return np.asarray(left[:, :count] * singular[:count])


def _clusters(rows: NDArray[np.float64], count: int) -> NDArray[np.int32]:
    """The cluster of every row, by k-means from a stream of its own."""
    _, labels = kmeans2(rows, count, iter=100, minit="++", rng=streams.generator("mauve"))
    return np.asarray(labels)
