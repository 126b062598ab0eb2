"""Feed: as replace, but a share of the generated rows are those that another chain drew."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.chain.faces import Regime

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


def plan(slots: "Slots", ratio: str, iteration: int, parameters: Mapping[str, Any]) -> "list[Source]":
    """The generated slots are those that replace takes; both chains' rows are of the iteration before, so that chains may
    feed each other."""
    _, others = slots.split(ratio)
    own, fed = slots.shared(ratio, parameters["share"])
    return [slots.real(others), slots.generated(iteration - 1, own), slots.other(iteration - 1, fed)]


REGIME = Regime(
    "feed",
    "As replace, but a share of the generated rows are those that another chain drew.",
    "the question that Bohacek & Farid, arXiv 2311.12202, end with",
    plan,
    listens=True,
    families=("diffusion",),
    parameters={
        "other": {
            "description": "Name of the arm whose chain feeds this one; null is the same arm, with another seed.",
            "type": ["string", "null"], "minLength": 1,
        },
        "seed": {
            "description": "Seed of the other chain: the same, or the next one of `seeds`, after the last the first: another seed at the "
            "end of the list changes the whole ring.",
            "enum": ["same", "next"],
            "default": "same",
        },
        "share": {
            "description": "Percentage of the generated rows that are the other chain's.",
            "type": "number", "minimum": 0, "maximum": 100, "default": 50,
        },
    },
    required=("other",),
)  # fmt: skip
