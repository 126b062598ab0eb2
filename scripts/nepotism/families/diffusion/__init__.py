"""Latent diffusion, whose steps are rules of their own. This module needs the standard library only."""

# What its table of scores holds.
from nepotism.measure.metrics import METRICS, SPACES

__all__ = ["METRICS", "RULES", "SPACES"]

# Its files of `rules/`, in this order: some rules are made from others.
RULES = (
    "faces", "reference", "controls", "mix", "filter", "finetune", "sample", "metrics", "base", "draws", "detector",
    "guidance", "figures", "remedies",
)  # fmt: skip
