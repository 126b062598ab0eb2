"""Replace: generated rows of the last model take a share of the slots, original rows keep the others."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.chain.faces import Regime

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


def plan(slots: "Slots", ratio: str, iteration: int, parameters: Mapping[str, Any]) -> "list[Source]":
    """The slots that are generated at a lower ratio are among those of a higher one; they are the same at every iteration
    where original rows are ``kept`` fixed."""
    redrawn = (iteration,) if parameters["kept"] == "redrawn" else ()
    generated, others = slots.split(ratio, *redrawn)
    return [slots.real(others), slots.generated(iteration - 1, generated)]


REGIME = Regime(
    "replace",
    "A ratio of the training set is drawn by the last model; the rest is original.",
    "Bohacek & Farid, arXiv 2311.12202; Shumailov et al., Nature 631 (2024)",
    plan,
    parameters={
        "kept": {
            "description": "Original rows that stay: the same in every training set (fixed), or others each time (redrawn).",
            "enum": ["fixed", "redrawn"],
            "default": "fixed",
        }
    },
)
