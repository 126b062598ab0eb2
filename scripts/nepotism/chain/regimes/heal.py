"""Heal: from a finished cell on, original rows only, all or a share of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.chain.faces import Regime
from nepotism.chain.regimes import branching

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


def plan(slots: "Slots", ratio: str, iteration: int, parameters: Mapping[str, Any]) -> "list[Source]":
    """The original rows; the ratio is that of the branch that is healed."""
    return [slots.real(branching.shared(slots, parameters))]


REGIME = Regime(
    "heal",
    "Goes on from a finished cell, on original rows only.",
    "Bohacek & Farid, arXiv 2311.12202, section 3.5",
    plan,
    generates=False,
    branches=True,
    elsewhere=("from",),
    parameters={
        "from": branching.FROM,
        "after": branching.AFTER,
        "iterations": branching.ITERATIONS,
        "share": branching.SHARE,
    },
    required=("after", "iterations"),
)
