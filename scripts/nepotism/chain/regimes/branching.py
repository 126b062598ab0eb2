"""What regimes share that go on from a finished cell: their parameters, and the slots that they take."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nepotism.experiment.cells import BASELINE_ARM, canonical_ratio

if TYPE_CHECKING:
    from nepotism.chain.slots import Indices, Slots

FROM = {
    "description": "Arm that it goes on from: the plain mixture, or one of another regime, such as a repair that is to be followed "
    "by a few real images.",
    "type": "string", "minLength": 1, "default": BASELINE_ARM,
}  # fmt: skip
AFTER = {"description": "Iteration of that arm.", "type": "integer", "minimum": 1, "maximum": 10000}
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
