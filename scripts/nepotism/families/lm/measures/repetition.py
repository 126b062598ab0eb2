"""Repetition: runs of tokens that a block had before (Welleck et al. 2020, arXiv 1908.04319, there called seq-rep-n)."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nepotism.families.lm.networks import Tokens


def repeated(blocks: Tokens, length: int) -> float:
    """Mean share of a block's runs of ``length`` tokens that occurred in the same block before: [0, 1]."""
    runs = sliding_window_view(blocks, length, axis=1)
    return float(np.mean([1 - len(np.unique(block, axis=0)) / len(block) for block in runs]))
