"""Augment: all original rows stay, and generated ones are added: a share of as many, or several times as many."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.chain.faces import Regime

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


def plan(slots: "Slots", ratio: str, iteration: int, parameters: Mapping[str, Any]) -> "list[Source]":
    """All original rows, and on top of them the rows of the last model that replace would take; above 100 %, whole draws of
    it, and of one more draw what replace would take at the rest."""
    drawn = enumerate(slots.draws(ratio))
    return [slots.real(), *(slots.generated(iteration - 1, taken, draw) for draw, taken in drawn)]


REGIME = Regime(
    "augment",
    "All original rows, and on top of them a ratio of as many rows of the last model.",
    "Bertrand et al., arXiv 2310.00429",
    plan,
    adds=True,
)
