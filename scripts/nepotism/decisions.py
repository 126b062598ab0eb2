"""The decision rule: from one effect per seed to a verdict.

[L, U] is the two-sided 90 % t interval of the effect over at least three seeds. "theta > c" holds if L > c and does not
hold if U < c; "abs(theta) < c" holds if [L, U] lies inside (-c, c) and does not hold if it lies wholly outside; else the
claim is undecided. A false "holds" at the boundary so happens in at most 5 % of experiments. With fewer seeds the verdict
is undecided, and the interval shown is the one within the run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

Relation = Literal[">", "<", "abs <"]

HOLDS = "holds"
FAILS = "does not hold"
UNDECIDED = "undecided"
NOT_RUN = "not run"

LEAST_SEEDS = 3
# Two-sided 90 % of a normal distribution.
WITHIN_RUN = 1.645


@dataclass(frozen=True)
class Effect:
    """A value with its standard error within the run (None where it has none)."""

    value: float
    se: float | None

    def __sub__(self, other: "Effect") -> "Effect":
        return combined([(1.0, self), (-1.0, other)])

    def __truediv__(self, scale: float) -> "Effect":
        return combined([(1 / scale, self)])

    def log(self) -> "Effect":
        """Natural logarithm, the error by the delta method; minus infinity, without error, of a value of 0."""
        if self.value <= 0:
            return Effect(-math.inf, None)
        return Effect(math.log(self.value), None if self.se is None else self.se / self.value)


def combined(terms: Sequence[tuple[float, Effect]]) -> Effect:
    """Weighted sum of effects, their errors taken as independent."""
    value = sum(weight * effect.value for weight, effect in terms)
    errors = [(weight, effect.se) for weight, effect in terms if effect.se is not None]
    se = math.sqrt(sum((weight * error) ** 2 for weight, error in errors)) if len(errors) == len(terms) else None
    return Effect(value, se)


@dataclass(frozen=True)
class Decision:
    """A verdict on one relation.

    Attributes:
        value: mean effect over the seeds.
        low, high: 90 % interval; within the run for fewer than three seeds, None where there is none.
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


def decide(effects: Sequence[Effect], relation: Relation, bound: float) -> Decision:
    """Judge "theta ``relation`` ``bound``" from one effect per seed."""
    if not effects:
        return Decision(None, None, None, 0, NOT_RUN)
    values = np.array([effect.value for effect in effects])
    if np.isnan(values).any() or len(set(np.isinf(values))) > 1:
        # A score of exactly 0 in one seed and not in another, or on both sides: there is no interval to judge by.
        return Decision(None, None, None, len(values), UNDECIDED)
    count, mean = len(values), float(values.mean())
    if count < LEAST_SEEDS:
        se = combined([(1 / count, effect) for effect in effects]).se
        half = None if se is None else WITHIN_RUN * se
        low, high = (None, None) if half is None else (mean - half, mean + half)
        return Decision(mean, low, high, count, UNDECIDED)
    se = float(values.std(ddof=1)) / math.sqrt(count) if np.isfinite(values).all() else 0.0
    half = float(stdtrit(count - 1, 0.95)) * se
    low, high = mean - half, mean + half
    match relation:
        case ">":
            against = _p_value(bound - mean, se, count)
            return Decision(mean, low, high, count, _verdict(low > bound, high < bound), against)
        case "<":
            against = _p_value(mean - bound, se, count)
            return Decision(mean, low, high, count, _verdict(high < bound, low > bound), against)
        case "abs <":
            inside, outside = -bound < low and high < bound, high < -bound or low > bound
            against = min(_p_value(mean - bound, se, count), _p_value(-bound - mean, se, count))
            return Decision(mean, low, high, count, _verdict(inside, outside), against)


def _verdict(holds: bool, fails: bool) -> str:
    return HOLDS if holds else FAILS if fails else UNDECIDED


def _p_value(excess: float, se: float, count: int) -> float:
    """One-sided p-value of an excess above 0, by the t distribution; without any spread, 0 or 1."""
    return float(stdtr(count - 1, -excess / se)) if se else float(excess <= 0)


def conjunction(decisions: Sequence[Decision]) -> str:
    """Verdict on a claim of several parts: it holds if all do, and does not if one does not after Holm's correction."""
    verdicts = [decision.verdict for decision in decisions]
    if not verdicts or NOT_RUN in verdicts:
        return NOT_RUN
    if all(verdict == HOLDS for verdict in verdicts):
        return HOLDS
    failed = min(decision.against for decision in decisions) * len(decisions) < 0.05
    return FAILS if failed else UNDECIDED
