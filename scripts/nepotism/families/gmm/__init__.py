"""Gaussian mixtures: many independent chains of them, fitted, sampled and compared together.

This module is what the Snakefile needs to know of the family: standard library only.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nepotism.experiment import aspects
from nepotism.experiment.aspects import profiled
from nepotism.measure.metrics import Metric, Space, declared

# Its figures, functions of its module `figures`, and what they show.
FIGURES = {
    "samples": "What the first chain of every condition draws, generation after generation.",
    "distance": "Squared L2 distance of the densities of model and original, over generations: mean of all chains of all "
    "seeds with the range of the seeds' means, and the median.",
    "spread": "How much of the original's spread is left, over generations: mean of ln det(covariance), and the exact law "
    "for one Gaussian of as many samples (dashed).",
    "variance": "Total variance over generations, of the original's: mean of all chains of all seeds with the range of the seeds' "
    "means, and the exact law (dashed), which holds for mixtures too.",
    "mean": "How far the mean has walked, squared, over the original's total variance: the same, with the exact law for what replaces "
    "and the law for what accumulates (dashed), for which the walk comes to an end.",
    "wasserstein": "Squared Wasserstein-2 distance between the Gaussians that have the mean and the variance of model and original along "
    "the last dimension, over the original's variance: the same, with the exact law for one Gaussian (dashed). After more generations "
    "than samples the law rests on rare chains that walked far; the mean of a few dozen chains is then below it.",
    "components": "Chance that two samples are of different components, which sampling alone brings to nothing: the same, with the "
    "exact law of a discrete distribution (dashed), which components that stay apart follow.",
}
# Wasserstein distances take an optimal assignment of this many samples to as many others, per chain.
ASSIGNED = 200
# A component is lost when fewer than this many of a generation's samples are expected of it.
LOST_SAMPLES = 1.0
# The original's least likely share of samples: its tail.
TAIL = 0.05
# Its scores are of models and samples themselves.
SPACES: tuple[Space, ...] = ()
METRICS = declared(
    Metric(
        "density_distance", "squared L2 distance from the original density, in closed form",
        "[0, inf)", "lower", "Shumailov et al. 2023 (arXiv 2305.17493)",
    ),
    Metric(
        "density_distance_median", "squared L2 distance from the original density, median of the chains",
        "[0, inf)", "lower", "Shumailov et al. 2023 (arXiv 2305.17493)",
    ),
    Metric(
        "log_spread", "ln of the generalised variance, det(covariance), of the model over the original",
        "(-inf, inf), 0 is all of it", "neither", "Wilks 1932",
    ),
    Metric(
        "log_spread_median", "median of the chains' `log_spread`",
        "(-inf, inf), 0 is all of it", "neither", "Wilks 1932",
    ),
    Metric(
        "variance", "total variance (trace of the covariance), of the model over the original",
        "[0, inf), 1 is all of it", "neither",
    ),
    Metric(
        "mean_shift", "squared distance of the mean from the original's, over the original's total variance",
        "[0, inf)", "lower",
    ),
    Metric(
        "gaussian_wasserstein", "squared Wasserstein-2 distance of the Gaussians with model's and original's mean "
        "and variance along the last dimension, over the original's variance",
        "[0, inf)", "lower", "Dowson and Landau 1982",
    ),
    Metric(
        "weight_diversity", "chance that two samples are of different components, 1 - sum of squared weights",
        "[0, 1)", "neither", "Simpson 1949",
    ),
    Metric("largest_sd", "standard deviation along the mixture's longest axis", "[0, inf)", "neither"),
    Metric("smallest_sd", "standard deviation along the mixture's shortest axis", "[0, inf)", "neither"),
    Metric(
        "lost_components", f"components of which fewer than {LOST_SAMPLES:g} sample is expected",
        "[0, components]", "lower",
    ),
    Metric(
        "tail_share", f"share of samples where the original has its least likely {100 * TAIL:g} %; of shown "
        "generations",
        "[0, 1]", "neither",
    ),
    Metric(
        "tail_share_of_spread", "`tail_share` of original samples stretched to the model's mean and covariance",
        "[0, 1]", "neither",
    ),
    Metric(
        "wasserstein", f"squared Wasserstein-2 distance between up to {ASSIGNED} samples and as many original ones; "
        "of shown generations, and of original samples in iteration 0 (set `real`)",
        "[0, inf)", "lower", "by scipy's optimal assignment",
    ),
)  # fmt: skip
# What its profile of collapse is made of.
PROFILE = (
    *profiled("distance", aspects.EXCESS, aspects.RISK, ["density_distance_median"]),
    *profiled("diversity", aspects.LOGARITHM, aspects.VARIANCE, ["log_spread_median"]),
    *profiled("diversity", aspects.SHARE, aspects.MODES, ["weight_diversity"]),
    *profiled("tails", aspects.AMOUNT, aspects.TAILS, ["tail_share"]),
)
# Its scores for a glance, the first for each cell.
HEADLINES = ("density_distance_median", "log_spread")
# What its original samples are written to.
REFERENCE = ("real.parquet", "holdout.parquet")
# Whether its jobs run torch, on a GPU where there is one.
TORCH = False
# Keys that all arms share.
SHARED = ("original", "pool")
# Keys that generation 0 does not look at.
LATER = ()


def original_settings(block: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the original samples, of which every arm takes the first ones."""
    return {"original": block["original"], **block["pool"]}


def execution(block: Mapping[str, Any]) -> dict[str, Any]:
    """What of a block only says how: nothing."""
    return {}


def reads_parent(block: Mapping[str, Any]) -> bool:
    """Whether a generation is fitted from the model of the one before, and not anew."""
    return bool(block["init"] == "parent")


def sources(block: Mapping[str, Any]) -> list[str]:
    """Downloads that a block names: none."""
    return []


def memory_mb(block: Mapping[str, Any], generations: int) -> int:
    """Megabytes of a job whose models are fitted to the rows of ``generations`` generations at once."""
    numbers = (
        block["samples"] * block["chains"] * generations * block["n_components"] * len(block["original"][0]["mean"])
    )
    return 1000 + 64 * numbers // 10**6


def fresh_contradictions(block: Mapping[str, Any], key: str, iterations: int) -> Iterator[str]:
    """Whether there are original rows for ``iterations`` training sets: a mixture gives any number."""
    return iter(())


def contradictions(block: Mapping[str, Any], key: str, iterations: int) -> Iterator[str]:
    """What is wrong with a block `gmm`, which is called ``key``, of chains of ``iterations`` iterations, that its schema cannot tell."""
    if min(block["snapshots"]) > iterations:
        yield f"`{key}.snapshots`: none is within the {iterations} iterations; begin with 0"
    for name in ("samples", "chains"):
        if block[name] > block["pool"][name]:
            yield f"`{key}.{name}`: {block[name]}, but `gmm.pool.{name}` has only {block['pool'][name]} original ones; raise it"
    if block["n_components"] > block["samples"]:
        yield f"`{key}.n_components`: {block['n_components']} components of {block['samples']} samples; use fewer"
    original = block["original"]
    dimensions = len(original[0]["mean"])
    if block["samples"] <= dimensions:
        yield f"`{key}.samples`: {block['samples']} samples have no covariance in {dimensions} dimensions; use more"
    for index, part in enumerate(original):
        place = f"`gmm.original[{index}]"
        covariance = part["covariance"]
        if not all(
            map(math.isfinite, (part["weight"], *part["mean"], *(entry for row in covariance for entry in row)))
        ):
            yield f"{place}`: has a number that is not finite"
        elif len(part["mean"]) != dimensions:
            yield f"{place}.mean`: has {len(part['mean'])} numbers, but the first has {dimensions}"
        elif [len(row) for row in covariance] != [dimensions] * dimensions:
            yield f"{place}.covariance`: must have {dimensions} rows of {dimensions} numbers"
        elif not _is_positive(covariance):
            yield f"{place}.covariance`: is no covariance: it must be symmetric and positive definite"


def _is_positive(matrix: Sequence[Sequence[float]]) -> bool:
    """Whether a matrix is symmetric and positive definite: Cholesky's decomposition exists."""
    size = len(matrix)
    if any(matrix[i][j] != matrix[j][i] for i in range(size) for j in range(i)):
        return False
    root = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(root[i][k] * root[j][k] for k in range(j))
            if i == j and rest <= 0:
                return False
            root[i][j] = rest**0.5 if i == j else rest / root[j][j]
    return True
