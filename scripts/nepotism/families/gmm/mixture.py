"""Gaussian mixtures in NumPy: one mixture for each of many independent chains, all handled at once.

Data are float64 of shape (dimensions, chains, samples), so that every step of expectation maximisation is a few passes
over long rows of memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from nepotism.runtime import streams
from nepotism.runtime.resume.checkpoints import NOWHERE, Store

Floats = NDArray[np.float64]

# Added to covariances, so that they stay positive. A fixed amount, as scikit-learn's `reg_covar`, would keep a lost component
# alive: so it is a share of what a component's samples vary, a little more than rounding, which ends the decay of the shortest
# axis, faster than that of the longest, when their standard deviations differ ten million times; and of what all samples
# vary, for a component of a single one. The last is for spreads that doubles do not hold.
ROUNDING, LEAST_VARIANCE, SMALLEST = 1e-14, 1e-15, 1e-200


@dataclass(frozen=True)
class Mixtures:
    """A mixture per chain.

    Attributes:
        weights: (chains, components), rows sum to 1; a lost component has 0.
        means: (chains, components, dimensions).
        covariances: (chains, components, dimensions, dimensions), symmetric and positive definite.
    """

    weights: Floats
    means: Floats
    covariances: Floats

    @property
    def chains(self) -> int:
        """Number of chains."""
        return len(self.weights)

    def mean(self) -> Floats:
        """Mean of each chain's whole mixture: (chains, dimensions)."""
        return np.einsum("ck,cki->ci", self.weights, self.means)

    def covariance(self) -> Floats:
        """Covariance of each chain's whole mixture: (chains, dimensions, dimensions)."""
        apart = self.means - self.mean()[:, None]
        return np.einsum("ck,ckij->cij", self.weights, self.covariances + apart[..., :, None] * apart[..., None, :])


def repeated(weights: Floats, means: Floats, covariances: Floats, chains: int) -> Mixtures:
    """The same mixture for every chain."""
    return Mixtures(
        *(np.repeat(np.asarray(part, float)[None], chains, axis=0) for part in (weights, means, covariances))
    )


def sample(mixtures: Mixtures, count: int, *key: str | int) -> Floats:
    """Draw ``count`` samples per chain: (dimensions, chains, count).

    Chain c draws from the stream ``(*key, c)``, sample by sample: more chains or samples change none of the first ones.
    """
    components, dimensions = mixtures.means.shape[1:]
    normal = np.stack(
        [streams.generator(*key, chain).standard_normal((count, dimensions + 1)) for chain in range(mixtures.chains)]
    )
    choice, *others = np.ascontiguousarray(normal.transpose(2, 0, 1))
    bounds = ndtri(np.cumsum(mixtures.weights, axis=1).clip(0, 1))
    roots = np.linalg.cholesky(mixtures.covariances)
    drawn = np.empty((dimensions, mixtures.chains, count))
    for component in range(components):
        # Later components overwrite what is beyond the bound of the one before.
        beyond = slice(None) if component == 0 else choice > bounds[:, component - 1, None]
        for i in range(dimensions):
            values = np.repeat(mixtures.means[:, component, i, None], count, axis=1)
            for j in range(i + 1):
                values += roots[:, component, i, j, None] * others[j]
            drawn[i][beyond] = values if component == 0 else values[beyond]
    return drawn


def of_clusters(data: Floats, components: int, *key: str | int) -> Mixtures:
    """The mixture of the clusters that k-means finds in each chain's samples, as scikit-learn's GaussianMixture begins.

    Clusters are drawn from the streams ``(*key, chain)``. Of fewer different samples than components, some are empty: they
    have weight 0.
    """
    # A second, which fits that begin elsewhere need not wait for.
    from sklearn.cluster import KMeans

    dimensions, chains, samples = data.shape
    middle, spread = data.mean(axis=2, keepdims=True), data.std(axis=2, keepdims=True) + SMALLEST
    shares = np.zeros((components, chains, samples))
    for chain in range(chains):
        random = streams.integer_seed(*key, chain) % 2**32
        # K-means is the same at any scale, but squares of tiny numbers are not.
        scale = spread[:, chain].max()
        scaled = ((data[:, chain] - middle[:, chain]) / scale).T
        labels = KMeans(components, n_init=1, random_state=random).fit_predict(scaled)
        shares[labels, chain, np.arange(samples)] = 1
    whole = np.einsum("icn,jcn->cij", data - middle, data - middle) / samples + _floor(data)[:, None, None] * np.eye(
        dimensions
    )
    each = np.ones((components, 1, 1))
    start = Mixtures(
        np.full((chains, components), 1 / components),
        (each * middle[..., 0].T).transpose(1, 0, 2),
        np.repeat(whole[:, None], components, axis=1),
    )
    return _maximised(_apart(data, start), shares, start, _floor(data))


def fit(
    data: Floats, start: Mixtures, tolerance: float = 1e-3, max_iter: int = 100, checkpoints: Store = NOWHERE
) -> Mixtures:
    """The maximum-likelihood mixture of each chain's samples, by expectation maximisation from ``start``.

    Scikit-learn's GaussianMixture with ``start`` as its initial values gives the same (tested), except for what keeps
    covariances positive. The mixture's whole mean and covariance are the samples' own after every step. From a near start
    it ends after a few steps: weights and shapes follow the samples a little late.

    Args:
        data: (dimensions, chains, samples).
        start: where each chain begins; of the generation before, it is a few steps away from the result.
        tolerance: a chain ends when the mean log-likelihood of a sample gains less.
        max_iter: steps at most.
        checkpoints: where to go on from, and where to save.
    """
    floor = _floor(data)
    weights, means, covariances = start.weights.copy(), start.means.copy(), start.covariances.copy()
    active = np.arange(start.chains)
    reached = np.full(start.chains, -np.inf)
    done = 0
    if (found := checkpoints.newest()) is not None:
        names = ("weights", "means", "covariances", "active", "reached")
        weights, means, covariances, active, reached = (found.tensors[name] for name in names)
        done = found.position

    def state() -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays = {"weights": weights, "means": means, "covariances": covariances, "active": active, "reached": reached}
        return arrays, {}

    for step in range(done, max_iter if start.weights.shape[1] > 1 else 1):
        current = Mixtures(weights[active], means[active], covariances[active])
        likelihood, stepped = _step(data if len(active) == start.chains else data[:, active], current, floor[active])
        weights[active], means[active], covariances[active] = stepped.weights, stepped.means, stepped.covariances
        gained = likelihood - reached[active]
        reached[active] = likelihood
        active = active[np.abs(gained) >= tolerance]
        if not len(active):
            break
        checkpoints.offer(step + 1, state)
    return Mixtures(weights, means, covariances)


def _step(data: Floats, mixtures: Mixtures, floor: Floats) -> tuple[Floats, Mixtures]:
    """One step: the mean log-likelihood of each chain's samples before it, and the mixtures after it."""
    apart = _apart(data, mixtures)
    shares, likelihood = _shares(apart, mixtures)
    return likelihood, _maximised(apart, shares, mixtures, floor)


def _floor(data: Floats) -> Floats:
    """The least variance of each chain's components: (chains,)."""
    return np.asarray(LEAST_VARIANCE * data.var(axis=2).mean(axis=0) + SMALLEST)


def _apart(data: Floats, mixtures: Mixtures) -> Floats:
    """(components, dimensions, chains, samples): differences from the present means keep their digits when a spread is tiny."""
    return data[None] - mixtures.means.transpose(1, 2, 0)[..., None]


def _maximised(apart: Floats, shares: Floats, mixtures: Mixtures, floor: Floats) -> Mixtures:
    """The likeliest mixtures of samples that belong to components by such shares."""
    dimensions = apart.shape[1]
    totals = shares.sum(axis=2)
    # A component that no sample belongs to is lost: it keeps its shape, at weight 0.
    alive = totals > 1e-9
    divisor = np.where(alive, totals, 1.0)
    weighted = shares[:, None] * apart
    shift = weighted.sum(axis=3) / divisor[:, None]
    seconds = np.empty((*totals.shape, dimensions, dimensions))
    moments = np.zeros(totals.shape)
    for i in range(dimensions):
        for j in range(i + 1):
            product = np.einsum("kcn,kcn->kc", weighted[:, i], apart[:, j]) / divisor
            seconds[..., i, j] = seconds[..., j, i] = product - shift[:, i] * shift[:, j]
            if i == j:
                moments += product
    seconds += (floor + ROUNDING * moments)[..., None, None] * np.eye(dimensions)
    keep = alive.T[..., None]
    return Mixtures(
        np.where(alive, totals, 0.0).T / np.where(alive, totals, 0.0).sum(axis=0)[:, None],
        np.where(keep, mixtures.means + shift.transpose(2, 0, 1), mixtures.means),
        np.where(keep[..., None], seconds.transpose(1, 0, 2, 3), mixtures.covariances),
    )


def _shares(apart: Floats, mixtures: Mixtures) -> tuple[Floats, Floats]:
    """How much each sample belongs to each component, (components, chains, samples), and each chain's mean log-likelihood."""
    components, dimensions, chains, samples = apart.shape
    if components == 1:
        return np.ones((1, chains, samples)), np.zeros(chains)
    precisions = np.linalg.inv(mixtures.covariances)
    logarithms = np.empty((components, chains, samples))
    with np.errstate(divide="ignore"):
        constant = np.log(mixtures.weights) - 0.5 * (
            dimensions * np.log(2 * np.pi) + np.linalg.slogdet(mixtures.covariances)[1]
        )
    for k in range(components):
        square = np.zeros((chains, samples))
        for i in range(dimensions):
            for j in range(i + 1):
                factor = -0.5 if i == j else -1.0
                square += (factor * precisions[:, k, i, j])[:, None] * apart[k, i] * apart[k, j]
        logarithms[k] = square + constant[:, k, None]
    highest = logarithms.max(axis=0)
    logarithms -= highest
    shares = np.exp(logarithms, out=logarithms)
    total = shares.sum(axis=0)
    shares /= total
    return shares, (np.log(total) + highest).mean(axis=1)


def squared_l2(one: Mixtures, other: Mixtures) -> Floats:
    """Squared L2 distance of the densities of two mixtures, chain by chain: (chains,).

    In closed form, for the integral of a product of two Gaussian densities is a Gaussian density of the difference of their
    means.
    """
    return _overlap(one, one) - 2 * _overlap(one, other) + _overlap(other, other)


def _overlap(one: Mixtures, other: Mixtures) -> Floats:
    apart = one.means[:, :, None] - other.means[:, None]
    joint = one.covariances[:, :, None] + other.covariances[:, None]
    solved = np.linalg.solve(joint, apart[..., None])[..., 0]
    dimensions = apart.shape[-1]
    exponent = -0.5 * (apart * solved).sum(axis=-1)
    density = np.exp(exponent - 0.5 * (dimensions * np.log(2 * np.pi) + np.linalg.slogdet(joint)[1]))
    return np.einsum("ck,cl,ckl->c", one.weights, other.weights, density)
