"""What regimes share that go on from a finished cell of the arm none: their parameters, and the slots that they take."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.experiment.cells import canonical_ratio

if TYPE_CHECKING:
    from nepotism.chain.slots import Indices, Slots

AFTER = {
    "description": "Iteration of the arm none that it goes on from.",
    "type": "integer", "minimum": 1, "maximum": 10000,
}  # fmt: skip
ITERATIONS = {"description": "Number of retrainings.", "type": "integer", "minimum": 1, "maximum": 10000}
SHARE = {
    "description": "Percent of the slots whose rows are trained on, balanced over the groups; those of a smaller share are "
    "among those of a larger one. At equal steps (`finetune.budget`), fewer rows are seen more often.",
    "type": "number", "exclusiveMinimum": 0, "maximum": 100, "default": 100,
}  # fmt: skip
WEIGHT = {"type": "number", "minimum": -1, "maximum": 10, "default": 1}


def shared(slots: "Slots", parameters: Mapping[str, Any]) -> "Indices":
    """The slots of a share: those that `replace` fills with generated rows at a ratio of as many percent.

    So a share of real rows that is no larger than the ratio of the branch holds rows that the branch was not trained on.
    """
    return slots.split(canonical_ratio(parameters["share"]), key="arms.parameters.share")[0]
