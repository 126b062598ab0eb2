"""What theory says of recursive refits: the lines in the figures, and the gates of the tests.

Sources: Shumailov et al., Nature 631 (2024), for the recursion and E[W2^2]; the laws of the sample variance (chi-square) and
of the sample covariance (Wishart) for the rest; the rate of a discrete distribution is Wright and Fisher's.
"""

import math

import numpy as np
from scipy.special import gammaln, psi


def c4(samples: int) -> float:
    """Expected standard deviation of ``samples`` standard normal samples (divisor n - 1): the constant that unbiases it."""
    return math.sqrt(2 / (samples - 1)) * math.exp(gammaln(samples / 2) - gammaln((samples - 1) / 2))


def expected_wasserstein(samples: int, fits: int, unbiased: bool = False) -> float:
    """E[W2^2] between a standard normal and what is left of it after ``fits`` refits, in 1-D: E[mean^2] + E[(sd - 1)^2].

    With unbiased variance n/M for the mean's random walk, and 2 (1 - c4^n) for the standard deviation, whose square stays 1 on
    average. With maximum likelihood, whose standard deviations are shorter by sqrt(1 - 1/M), the mean walks as far as the
    variance shrinks (`mean_shift`), so that E[mean^2] + E[sd^2] stays 1.
    """
    if unbiased:
        return fits / samples + 2 * (1 - c4(samples) ** fits)
    return 2 * (1 - (c4(samples) * math.sqrt(1 - 1 / samples)) ** fits)


def log_generalised_variance(samples: int, fits: int, dimensions: int) -> float:
    """Mean of ln det(covariance) after ``fits`` maximum-likelihood refits of one Gaussian, started at 0 (Wishart)."""
    degrees = [(samples - j) / 2 for j in range(1, dimensions + 1)]
    return fits * float(sum(psi(half) - math.log(samples / 2) for half in degrees))


def mean_variance(samples: int, fits: int) -> float:
    """E[total variance] after ``fits`` refits, as a share of what it was, of any model that keeps its samples' variance.

    Gaussians and mixtures fitted by maximum likelihood do.
    """
    return (1 - 1 / samples) ** fits


def mean_shift(samples: int, fits: int) -> float:
    """E[squared distance of the mean] after ``fits`` refits, as a share of the original's total variance; of the same models.

    What the variance loses, the mean has walked: each refit adds a share 1/M of the variance that is left, and those sum up to
    1 - (1 - 1/M)^n.
    """
    return 1 - mean_variance(samples, fits)


def accumulated_mean_variance(samples: int, fits: int) -> float:
    """Variance of the mean after ``fits`` refits to all data so far (about): it converges, where replacing diverges."""
    return float(np.sum(1.0 / np.arange(1, fits + 1) ** 2)) / samples


def lost(probability: float, samples: int) -> float:
    """Chance that an item of this probability is not among ``samples`` draws: what one refit of a discrete model loses."""
    return (1 - probability) ** samples


def diversity(samples: int, fits: int) -> float:
    """E[1 - sum p^2] of a discrete distribution after ``fits`` refits, as a share of what it was."""
    return (1 - 1 / samples) ** fits
