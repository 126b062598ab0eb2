"""Fresh: as replace, but original rows are others in every training set, which none has held before."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.chain.faces import Regime

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


def plan(slots: "Slots", ratio: str, iteration: int, parameters: Mapping[str, Any]) -> "list[Source]":
    """The generated slots are those that replace takes."""
    generated, others = slots.split(ratio)
    return [slots.fresh(iteration, others), slots.generated(iteration - 1, generated)]


REGIME = Regime(
    "fresh",
    "A ratio of the training set is drawn by the last model; the rest is original and was never used before.",
    "Alemohammad et al., arXiv 2307.01850",
    plan,
    needs_fresh=True,
)
