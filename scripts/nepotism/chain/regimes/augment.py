"""Augment: all original rows stay, and a share of as many generated ones is added."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.chain.faces import Regime

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


def plan(slots: "Slots", ratio: str, iteration: int, parameters: Mapping[str, Any]) -> "list[Source]":
    """All original rows, and on top of them the rows of the last model that replace would take."""
    generated, _ = slots.split(ratio)
    return [slots.real(), slots.generated(iteration - 1, generated)]


REGIME = Regime(
    "augment",
    "All original rows, and on top of them a ratio of as many rows of the last model.",
    "Bertrand et al., arXiv 2310.00429",
    plan,
)
