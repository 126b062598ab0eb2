"""Distances between image sets in feature space, CLIP scores, and their intervals.

Every set metric compares equally many generated and real images, fixed throughout an experiment, because a Frechet
distance of a few hundred images is strongly biased: only distances at the same N compare. Intervals are
estimate +- t se, the se by a delete-one-block jackknife and t of one degree of freedom less than there are blocks (six blocks
with normal quantiles would cover 88 to 90 % instead of 95); resampling with replacement would make duplicates, which bias
Frechet and kernel distances. What a value is without each block is kept: it gives the error of whatever compares several.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torchmetrics.image.kid import poly_mmd

from nepotism.data.jackknife import LeftOut, half_width, standard_error

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A value with its errors (None where undefined).

    Attributes:
        value: of all images.
        n: number of images.
        sd: between images, for a mean.
        se: standard error at this n.
        left_out: the value without each block of images.
    """

    value: float
    n: int
    sd: float | None = None
    se: float | None = None
    left_out: LeftOut | None = None

    @property
    def df(self) -> int:
        """Degrees of freedom of the standard error: a mean's by the usual formula, else the jackknife's."""
        return self.n - 1 if self.left_out is None or self.sd is not None else self.left_out.df

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval, by the t distribution."""
        if self.se is None:
            return None
        half = half_width(self.se, self.df, 0.95)
        return self.value - half, self.value + half


def frechet(one: NDArray, other: NDArray) -> float:
    """Frechet distance of the Gaussians fitted to two feature sets (Heusel et al. 2017), called FID for Inception's.

    The term tr((S1 S2)^1/2) is the nuclear norm of A B^T for centred features A, B scaled by 1/sqrt(n - 1): no matrix
    square root that turns complex on collapsed sets, and exact also for fewer images than dimensions.

    Args:
        one: float (N, D) features, N >= 2.
        other: float (M, D) features, M >= 2.

    Returns:
        The squared Frechet (2-Wasserstein) distance, at least 0; lower is closer. nan for sets of fewer than two images.
    """
    if min(len(one), len(other)) < 2:
        return math.nan
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    shift = one.mean(0) - other.mean(0)
    a, b = _scaled(one), _scaled(other)
    cross = np.linalg.svd(_root(a) @ _root(b).T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + (a**2).sum() + (b**2).sum() - 2 * cross))


def _scaled(features: Array) -> Array:
    return (features - features.mean(0)) / np.sqrt(len(features) - 1)


def _root(scaled: Array) -> Array:
    """A matrix R with R^T R = A^T A and at most D rows: it gives the same singular values for less work."""
    if scaled.shape[0] <= scaled.shape[1]:
        return scaled
    return np.asarray(np.linalg.qr(scaled, mode="r"))


def kernel_distance(one: NDArray, other: NDArray) -> float:
    """Unbiased squared MMD with the cubic polynomial kernel (KID; Binkowski et al. 2018), on all images, by torchmetrics.

    Args:
        one: float (N, D) features.
        other: float (N, D) features, as many.

    Returns:
        Around 0 for equal distributions, and then negative half the time; higher is farther. nan for fewer than two images.
    """
    if min(len(one), len(other)) < 2:
        return math.nan
    tensors = [torch.from_numpy(np.asarray(features, np.float64)) for features in (one, other)]
    return float(poly_mmd(*tensors))


def cosine_scores(images: NDArray, texts: NDArray) -> Array:
    """CLIP score of every image with its caption: 100 x cosine of their embeddings, not clipped at 0.

    Args:
        images: float (N, D).
        texts: float (N, D), the caption of each image.

    Returns:
        float64 (N,) in [-100, 100]; higher is closer to the caption.
    """
    images, texts = np.asarray(images, np.float64), np.asarray(texts, np.float64)
    return 100 * (images * texts).sum(1) / (np.linalg.norm(images, axis=1) * np.linalg.norm(texts, axis=1))


def mean(values: NDArray, blocks: NDArray[np.int64]) -> Estimate:
    """Mean of per-image values, with their sd and the usual se = sd / sqrt(n).

    Args:
        values: (N,).
        blocks: int (N,) block of every image: the mean without each is kept, if there are two or more.
    """
    values = np.asarray(values, np.float64)
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    se = None if sd is None else sd / math.sqrt(len(values))
    left_out = jackknife(lambda kept: float(values[kept].mean()), blocks).left_out
    return Estimate(float(values.mean()), len(values), sd, se, left_out)


def positions(groups: Sequence[str]) -> Indices:
    """Position of each image in its group: the blocks of the jackknife; int (N,)."""
    seen: Counter[str] = Counter()
    found = []
    for group in groups:
        found.append(seen[group])
        seen[group] += 1
    return np.array(found, dtype=np.int64)


def binomial_interval(found: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Clopper and Pearson 1934): no share outside makes ``found`` of ``of``, or more extreme, as
    likely as 2.5 %."""
    low = float(betaincinv(found, of - found + 1, 0.025)) if found else 0.0
    high = float(betaincinv(found + 1, of - found, 0.975)) if found < of else 1.0
    return low, high


def within_group_sd(values: NDArray, groups: Sequence[str]) -> float:
    """Root of the mean variance of ``values`` inside their groups; nan if no group has two values."""
    names = np.asarray(groups)
    parts = [values[names == name] for name in dict.fromkeys(groups)]
    variances = [part.var(ddof=1) for part in parts if len(part) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else math.nan


def jackknife(statistic: Callable[[Indices], float], blocks: NDArray[np.int64]) -> Estimate:
    """Estimate with the delete-one-block jackknife's standard error: see `nepotism.data.jackknife`.

    Args:
        statistic: value of the images with these indices; where two sets are compared, image i of both goes together.
        blocks: int (N,) block of every image.

    Returns:
        The value of all images, and without each block; no se if there are fewer than two blocks, or if the statistic is
        undefined (nan) without one of them.
    """
    everything = np.arange(len(blocks))
    names, images = np.unique(blocks, return_counts=True)
    value = statistic(everything)
    if len(names) < 2:
        return Estimate(value, len(blocks))
    without = tuple(statistic(everything[blocks != name]) for name in names)
    left_out = LeftOut(tuple(images.tolist()), without)
    se = standard_error(value, left_out)
    return Estimate(value, len(blocks)) if se is None else Estimate(value, len(blocks), se=se, left_out=left_out)


@dataclass(frozen=True)
class Pairing:
    """Which images of a generated and a real set are compared, block by block.

    Attributes:
        generated: indices into the generated set.
        real: indices into the holdout, as many of each group; disjoint from ``other_real``.
        other_real: indices into the holdout, for the real-against-real floor at the same N.
        training: indices into the real images that are mixed in, as many of each group.
        blocks: block of each pair: the j-th image of every group forms block j.
    """

    generated: Indices
    real: Indices
    other_real: Indices
    training: Indices
    blocks: Indices


def pair(generated_groups: Sequence[str], holdout_groups: Sequence[str], training_groups: Sequence[str]) -> Pairing:
    """Take equally many generated and real images of each group.

    A group counts with as many images as it has generated ones, or with half its holdout where that is less: the other
    half gives the floor. Nor does it count with more images than were trained on.

    Raises:
        ValueError: if no group has both.
    """
    generated: list[int] = []
    real: list[int] = []
    other: list[int] = []
    training: list[int] = []
    blocks: list[int] = []
    for group in dict.fromkeys(generated_groups):
        mine = [i for i, name in enumerate(generated_groups) if name == group]
        theirs = [i for i, name in enumerate(holdout_groups) if name == group]
        trained = [i for i, name in enumerate(training_groups) if name == group]
        count = min(len(mine), len(theirs) // 2, len(trained))
        generated += mine[:count]
        real += theirs[:count]
        other += theirs[count : 2 * count]
        training += trained[:count]
        blocks += range(count)
    if not generated:
        raise ValueError("no group has both generated and real images to compare")
    return Pairing(*(np.array(indices, dtype=np.int64) for indices in (generated, real, other, training, blocks)))
