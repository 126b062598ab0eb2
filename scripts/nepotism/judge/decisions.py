"""The decision rule: from one effect per seed to a verdict.

[L, U] is the two-sided 90 % t interval of the effect over at least three seeds. "theta > c" holds if L > c and does not
hold if U < c; "abs(theta) < c" holds if [L, U] lies inside (-c, c) and does not hold if it lies wholly outside; else the
claim is undecided. A false "holds" at the boundary so happens in at most 5 % of experiments, for each claim. With fewer seeds
the verdict is undecided, and the interval shown is the one within the run. Where seeds are added after a look, the interval is
one that holds for any number of looks (`nepotism.judge.looks`), and the rest of the rule is the same.

Within a run, and between runs that share real images, effects are paired: block j holds the j-th image of every group, in
every arm and in the real images that all are measured against. So whatever is computed from effects whose blocks have the same
sizes is computed without each block too, and its error is the joint jackknife's (`nepotism.data.jackknife`), with blocks - 1
degrees of freedom. That also holds for the mean of one or two seeds: they differ in noise and share the holdout; were they
independent, the joint error would be right as well, only less certain. Effects of other blocks (captions never trained on
against the others; real images among themselves), or of none, are combined as independent, with the degrees of freedom of
Welch and Satterthwaite.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from nepotism.data.jackknife import LeftOut, half_width, pooled_df, standard_error
from nepotism.judge.looks import ONCE, REPEATED, Looks, p_value, quantile

Relation = Literal[">", "<", "abs <"]

HOLDS = "holds"
FAILS = "does not hold"
UNDECIDED = "undecided"
NOT_RUN = "not run"

LEAST_SEEDS = 3
CONFIDENCE = 0.9


@dataclass(frozen=True)
class Effect:
    """A value with its error within the run.

    Attributes:
        value: of all images.
        se: standard error, None where it has none.
        df: degrees of freedom of it; infinite if it is known.
        left_out: the value without each block of images, None where that is not known or not defined.
    """

    value: float
    se: float | None
    df: float = math.inf
    left_out: LeftOut | None = None

    def __sub__(self, other: "Effect") -> "Effect":
        return combined([(1.0, self), (-1.0, other)])

    def __truediv__(self, other: "Effect | float") -> "Effect":
        """By a constant, or by another effect; not a number, without error, for a divisor of 0."""
        if not isinstance(other, Effect):
            return combined([(1 / other, self)]) if other else Effect(math.nan, None)
        if not other.value:
            return Effect(math.nan, None)
        value = self.value / other.value
        if _share_blocks(self, other):
            divisors = _without(other)
            return _jackknifed(value, self, _without(self) / np.where(divisors == 0, np.nan, divisors))
        slopes = (1 / other.value, -value / other.value)
        return _independent(value, list(zip(slopes, (self, other), strict=True)))

    def log(self) -> "Effect":
        """Natural logarithm; minus infinity, without error, of a value of 0 or less."""
        if self.value <= 0:
            return Effect(-math.inf, None)
        value = math.log(self.value)
        if self.left_out:
            without = _without(self)
            return _jackknifed(value, self, np.log(np.where(without > 0, without, np.nan)))
        # The delta method.
        return _independent(value, [(1 / self.value, self)])


def combined(terms: Sequence[tuple[float, Effect]]) -> Effect:
    """Weighted sum of effects: those of the same blocks jointly, and what remains as independent."""
    parts: dict[object, list[tuple[float, Effect]]] = {}
    for index, (weight, effect) in enumerate(terms):
        parts.setdefault(effect.left_out.images if effect.left_out else index, []).append((weight, effect))
    sums = [_joint(part) for part in parts.values()]
    return sums[0] if len(sums) == 1 else _independent(sum(each.value for each in sums), [(1.0, each) for each in sums])


def _joint(terms: Sequence[tuple[float, Effect]]) -> Effect:
    """Weighted sum of effects of the same blocks; a single one keeps its own error."""
    value = sum(weight * effect.value for weight, effect in terms)
    weight, effect = terms[0]
    if effect.left_out is None:
        return _independent(value, terms)
    without = sum((weight * _without(effect) for weight, effect in terms), np.zeros(len(effect.left_out.images)))
    summed = _jackknifed(value, effect, without)
    if len(terms) > 1 or effect.se is None:
        return summed
    return replace(summed, se=abs(weight) * effect.se, df=effect.df)


def _share_blocks(one: Effect, other: Effect) -> bool:
    return one.left_out is not None and other.left_out is not None and one.left_out.images == other.left_out.images


def _without(effect: Effect) -> NDArray[np.float64]:
    assert effect.left_out is not None
    return np.array(effect.left_out.values)


def _jackknifed(value: float, like: Effect, without: NDArray[np.float64]) -> Effect:
    """A value with its values without the blocks of another effect; no error where one of them is not finite."""
    assert like.left_out is not None
    left_out = LeftOut(like.left_out.images, tuple(map(float, without)))
    se = standard_error(value, left_out)
    return Effect(value, None) if se is None else Effect(value, se, left_out.df, left_out)


def _independent(value: float, terms: Sequence[tuple[float, Effect]]) -> Effect:
    """A value whose slopes on independent effects are known; without error where one of them has none."""
    errors = [(abs(slope) * effect.se, effect.df) for slope, effect in terms if effect.se is not None]
    if len(errors) < len(terms) or not math.isfinite(value):
        return Effect(value, None)
    return Effect(value, math.hypot(*(se for se, _ in errors)), pooled_df(errors))


@dataclass(frozen=True)
class Decision:
    """A verdict on one relation.

    Attributes:
        value: mean effect over the seeds.
        low, high: 90 % interval, by the t distribution or for any number of looks; within the run for fewer than three seeds, None
            where there is none.
        seeds: number of seeds.
        verdict: `HOLDS`, `FAILS`, `UNDECIDED` or `NOT_RUN`.
        against: p-value of the test that it does not hold; 1 where there is no test.
    """

    value: float | None
    low: float | None
    high: float | None
    seeds: int
    verdict: str
    against: float = 1.0


def decide(effects: Sequence[Effect], relation: Relation, bound: float, looks: Looks = ONCE) -> Decision:
    """Judge "theta ``relation`` ``bound``" from one effect per seed.

    Args:
        effects: of every seed.
        relation, bound: what is claimed of theta.
        looks: whether the number of seeds was fixed before, or seeds may be added after a look.
    """
    if not effects:
        return Decision(None, None, None, 0, NOT_RUN)
    values = np.array([effect.value for effect in effects])
    if np.isnan(values).any() or (np.isinf(values).any() and len(set(values)) > 1):
        # A score of exactly 0 in one seed and not in another, or on both sides: there is no interval to judge by.
        return Decision(None, None, None, len(values), UNDECIDED)
    count, mean = len(values), float(values.mean())
    if count < LEAST_SEEDS:
        within = combined([(1 / count, effect) for effect in effects])
        half = None if within.se is None else half_width(within.se, within.df, CONFIDENCE)
        low, high = (None, None) if half is None else (mean - half, mean + half)
        return Decision(mean, low, high, count, UNDECIDED)
    se = float(values.std(ddof=1)) / math.sqrt(count) if np.isfinite(values).all() else 0.0
    half = margin(count, looks) * se
    low, high = mean - half, mean + half
    match relation:
        case ">":
            against = _p_value(bound - mean, se, count, looks)
            return Decision(mean, low, high, count, _verdict(low > bound, high < bound), against)
        case "<":
            against = _p_value(mean - bound, se, count, looks)
            return Decision(mean, low, high, count, _verdict(high < bound, low > bound), against)
        case "abs <":
            inside, outside = -bound < low and high < bound, high < -bound or low > bound
            against = min(_p_value(mean - bound, se, count, looks), _p_value(-bound - mean, se, count, looks))
            return Decision(mean, low, high, count, _verdict(inside, outside), against)


def _verdict(holds: bool, fails: bool) -> str:
    return HOLDS if holds else FAILS if fails else UNDECIDED


@cache
def margin(count: int, looks: Looks) -> float:
    """Half of the interval between ``count`` seeds, in standard errors of the mean."""
    return float(quantile(count)) if looks == REPEATED else half_width(1.0, count - 1, CONFIDENCE)


def _p_value(excess: float, se: float, count: int, looks: Looks) -> float:
    """One-sided p-value of an excess above 0, by the t distribution or for any number of looks; without any spread, 0 or 1."""
    if not se:
        return float(excess <= 0)
    return p_value(excess / se, count) if looks == REPEATED else float(stdtr(count - 1, -excess / se))


def conjunction(decisions: Sequence[Decision]) -> str:
    """Verdict on a claim of several parts: it holds if all do, and does not if one does not after Holm's correction."""
    verdicts = [decision.verdict for decision in decisions]
    if not verdicts or NOT_RUN in verdicts:
        return NOT_RUN
    if all(verdict == HOLDS for verdict in verdicts):
        return HOLDS
    failed = min(decision.against for decision in decisions) * len(decisions) < 0.05
    return FAILS if failed else UNDECIDED
