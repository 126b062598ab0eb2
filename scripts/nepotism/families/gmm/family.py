"""The family of Gaussian mixtures: a cell holds many independent chains, and its scores are their mean, spread and median.

Shumailov et al., Nature 631 (2024), section "Gaussian mixture models": each generation is fitted to samples of the one
before.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nepotism.chain.engine import Arrays, Rows, Score
from nepotism.data.images import Record
from nepotism.data.jackknife import half_width
from nepotism.data.rows import read_rows, rows_table, vectors, write_rows
from nepotism.families.gmm import ASSIGNED, LOST_SAMPLES, TAIL
from nepotism.families.gmm.mixture import Floats, Mixtures, fit, of_clusters, repeated, sample, squared_l2
from nepotism.runtime import streams
from nepotism.runtime.resume.checkpoints import NOWHERE, Store


class Family:
    """Gaussian mixtures of one cell; see `nepotism.chain.engine.Family`.

    Args:
        settings: the config's block `gmm`.
        seed: replicate seed.
        reference: files of original samples, ``real`` and ``holdout``.
    """

    def __init__(self, settings: Mapping[str, Any], seed: int, reference: Mapping[str, Path]) -> None:
        self.samples, self.chains, self.seed = settings["samples"], settings["chains"], seed
        self._components, self._snapshots = settings["n_components"], set(settings["snapshots"])
        self._init, self._tolerance, self._max_iter = (settings[key] for key in ("init", "tolerance", "max_iter"))
        self._truth = truth(settings, self.chains)
        self._real, self._holdout = (_chains(reference[name], self.chains) for name in ("real", "holdout"))

    @cached_property
    def _rare(self) -> Callable[[Floats], NDArray[np.float64]]:
        return _tail(self._truth)

    def originals(self) -> Rows:
        """The original samples: (samples, chains, dimensions)."""
        return self._real[: self.samples]

    def fresh(self, iteration: int) -> Rows:
        """Original samples that no training set has held before."""
        drawn = sample(self._truth, self.samples, "gmm", "fresh", self.seed, iteration)
        return drawn.transpose(2, 1, 0)

    def fit(self, rows: Rows, parent: Arrays | None, iteration: int, checkpoints: Store = NOWHERE) -> Arrays:
        """Maximum-likelihood mixtures of every chain's samples."""
        data = np.ascontiguousarray(rows.transpose(2, 1, 0))
        if self._init == "kmeans":
            start = of_clusters(data, self._components, self.seed, iteration, "gmm", "kmeans")
        else:
            start = Mixtures(**parent) if parent else self._first_guess(data)
        return dict(vars(fit(data, start, self._tolerance, self._max_iter, checkpoints)))

    def _first_guess(self, data: Floats) -> Mixtures:
        """Where generation 0 begins: at the truth; of another number of components, at scikit-learn's fit of the data."""
        if self._components == self._truth.weights.shape[1]:
            return self._truth
        # A second, which cells that go on from generation 0 need not wait for.
        from sklearn.mixture import GaussianMixture

        found = []
        for chain in range(self.chains):
            random = streams.integer_seed(self.seed, 0, "gmm", chain) % 2**32
            found.append(GaussianMixture(self._components, random_state=random).fit(data[:, chain].T))
        return Mixtures(
            np.array([each.weights_ for each in found]),
            np.array([each.means_ for each in found]),
            np.array([each.covariances_ for each in found]),
        )

    def sample(self, model: Arrays, iteration: int, checkpoints: Store = NOWHERE, draw: int = 0) -> Rows:
        """As many samples of every chain as it was fitted to at first."""
        return sample(Mixtures(**model), self.samples, *self.stream(iteration, draw)).transpose(2, 1, 0)

    def stream(self, iteration: int, draw: int = 0) -> streams.StreamKey:
        """Of all chains; each has its own within it."""
        return (self.seed, iteration, streams.of_draw("sample", draw))

    def is_shown(self, iteration: int) -> bool:
        """Snapshots are kept, and scored by what takes long."""
        return iteration in self._snapshots

    def score(self, model: Arrays, rows: Callable[[], Rows], iteration: int, first: Arrays) -> Iterator[Score]:
        """Scores over the chains; those of samples at snapshots only."""
        mixtures, truth = Mixtures(**model), self._truth
        spread, original = mixtures.covariance(), truth.covariance()
        log_spread = np.linalg.slogdet(spread)[1] - np.linalg.slogdet(original)[1]
        distance = squared_l2(mixtures, truth)
        yield from _with_median("density_distance", distance)
        yield from _with_median("log_spread", log_spread)
        yield _over_chains("variance", np.trace(spread, axis1=1, axis2=2) / np.trace(original, axis1=1, axis2=2))
        apart = mixtures.mean() - truth.mean()
        yield _over_chains("mean_shift", (apart**2).sum(axis=1) / np.trace(original, axis1=1, axis2=2))
        step, sd = apart[:, -1] / np.sqrt(original[:, -1, -1]), np.sqrt(spread[:, -1, -1] / original[:, -1, -1])
        yield _over_chains("gaussian_wasserstein", step**2 + (sd - 1) ** 2)
        yield _over_chains("weight_diversity", 1 - (mixtures.weights**2).sum(axis=1))
        axes = np.sqrt(np.linalg.eigvalsh(spread).clip(0))
        yield _over_chains("largest_sd", axes[:, -1])
        yield _over_chains("smallest_sd", axes[:, 0])
        yield _over_chains("lost_components", (mixtures.weights * self.samples < LOST_SAMPLES).sum(axis=1))
        if self.is_shown(iteration):
            yield _over_chains("tail_share", self._rare(rows()))
            yield _over_chains("tail_share_of_spread", self._rare(self._reshaped(mixtures)))
            yield _over_chains("wasserstein", _wasserstein(rows(), self._holdout))
        if iteration == 0:
            # What is expected of a perfect model.
            yield replace(_over_chains("wasserstein", _wasserstein(self.originals(), self._holdout)), set="real")

    def _reshaped(self, mixtures: Mixtures) -> Rows:
        """Original samples, moved and stretched to each chain's mean and covariance: the original's shape, its tails too."""
        roots = np.linalg.cholesky(mixtures.covariance()) @ np.linalg.inv(np.linalg.cholesky(self._truth.covariance()))
        apart = self._holdout[: self.samples] - self._truth.mean()
        return mixtures.mean() + np.einsum("cij,ncj->nci", roots, apart)

    def table(self, rows: Rows, records: Sequence[Record]) -> pa.Table:
        """A row per chain and sample, chain after chain."""
        chains = [f"chain-{chain:02d}" for chain in range(rows.shape[1])]
        spread = [
            Record(
                f"{record.id}/{chain}", "", chain, f"{chain}/{record.slot}", record.origin, record.iteration,
                model=record.model, rng=record.rng and f"{record.rng}/{index}",
            )
            for index, chain in enumerate(chains)
            for record in records
        ]  # fmt: skip
        return rows_table("vector", rows.transpose(1, 0, 2).reshape(-1, rows.shape[2]), spread)

    def rows(self, table: pa.Table) -> Rows:
        """The samples of such a table: (samples, chains, dimensions)."""
        values = vectors(table)
        return values.reshape(self.chains, -1, values.shape[1]).transpose(1, 0, 2)


def truth(settings: Mapping[str, Any], chains: int) -> Mixtures:
    """The original mixture, the same for every chain."""
    original = settings["original"]
    covariances = [np.array(part["covariance"], float) for part in original]
    weights = np.array([part["weight"] for part in original], float)
    return repeated(
        weights / weights.sum(), np.array([part["mean"] for part in original], float), np.array(covariances), chains
    )


def write_originals(settings: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Draw the original samples of all chains, and as many others to compare with."""
    mixtures = truth(settings, settings["chains"])
    for name, path in files.items():
        # (dimensions, chains, samples) to chain by chain.
        drawn = sample(mixtures, settings["samples"], "gmm", name).transpose(1, 2, 0)
        records = [
            Record(f"{name}/chain-{chain:02d}/{index:05d}", "", f"chain-{chain:02d}", f"chain-{chain:02d}/{index:05d}", "real",
                   rng=streams.name(("gmm", name, chain)))
            for chain in range(drawn.shape[0])
            for index in range(drawn.shape[1])
        ]  # fmt: skip
        write_rows(path, rows_table("vector", drawn.reshape(-1, drawn.shape[2]), records))


def _chains(path: Path, chains: int) -> Rows:
    """The vectors of the first chains of a file, which holds chain after chain: (samples, chains, dimensions)."""
    table = read_rows(path, "vector")
    values = vectors(table)
    samples = len(values) // len(table["group"].unique())
    return values.reshape(-1, samples, values.shape[1])[:chains].transpose(1, 0, 2)


def _tail(original: Mixtures) -> Any:
    """A function that tells each chain's share of rows in the original's tail.

    The tail is where the original's density is below that of all but `TAIL` of its samples; the bound is found from samples.
    """
    one = Mixtures(original.weights[:1], original.means[:1], original.covariances[:1])

    def log_density(rows: Floats) -> Floats:
        apart = rows[:, None] - one.means[0]
        solved = np.linalg.solve(one.covariances[0], apart[..., None])[..., 0]
        logs = -0.5 * (apart * solved).sum(axis=2) - 0.5 * np.linalg.slogdet(one.covariances[0])[1]
        return np.asarray(np.logaddexp.reduce(logs + np.log(one.weights[0]), axis=1))

    drawn = sample(one, 100_000, "gmm", "tail")[:, 0].T
    bound = np.quantile(log_density(drawn), TAIL)

    def share(rows: Floats) -> NDArray[np.float64]:
        flat = log_density(rows.reshape(-1, rows.shape[2]))
        return (flat < bound).reshape(rows.shape[:2]).mean(axis=0)

    return share


def _wasserstein(rows: Floats, original: Floats) -> NDArray[np.float64]:
    """Squared Wasserstein-2 distance of the empirical distributions of the first samples, by exact assignment, per chain."""
    # A quarter of a second, which fits need not wait for.
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    count = min(ASSIGNED, len(rows), len(original))
    found = []
    for chain in range(rows.shape[1]):
        costs = cdist(rows[:count, chain], original[:count, chain], "sqeuclidean")
        found.append(costs[linear_sum_assignment(costs)].mean())
    return np.array(found)


def _over_chains(metric: str, values: NDArray[Any]) -> Score:
    """Mean over the chains, which are independent, with their standard deviation and the interval of the mean."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Score(metric, mean, count)
    sd = float(values.std(ddof=1))
    se = sd / math.sqrt(count)
    half = half_width(se, count - 1, 0.95)
    return Score(metric, mean, count, sd=sd, se=se, ci_low=mean - half, ci_high=mean + half)


def _with_median(metric: str, values: NDArray[Any]) -> Iterator[Score]:
    yield _over_chains(metric, values)
    yield Score(f"{metric}_median", float(np.median(values)), len(values))
