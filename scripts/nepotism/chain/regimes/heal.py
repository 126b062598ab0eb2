"""Heal: from a cell of the plain mixture on, original rows only."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.chain.faces import Regime

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


def plan(slots: "Slots", ratio: str, iteration: int, parameters: Mapping[str, Any]) -> "list[Source]":
    """The original rows; the ratio is that of the branch that is healed."""
    return [slots.real()]


REGIME = Regime(
    "heal",
    "Goes on from a cell of the arm none, on original rows only.",
    "Bohacek & Farid, arXiv 2311.12202, section 3.5",
    plan,
    generates=False,
    parameters={
        "after": {
            "description": "Iteration of the arm none that healing goes on from.",
            "type": "integer", "minimum": 1, "maximum": 10000,
        },
        "iterations": {
            "description": "Number of retrainings on original rows only.",
            "type": "integer", "minimum": 1, "maximum": 10000,
        },
    },
    required=("after", "iterations"),
)  # fmt: skip
