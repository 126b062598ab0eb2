"""Standard errors from scores that leave out one block of images each.

Images are left out in blocks, block j being the j-th image of every group (and, where two sets are compared, of both).
Blocks may differ in size, because groups may. The standard error is that of the delete-m_j jackknife (F. M. T. A. Busing, E. Meijer
and R. van der Leeden, "Delete-m jackknife for unequal m", Statistics and Computing 9, 1999, 3-8): of n images let block j of g hold m_j,
h_j = n / m_j, and let T be the statistic of all images and T_j that without block j. The pseudo-values are

    P_j = h_j T - (h_j - 1) T_j,    their mean, each weighted by its share of the images, is
    P   = g T - sum over j of (1 - m_j / n) T_j,    and
    se^2 = 1/g  sum over j of (P_j - P)^2 / (h_j - 1).

For blocks of one size this is the plain delete-one-block jackknife, (g - 1) / g times the sum of squared deviations of T_j
from their mean. Whatever is computed from several scores that leave out the same blocks has its own T and T_j, and so the same
formula gives its error, with all that the scores have in common.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True)
class LeftOut:
    """What a score is without each block of images in turn.

    Attributes:
        images: how many images each block has.
        values: the score without that block.
    """

    images: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def df(self) -> int:
        """Degrees of freedom of the standard error: one less than there are blocks."""
        return len(self.images) - 1


def standard_error(value: float, left_out: LeftOut) -> float | None:
    """The delete-m_j jackknife's standard error; None for fewer than two blocks, and where a value is not finite."""
    values, images = np.array(left_out.values), np.array(left_out.images)
    if len(values) < 2 or not np.isfinite([value, *values]).all():
        return None
    times = images.sum() / images
    # P_j - P by what the blocks change, so that a statistic which no block changes has an error of exactly 0.
    changes = values - value
    apart = ((1 - 1 / times) * changes).sum() - (times - 1) * changes
    return float(np.sqrt((apart**2 / (times - 1)).mean()))


def half_width(se: float, df: float, confidence: float) -> float:
    """Half of the two-sided interval that the t distribution gives; the normal distribution for infinite ``df``."""
    return float(stdtrit(df, 0.5 + confidence / 2)) * se


def pooled_df(errors: list[tuple[float, float]]) -> float:
    """Degrees of freedom of the root of summed squares of independent standard errors (Welch and Satterthwaite).

    Args:
        errors: each standard error with its degrees of freedom, which may be infinite.
    """
    total = sum(se**2 for se, _ in errors)
    spread = sum(se**4 / df for se, df in errors)
    return total**2 / spread if spread else math.inf
