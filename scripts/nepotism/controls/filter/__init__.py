"""Filter: somebody cleans the training set, not knowing which rows are generated."""

from collections.abc import Mapping
from typing import Any

from nepotism.controls.faces import Control


def needs_fresh(parameters: Mapping[str, Any]) -> bool:
    """Whether real rows may be taken for generated ones, and others then stand in for them."""
    mistakes = parameters["source"] != "oracle" or parameters["fpr"] > 0
    return bool(parameters["action"] == "replace" and mistakes)


# Parameters that one source has and others have not.
OF_SOURCE = {"fpr": "oracle", "fnr": "oracle", "retrained": "detector"}


def idle(parameters: Mapping[str, Any]) -> list[str]:
    """The parameters of other sources; and the threshold of the oracle, whose confidence is 0 or 1."""
    others = [key for key, source in OF_SOURCE.items() if source != parameters["source"]]
    no_threshold = parameters["source"] == "oracle"
    return [*others, "threshold"] if no_threshold else others


def cited(parameters: Mapping[str, Any]) -> str:
    """Where source and action come from."""
    source = {
        "oracle": "ours",
        "detector": "after Ojha et al., arXiv 2302.10174",
        "watermark": "after Cox et al. 1997",
    }[parameters["source"]]
    return f"{source}; Drayson et al., arXiv 2502.15654" if parameters["action"] == "resample" else source


CONTROL = Control(
    "filter",
    "Drop, replace or resample the rows of a training set, real ones too, that a filter takes for generated.",
    "after the probes of Ojha et al., arXiv 2302.10174; resample: Drayson et al., arXiv 2502.15654",
    ("diffusion", "lm"),
    {
        "source": {
            "description": "What tells generated rows. oracle: the truth, with the error rates `fpr` and `fnr`, which is also what "
            "provenance data that were partly stripped amount to; detector: a linear probe on the image features of `score.clip`, "
            "trained on real images that nothing else uses, and what the base model makes of them, as of iteration 0 (of text: on "
            "embeddings of the model that generation 0 begins with, trained on blocks that `lm.split.detector` reserves, and what "
            "generation 0 writes after them); watermark: "
            "the mark that the arm's `overrides` give `sample` and `initial_images`.",
            "enum": ["oracle", "detector", "watermark"],
            "default": "oracle",
        },
        "action": {
            "description": "What becomes of rows that are taken for generated. drop: the training set shrinks; replace: a real row of "
            "the slot that is not in the set stands in (that of the reference, else one that is reserved for this training set); "
            "resample: all rows are drawn anew, half as many again, a row at most three times and with a weight of (1 - "
            "confidence)^10; at equal steps (`finetune.budget`) an epoch still sees as many as there are slots.",
            "enum": ["drop", "replace", "resample"],
            "default": "drop",
        },
        "fpr": {
            "description": "Of the oracle: probability that a real row is taken for a generated one.",
            "type": "number", "minimum": 0, "maximum": 1, "default": 0.0,
        },
        "fnr": {
            "description": "Of the oracle: probability that a generated row is taken for a real one.",
            "type": "number", "minimum": 0, "maximum": 1, "default": 0.0,
        },
        "threshold": {
            "description": "Of detector and watermark: confidence above which a row is taken for generated. Of a watermark that is 1 minus "
            "the false-positive rate asked for, and has no default: 0.99 takes one real image in a hundred for marked.",
            "type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.5,
        },
        "retrained": {
            "description": "Of the detector: trained anew for every iteration, on images of the model that drew the generated rows, "
            "rather than once on those of the base model.",
            "type": "boolean", "default": False,
        },
    },
    treats="training_set",
    needs_fresh=needs_fresh,
    idle=idle,
    cited=cited,
)  # fmt: skip
