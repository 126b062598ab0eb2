"""Neon: from a finished cell on, a step of training on the model's own rows is run backwards."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.chain.faces import Regime
from nepotism.chain.regimes import branching

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


def plan(slots: "Slots", ratio: str, iteration: int, parameters: Mapping[str, Any]) -> "list[Source]":
    """What the last model drew, whatever the ratio of the branch: no original row."""
    return [slots.generated(iteration - 1, branching.shared(slots, parameters))]


REGIME = Regime(
    "neon",
    "Goes on from a finished cell: its model is retrained on its own rows only, and then moved the other way.",
    "Neon: Alemohammad et al., arXiv 2510.03597",
    plan,
    branches=True,
    extrapolates="weights",
    families=("diffusion",),
    elsewhere=("from", "after", "iterations", "weight"),
    parameters={
        "from": branching.FROM,
        "after": branching.AFTER,
        "iterations": {**branching.ITERATIONS, "default": 1},
        "share": branching.SHARE,
        "weight": {
            **branching.WEIGHT,
            "description": "w: the saved weights are (1 + w) times the old ones minus w times the retrained ones; 0 keeps the "
            "old ones, -1 the retrained ones.",
        },
    },
    required=("after",),
)
