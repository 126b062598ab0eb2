"""Gaussian mixtures: many independent chains of them, fitted, sampled and compared together.

This module is what the Snakefile needs to know of the family: standard library only.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Its figures, functions of its module `figures`, and what they show.
FIGURES = {
    "samples": "What the first chain of every condition draws, generation after generation.",
    "distance": "Squared L2 distance of the densities of model and original, over generations: mean of all chains of all "
    "seeds with the range of the seeds' means, and the median.",
    "spread": "How much of the original's spread is left, over generations: mean of ln det(covariance), and the exact law "
    "for one Gaussian of as many samples (dashed).",
}
# Its scores for a glance, the first for each cell.
HEADLINES = {
    "density_distance": "squared L2 distance from the original density, lower is better",
    "log_spread": "ln of what is left of the spread (determinant of the covariance), 0 is all of it",
}
# Keys that all arms share.
SHARED = ("original",)


def original_settings(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What decides the original samples: arms with fewer samples or chains take the first ones."""
    largest = {key: max(block[key] for block in blocks) for key in ("samples", "chains")}
    return {"original": blocks[0]["original"], **largest}


def contradictions(block: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a block `gmm` that its schema cannot tell."""
    original = block["original"]
    dimensions = len(original[0]["mean"])
    for index, part in enumerate(original):
        key = f"`gmm.original[{index}]"
        covariance = part["covariance"]
        if len(part["mean"]) != dimensions:
            yield f"{key}.mean`: has {len(part['mean'])} numbers, but the first has {dimensions}"
        elif [len(row) for row in covariance] != [dimensions] * dimensions:
            yield f"{key}.covariance`: must have {dimensions} rows of {dimensions} numbers"
        elif not _is_positive(covariance):
            yield f"{key}.covariance`: is no covariance: it must be symmetric and positive definite"


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
