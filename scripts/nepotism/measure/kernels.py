"""Measures by a kernel between images: how many different ones a set is worth (Vendi), and how far two sets are apart (CMMD).

Both look at features of length 1, so at cosines only.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Jayasumana et al. 2024: width of their Gaussian kernel, and what they multiply by to make the numbers readable.
CMMD_SIGMA = 10.0
CMMD_SCALE = 1000.0


def unit(features: NDArray) -> Array | None:
    """The features (N, D) scaled to length 1; None if an image has no features but zeros."""
    features = np.asarray(features, np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / lengths if lengths.all() else None


def vendi(features: NDArray) -> float:
    """Vendi score of order 1 with the cosine as similarity (Friedman and Dieng 2023): how many different images a set is worth.

    exp of the entropy of the eigenvalues of K / n, for the matrix K of the cosines: 1 for copies of one image, n for n images whose
    features are orthogonal. Features that are never negative and have much in common (averages over random convolutions) have cosines
    near 1, so that any set is worth little more than one image.

    Args:
        features: float (N, D).

    Returns:
        In [1, N]; higher is more diverse. nan if an image has no features but zeros.
    """
    scaled = unit(features)
    if scaled is None:
        return math.nan
    # K and the smaller of the two products of the features have the same eigenvalues above 0.
    product = scaled @ scaled.T if len(scaled) <= scaled.shape[1] else scaled.T @ scaled
    eigenvalues = np.linalg.eigvalsh(product / len(scaled))
    present = eigenvalues[eigenvalues > 0]
    return math.exp(-(present * np.log(present)).sum())


def gaussian_discrepancy(one: NDArray, other: NDArray) -> float:
    """CMMD (Jayasumana et al. 2024): squared maximum mean discrepancy with a Gaussian kernel, of embeddings of length 1.

    As in their code: exp(-|x - y|^2 / (2 sigma^2)) with sigma = 10, times 1000, and the biased estimate, which takes the mean over
    all pairs, of each image with itself too; so it is never below 0, and above it for two samples of one distribution.
    Embeddings are at most 2 apart, where this kernel is all but linear in |x - y|^2: to within 1 % the value is 1000 / sigma^2 times
    the squared distance of the two means. It sees little but the mean.

    Args:
        one: float (N, D) embeddings.
        other: float (M, D) embeddings.

    Returns:
        At least 0; higher is farther. nan if an image has no embedding but zeros.
    """
    x, y = unit(one), unit(other)
    if x is None or y is None:
        return math.nan

    def kernel(a: Array, b: Array) -> float:
        # |x - y|^2 = 2 - 2 x y
        return float(np.exp((a @ b.T - 1) / CMMD_SIGMA**2).mean())

    return CMMD_SCALE * max(0.0, kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))
