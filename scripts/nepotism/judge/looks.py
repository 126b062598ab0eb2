"""Intervals that hold however often one looks: at every number of seeds at once, however it came about.

The t interval errs in 5 % of experiments if the number of seeds was fixed before. Who looks, adds seeds where a claim is undecided,
and looks again, has a chance at every look. So after more seeds were asked for, an interval is mean +- b(n) * sd / sqrt(n), where
b(n) takes the place of the t quantile.

b(n) comes from a likelihood ratio of all t statistics so far: of normal effects at a distance from the bound, in their standard
deviations, that is half-normal with scale `SCALE`, over effects at the bound, both with the right Haar prior on the standard
deviation. At the bound it is a martingale of mean 1, so by Ville's inequality it ever exceeds 1 / error with a probability of at most
``error``; beyond the bound t statistics are lower, and so is the ratio. Nothing has to be known of earlier looks, and the next
number of seeds may depend on all that was seen. With g = SCALE**2, q = 1 + n g and nu = n - 1:

    E(t) = 2 q**(-1/2) * ((1 + t**2 / nu) / (1 + t**2 / (nu q)))**(n / 2) * T_n(t n sqrt(g / q) / sqrt(nu + t**2 / q))

Sources: Lai, Annals of Statistics 4 (1976), and Wang and Ramdas, arXiv 2310.03722 (the martingale with a normal mixture); Goenen,
Johnson, Lu and Westfall, American Statistician 59 (2005) (its closed form: all but the 2 and T_n); T_n, the t distribution's function,
is the share of that mixture above the bound, given the effects so far: twice the normal's upper half is the half-normal.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

Looks = Literal["once", "repeated"]
ONCE: Looks = "once"
REPEATED: Looks = "repeated"

# How far from its bound an effect is expected to be, in its standard deviations between seeds. It decides at which numbers of seeds
# the interval is narrow, never whether it errs: 2 suits 4 to 30 (at 1, four seeds would hardly ever decide anything).
SCALE = 2.0
# One-sided error of an interval: that of the two-sided 90 % t interval.
ERROR = 0.05
# Where b(n) is looked for; halvings of it until doubles cannot tell.
_LARGEST, _HALVINGS = 1e6, 80


def log_evidence(t: ArrayLike, seeds: ArrayLike) -> NDArray[np.float64]:
    """Logarithm of E, the evidence that the effect lies beyond its bound.

    Args:
        t: (mean - bound) * sqrt(n) / sd, positive where the mean lies beyond.
        seeds: n, two or more.
    """
    t, n = np.asarray(t, float), np.asarray(seeds, float)
    nu, q = n - 1, 1 + n * SCALE**2
    ratio = np.log1p(t**2 / nu) - np.log1p(t**2 / (nu * q))
    above = stdtr(n, t * n * SCALE / np.sqrt(q) / np.sqrt(nu + t**2 / q))
    # stdtr underflows far below the bound, where nothing is evident anyway.
    found: NDArray[np.float64] = np.log(2) - np.log(q) / 2 + n / 2 * ratio + np.log(np.maximum(above, 1e-300))
    return found


def quantile(seeds: ArrayLike, error: float = ERROR) -> NDArray[np.float64]:
    """b(n): t statistics above it decide; infinite where no effect could, with so few seeds.

    Args:
        seeds: numbers of seeds, each two or more.
        error: probability with which a t statistic at the bound is ever above it.
    """
    n = np.asarray(seeds, float)
    low, high = np.zeros_like(n), np.full_like(n, _LARGEST)
    wanted = -np.log(error)
    # Beyond `low` E increases with t: halve the interval.
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = log_evidence(middle, n) >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(log_evidence(_LARGEST, n) >= wanted, high, np.inf)


def p_value(t: float, seeds: int) -> float:
    """1 / E: below any level with at most that probability, at whatever number of seeds one looks."""
    return float(np.exp(min(0.0, -float(log_evidence(t, seeds)))))
