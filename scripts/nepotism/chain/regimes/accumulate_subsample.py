"""Accumulate and subsample: as many rows as there are slots, drawn anew each time from all that has been accumulated."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.chain.faces import Regime

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


def plan(slots: "Slots", ratio: str, iteration: int, parameters: Mapping[str, Any]) -> "list[Source]":
    """Rows drawn without repetition from the original ones and those of all models so far, group by group."""
    real, *generated = slots.subsample(iteration + 1, iteration)
    return [slots.real(real), *(slots.generated(made, taken) for made, taken in enumerate(generated))]


REGIME = Regime(
    "accumulate_subsample",
    "As many rows as there are slots, drawn from all original rows and all that every model so far drew.",
    "Kazdan et al., arXiv 2410.16713",
    plan,
    accumulates=True,
    takes_ratio=False,
)
