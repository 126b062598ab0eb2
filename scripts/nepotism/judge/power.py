"""How many seeds would decide a claim, if effects go on as they have been.

Power is the probability that the rule of `nepotism.judge.decisions`, with intervals for any number of looks, decides a part in the
direction in which its effect lies today, after n seeds of normal effects with today's mean and standard deviation: of all n seeds
drawn anew, which is less than what today's seeds, being a part of them, promise.

- One-sided ("theta > c" and "theta < c", either verdict, and "abs(theta) < c" that does not hold): the t statistic has the noncentral t
  distribution with n - 1 degrees of freedom and noncentrality sqrt(n) * abs(mean - bound) / sd (Johnson, Kotz and Balakrishnan 1995,
  chapter 31), and must exceed the rule's quantile.
- "abs(theta) < c" that holds: the interval lies inside of both bounds, whose probability given the observed standard deviation is that
  of a normal mean; it is averaged over the chi distribution of that (Owen, Biometrika 52, 1965; Phillips, J. Pharmacokinetics and
  Biopharmaceutics 18, 1990, for two one-sided tests).

Parts of a claim are decided together with a probability of at least 1 minus the sum of what each lacks (Bonferroni), however they
depend on each other. One part that does not hold is enough, at the level that Holm's correction leaves it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, nctdtr, ndtr

from nepotism.judge.decisions import FAILS, HOLDS, Relation
from nepotism.judge.looks import ERROR, quantile

# Probability with which a claim is to be decided.
WANTED = 0.8
# Points of the distribution of an observed standard deviation, equally likely.
_POINTS = 200


@dataclass(frozen=True)
class Measured:
    """A part of a claim as it stands.

    Attributes:
        relation, bound: what is claimed of the effect.
        mean, sd: of the effect, over the seeds.
    """

    relation: Relation
    bound: float
    mean: float
    sd: float

    @property
    def is_as_claimed(self) -> bool:
        """Whether its effect is on the side of the bound on which the claim wants it."""
        match self.relation:
            case ">":
                return self.mean > self.bound
            case "<":
                return self.mean < self.bound
            case "abs <":
                return abs(self.mean) < self.bound


def power(part: Measured, seeds: NDArray[np.int_], error: float = ERROR) -> NDArray[np.float64]:
    """Probability that a part is decided in the direction of its effect.

    Args:
        part: with its effect.
        seeds: numbers of seeds, each three or more.
        error: of a verdict, one-sided.
    """
    needed = _needed(tuple(seeds.tolist()), error)
    if part.relation == "abs <" and part.is_as_claimed:
        return _inside(part, seeds, needed)
    value = abs(part.mean) if part.relation == "abs <" else part.mean
    distance = abs(value - part.bound)
    if not part.sd or not distance:
        return np.full(len(seeds), float(distance > 0))
    # No effect is enough where the quantile is infinite.
    reached = nctdtr(seeds - 1, np.sqrt(seeds) * distance / part.sd, np.minimum(needed, 1e9))
    # Far beyond the bound its series underflows to nan: there nothing is in doubt.
    return np.where(np.isinf(needed), 0.0, 1 - np.nan_to_num(reached, nan=0.0))


@cache
def _needed(seeds: tuple[int, ...], error: float) -> NDArray[np.float64]:
    """The rule's quantiles; every claim asks for the same ones."""
    return quantile(seeds, error)


def _inside(part: Measured, seeds: NDArray[np.int_], needed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that an interval lies inside of (-bound, bound)."""
    if not part.sd:
        return np.ones(len(seeds))
    n = seeds[:, None].astype(float)
    # Observed standard deviations over the true one: roots of chi-squared quantiles over their degrees of freedom.
    spread = np.sqrt(2 * gammaincinv((n - 1) / 2, (np.arange(_POINTS) + 0.5) / _POINTS) / (n - 1))
    high, low = ((end - part.mean) * np.sqrt(n) / part.sd for end in (part.bound, -part.bound))
    half = needed[:, None] * spread
    inside: NDArray[np.float64] = np.maximum(ndtr(high - half) - ndtr(low + half), 0.0).mean(1)
    return inside


def direction(parts: Sequence[Measured]) -> str:
    """The verdict that the parts of a claim are on the way to."""
    return HOLDS if all(part.is_as_claimed for part in parts) else FAILS


def lacking(parts: Sequence[Measured], seeds: NDArray[np.int_]) -> NDArray[np.float64]:
    """Probability, at most, that a claim in one feature space is not decided in its direction.

    Args:
        parts: all that the claim rests on there.
        seeds: numbers of seeds.
    """
    if direction(parts) == HOLDS:
        sums: NDArray[np.float64] = np.sum([1 - power(part, seeds) for part in parts], axis=0)
        return np.minimum(sums, 1.0)
    # Holm: the smallest p-value times the number of parts must be below the level.
    level = ERROR / len(parts)
    failing = [1 - power(part, seeds, level) for part in parts if not part.is_as_claimed]
    least: NDArray[np.float64] = np.min(failing, axis=0)
    return least


def seeds_needed(spaces: Sequence[Sequence[Measured]], more_than: int, most: int) -> tuple[int, float] | None:
    """The least number of seeds that decides a claim in all feature spaces, with its power; None if not even ``most`` do.

    Args:
        spaces: parts of the claim, for every space in which it is undecided.
        more_than: number of seeds today.
        most: largest number to look at.
    """
    seeds = np.arange(max(more_than + 1, 3), most + 1)
    reached = 1 - np.sum([lacking(parts, seeds) for parts in spaces], axis=0)
    enough = np.flatnonzero(reached >= WANTED)
    return (int(seeds[enough[0]]), float(reached[enough[0]])) if len(enough) else None
