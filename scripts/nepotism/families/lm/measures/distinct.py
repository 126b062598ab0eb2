"""Distinct-n: how many of all runs of n tokens are different ones (Li et al. 2016, arXiv 1510.03055)."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nepotism.families.lm.networks import Tokens


def distinct(blocks: Tokens, length: int) -> float:
    """Different runs of ``length`` tokens over all runs, of all blocks together: (0, 1].

    It falls with the number of blocks, so only equal numbers compare.
    """
    runs = sliding_window_view(blocks, length, axis=1).reshape(-1, length)
    return len(np.unique(runs, axis=0)) / len(runs)
