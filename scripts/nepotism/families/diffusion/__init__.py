"""Latent diffusion, whose steps are rules of their own. This module needs the standard library only."""

from nepotism.experiment import aspects
from nepotism.experiment.aspects import profiled

# What its table of scores holds.
from nepotism.measure.metrics import METRICS, SPACES

__all__ = ["METRICS", "PROFILE", "RULES", "SPACES"]

# What its profile of collapse is made of.
PROFILE = (
    *profiled("distance", aspects.DISTANCE, aspects.RISK, ["fid", "mind", "cmmd"]),
    *profiled("distance", aspects.EXCESS, aspects.RISK, ["kid"]),
    *profiled("fidelity", aspects.SHARE, aspects.HALLUCINATION, ["precision", "density"]),
    *profiled("diversity", aspects.SHARE, aspects.VARIANCE, ["recall", "coverage"]),
    *profiled("diversity", aspects.AMOUNT, aspects.VARIANCE, ["vendi", "within_group_distance"]),
    *profiled("tails", aspects.SHARE, aspects.TAILS, ["recall_tail", "recall_rare_groups"]),
    *profiled("memorisation", aspects.LOSS, aspects.MEMORISATION, ["memorization"]),
    *profiled("alignment", aspects.CAPTIONS, aspects.CAPTIONS_LOST, ["clip_score"]),
    *profiled("colour", aspects.GAP, aspects.COLOURS_DRIFT, ["saturation", "contrast"]),
)

# Its files of `rules/`, in this order: some rules are made from others.
RULES = (
    "faces", "reference", "controls", "mix", "filter", "finetune", "sample", "metrics", "base", "draws", "detector",
    "guidance", "figures", "remedies",
)  # fmt: skip
