"""Latent diffusion, whose steps are rules of their own. This module needs the standard library only."""

# What its table of scores holds.
from nepotism.measure.metrics import METRICS, SPACES

__all__ = ["METRICS", "SPACES"]
