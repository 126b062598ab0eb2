"""Accumulate: original rows stay, and what every model so far drew stays beside them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.chain.faces import Regime

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


def plan(slots: "Slots", ratio: str, iteration: int, parameters: Mapping[str, Any]) -> "list[Source]":
    """All original rows and all rows of all models so far: the training set grows by a set with every iteration."""
    return [slots.real(), *(slots.generated(made) for made in range(iteration))]


REGIME = Regime(
    "accumulate",
    "All original rows and all that every model so far drew.",
    "Gerstgrasser et al., arXiv 2404.01413",
    plan,
    accumulates=True,
    takes_ratio=False,
)
