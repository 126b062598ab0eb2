"""Distances of two image sets by what is seen of them along many lines: the sliced Wasserstein distance (MIND)."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nepotism.runtime import streams

Array = NDArray[np.float64]

# How many lines: as many as Berthet et al. 2026 take.
DIRECTIONS = 1000


@cache
def directions(dimensions: int) -> Array:
    """Fixed lines through a feature space: float64 (`DIRECTIONS`, D) unit vectors, uniform on the sphere, from a keyed stream."""
    drawn = streams.generator("features", "directions", dimensions).standard_normal((DIRECTIONS, dimensions))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def along(features: NDArray) -> Array:
    """Where each image lies along each line: float64 (`DIRECTIONS`, N) of features (N, D)."""
    features = np.asarray(features, np.float64)
    return np.asarray(directions(features.shape[1]) @ features.T)


def sliced_distance(one: Array, other: Array, dimensions: int) -> float:
    """MIND, the Monge Inception Distance (Berthet et al. 2026, arXiv 2605.06797), in whatever feature space.

    We read it as their abstract and torch-fidelity's implementation have it: along each of M = 1000 random lines the squared
    2-Wasserstein distance of two sets of equal size is the mean squared difference of their sorted values; MIND is 3 D times its mean over
    the lines. Two sets that differ by a shift alone are 3 times its squared length apart. The lines here are the same for all sets
    of a feature space, so that scores differ by their images only.

    Args:
        one: float (M, N), what `along` gives of one set.
        other: float (M, N) of the other, as many images.
        dimensions: D of the features.

    Returns:
        At least 0; higher is farther. nan for no images.
    """
    if not one.shape[1]:
        return math.nan
    apart = np.sort(one, axis=1) - np.sort(other, axis=1)
    return float(3 * dimensions * (apart**2).mean())
