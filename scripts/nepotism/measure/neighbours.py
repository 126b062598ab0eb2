"""Measures of nearest neighbours and pairwise distances: fidelity, diversity and memorisation of an image set.

Precision and recall after Kynkaanniemi et al. 2019, density and coverage after Naeem et al. 2020, with k = `K` and equally
many real and generated images. A ball around an image reaches to its k-th nearest neighbour in its own set, itself not
counted. Distances are Euclidean, in the feature space at hand.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from nepotism.measure.metrics import K

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Marks = NDArray[np.bool_]
# The tail of a set: this share of its images, the farthest out, or those of its rarest groups.
TAIL = 0.1


def distances(one: NDArray, other: NDArray) -> Array:
    """Euclidean distances float64 (N, M) between features (N, D) and (M, D)."""
    return np.asarray(cdist(np.asarray(one, np.float64), np.asarray(other, np.float64)))


def radii(within: Array) -> Array:
    """Distance of each image to its k-th nearest neighbour, from the distances (N, N) inside its set.

    Sets of k images or fewer have no k-th neighbour: their balls reach to the farthest.
    """
    k = min(K, len(within) - 1)
    return np.asarray(np.partition(within, k, axis=1)[:, k])


@dataclass(frozen=True)
class Neighbourhood:
    """Distances inside and between a generated and a real set of N images each, computed once for all measures.

    Attributes:
        generated: float64 (N, N).
        real: float64 (N, N).
        across: float64 (N, N), generated images in rows.
        to_training: float64 (N, N), generated images in rows, the real images that may be mixed in in columns.
    """

    generated: Array
    real: Array
    across: Array
    to_training: Array

    def precision(self, kept: Indices) -> float:
        """Share of generated images inside a real image's ball: [0, 1], higher is more faithful."""
        inside = self._cut(self.across, kept) <= radii(self._cut(self.real, kept))
        return float(inside.any(1).mean())

    def recall(self, kept: Indices, among: Marks | None = None) -> float:
        """Share of real images inside a generated image's ball: [0, 1], higher is more diverse.

        Args:
            kept: the images to take of both sets.
            among: bool (N,) the real images to look for, where not all; nan if none of them is kept.
        """
        inside = self._cut(self.across, kept) <= radii(self._cut(self.generated, kept))[:, None]
        found: Marks = np.asarray(inside.any(0))
        found = found if among is None else found[among[kept]]
        return float(found.mean()) if len(found) else math.nan

    def density(self, kept: Indices) -> float:
        """How many real balls a generated image lies in, over k: [0, inf), 1 expected for one distribution."""
        inside = self._cut(self.across, kept) <= radii(self._cut(self.real, kept))
        return float(inside.sum(1).mean() / K)

    def coverage(self, kept: Indices) -> float:
        """Share of real images whose ball holds a generated image: [0, 1], higher is more diverse."""
        inside = self._cut(self.across, kept) <= radii(self._cut(self.real, kept))
        return float(inside.any(0).mean())

    def memorization(self, kept: Indices) -> float:
        """Share of generated images nearer to a real image that may be mixed in than to any of as many of the holdout.

        [0, 1]; 0.5 is expected without memorisation, 1 is copying; ties count half (after the test of Meehan et al. 2020).
        High by construction for images that were made from those: img2img, round trips through the autoencoder.
        """
        unseen, trained = (self._cut(each, kept).min(1) for each in (self.across, self.to_training))
        return float((trained < unseen).mean() + (trained == unseen).mean() / 2)

    def generalization(self, kept: Indices) -> float:
        """Mean distance of a generated image to the nearest of as many real ones that may be mixed in: [0, inf), 0 is copying."""
        return float(self._cut(self.to_training, kept).min(1).mean())

    @staticmethod
    def _cut(matrix: Array, kept: Indices) -> Array:
        return matrix if len(kept) == len(matrix) else matrix[np.ix_(kept, kept)]


def outermost(features: NDArray) -> Marks:
    """Which images are in the tail of a set: the tenth (rounded up) that is farthest from its mean; bool (N,) of features (N, D).

    It is told once, of the whole set: so it is the same for all that is measured against it, also where blocks are left out.
    """
    features = np.asarray(features, np.float64)
    apart = np.linalg.norm(features - features.mean(0), axis=1)
    marks = np.zeros(len(features), dtype=np.bool_)
    marks[np.argsort(-apart, kind="stable")[: math.ceil(TAIL * len(features))]] = True
    return marks


def of_rare_groups(groups: Sequence[str], sizes: Mapping[str, int]) -> Marks:
    """Which images are of the rarest groups: the smallest ones, which together have at most a tenth of all images; bool (N,).

    Groups of one size are all rare or all not. So there are none where groups are of equal size.

    Args:
        groups: of the images.
        sizes: how many images each group has among those that models are trained on.
    """
    rare: set[str] = set()
    for size in sorted(set(sizes.values())):
        smaller = {group for group, count in sizes.items() if count <= size}
        if sum(sizes[group] for group in smaller) > TAIL * sum(sizes.values()):
            break
        rare = smaller
    return np.array([group in rare for group in groups], dtype=np.bool_)


def within_group_distance(within: Array, groups: Sequence[str]) -> float:
    """Mean distance between two images of one group, averaged over the groups: [0, inf), higher is more diverse.

    nan if no group has two images.

    Args:
        within: float64 (N, N) distances inside the set.
        groups: N group names; a group of one image does not count.
    """
    names = np.asarray(groups)
    means = []
    for group in dict.fromkeys(groups):
        mine = np.flatnonzero(names == group)
        if len(mine) > 1:
            means.append(within[np.ix_(mine, mine)].sum() / (len(mine) * (len(mine) - 1)))
    return float(np.mean(means)) if means else math.nan
