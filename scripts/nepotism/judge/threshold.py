"""From which ratio on, and after how many retrainings, collapse begins: thresholds between the cells of an arm.

Of every seed, theta(r, i) is the logarithm of a distance at ratio r and iteration i minus that at 0 % of the same iteration, as in
claim 2; collapse has begun where it exceeds delta. Theta is 0 at ratio 0 and at iteration 0 by definition, and more generated
rows, or more retrainings, are taken not to do less harm: each seed's thetas are fitted by the table that is nearest to them,
decreases along neither axis and is nowhere below 0. (Of a regression with a lower bound, that is the regression without it, cut
off there.) Where the fit crosses delta, between two ratios that were run, is the seed's threshold; seeds differ by the t interval
of its logit. No number stands for a threshold that lies beyond the ratios that were run: its bounds do.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, binomtest, ecdf

from nepotism.judge.contrasts import DELTA, Distance, MissingError, ScoreTable
from nepotism.judge.decisions import CONFIDENCE, LEAST_SEEDS, margin
from nepotism.judge.looks import ONCE, Looks
from nepotism.judge.monotone import isotonic

# Of chains that are longer, so many iterations are looked at, spread evenly, the last among them.
MOST_ITERATIONS = 50

# Where a seed's threshold lies; what is known of all seeds' together.
BETWEEN, ABOVE, UNDEFINED = "between", "above all ratios", "undefined"
INTERVAL, BOUNDED, FEW = "interval", "bounded", "too few seeds"


@dataclass(frozen=True)
class Surface:
    """One seed's thetas.

    Attributes:
        ratios: above 0, in percent, ascending.
        iterations: ascending.
        values: float (ratios, iterations); what is not there, or not defined, is nan.
        fitted: the same, increasing along both axes and nowhere below 0; None where a value is nan.
    """

    seed: int
    ratios: tuple[str, ...]
    iterations: tuple[int, ...]
    values: NDArray[np.float64]
    fitted: NDArray[np.float64] | None


@dataclass(frozen=True)
class Threshold:
    """A row of threshold.csv: the ratio at which theta exceeds delta, of one seed or of all.

    Attributes:
        features, statistic: of the distance; ``fid``, its ``excess``, or the headline of another family.
        iteration: at which.
        seed: empty for all seeds.
        state: of a seed: ``between`` two ratios, ``above all ratios`` or ``undefined``. Of all: ``interval``,
            ``bounded`` if some seed's is not between two ratios, ``too few seeds`` or ``undefined``.
        ratio: in percent: where the fit crosses delta; of all seeds the mean on the logit scale. Empty where it is not known.
        low, high: of a seed, the ratios that were run between which it lies, 0 counting as one, empty where there is none above; of
            all, the 90 % interval, or the bounds of all seeds' thresholds.
        note: why there is no interval.
    """

    arm: str
    features: str
    statistic: str
    iteration: int
    seed: str
    state: str
    ratio: float | None
    low: float | None
    high: float | None
    note: str = ""


@dataclass(frozen=True)
class Survival:
    """A row of survival.csv: how many seeds have not exceeded delta by an iteration.

    Attributes:
        seeds: in all.
        exceeded: at this iteration or before, whether they stayed there or not.
        back: those of them whose theta at this iteration is not above delta.
        survival: Kaplan and Meier's estimate.
        ci90_low, ci90_high: its exact (Clopper and Pearson) 90 % interval. All seeds are censored at the last iteration only, so that
            the estimate is a share of the seeds; Greenwood's interval is not defined at 0 and 1, where few seeds often are.
    """

    arm: str
    features: str
    statistic: str
    ratio: str
    iteration: int
    seeds: int
    exceeded: int
    back: int
    survival: float
    ci90_low: float
    ci90_high: float


@dataclass(frozen=True)
class Measured:
    """All seeds of an arm in one feature space, by one distance."""

    arm: str
    features: str
    statistic: str
    surfaces: tuple[Surface, ...]

    @property
    def name(self) -> tuple[str, str, str]:
        """What its rows of tables begin with."""
        return self.arm, self.features, self.statistic


def add_arms(parser: argparse.ArgumentParser) -> None:
    """What thresholds are computed from."""
    parser.add_argument("--metric", required=True, help="distance whose logarithm is compared")
    parser.add_argument(
        "--arms", nargs="*", default=[], help="as name:plain, with the arm at whose 0 %% nothing was generated"
    )
    parser.add_argument("--metrics", type=Path, required=True, help="tables/metrics.csv")


def measured(scores: ScoreTable, arms: Sequence[tuple[str, str]], metric: str) -> Iterator[Measured]:
    """Thetas of every arm, feature space and distance.

    Args:
        scores: of the experiment.
        arms: each with the plain mixture of its own settings at 0 %.
        metric: of distances: ``fid``, which has an excess over that of real images from others, or the headline of a family.
    """
    distances: dict[tuple[str, str], Distance] = {}
    if metric == "fid":
        for space in scores.spaces:
            distances |= {(space, "fid"): scores.log_fid(space), (space, "excess"): scores.log_excess(space)}
    else:
        distances["", metric] = lambda cell, seed: scores.value(cell, seed, metric, "").log()
    for arm, plain in arms:
        for (space, statistic), distance in distances.items():
            surfaces = tuple(surface(scores, distance, arm, plain, seed) for seed in scores.seeds)
            if surfaces and surfaces[0].ratios:
                yield Measured(arm, space, statistic, surfaces)


def surface(scores: ScoreTable, distance: Distance, arm: str, plain: str, seed: int) -> Surface:
    """One seed's thetas, and their fit."""
    ratios = tuple(ratio for ratio in scores.ratios_of(arm) if float(ratio) > 0)
    iterations = spread([i for i in scores.iterations(arm) if i in set(scores.iterations(plain))])

    def theta(ratio: str, iteration: int) -> float:
        try:
            one, real = (distance((name, at, iteration), seed) for name, at in ((arm, ratio), (plain, "0")))
        except MissingError:
            return math.nan
        # A distance of 0 or less has no logarithm: minus infinity is no theta, nor is what exceeds it by infinity.
        value = one.value - real.value
        return value if math.isfinite(value) else math.nan

    values = np.array([[theta(ratio, iteration) for iteration in iterations] for ratio in ratios], float)
    known = values.size > 0 and not np.isnan(values).any()
    return Surface(seed, ratios, iterations, values, np.maximum(isotonic(values), 0.0) if known else None)


def spread(iterations: Sequence[int]) -> tuple[int, ...]:
    """At most `MOST_ITERATIONS` of them, the last among them."""
    count = len(iterations)
    if count <= MOST_ITERATIONS:
        return tuple(iterations)
    return tuple(iterations[(step + 1) * count // MOST_ITERATIONS - 1] for step in range(MOST_ITERATIONS))


def thresholds(found: Measured, looks: Looks = ONCE) -> Iterator[Threshold]:
    """The threshold of each seed, and of all, at every iteration."""
    for column, iteration in enumerate(found.surfaces[0].iterations):
        seeds = [crossing(each, column) for each in found.surfaces]
        named = (*found.name, iteration)
        for each, (state, ratio, low, high) in zip(found.surfaces, seeds, strict=True):
            yield Threshold(*named, str(each.seed), state, ratio, low, high)
        state, ratio, low, high, note = between(seeds, [each.seed for each in found.surfaces], looks)
        yield Threshold(*named, "", state, ratio, low, high, note)


# State, ratio, low and high of a threshold.
Crossing = tuple[str, float | None, float | None, float | None]


def crossing(of: Surface, column: int) -> Crossing:
    """Where the fit of one iteration crosses delta, by linear interpolation between the ratios that were run.

    0 % is one of them: there theta is 0 by definition, so that a threshold below all others lies between it and the least.
    """
    if of.fitted is None:
        return UNDEFINED, None, None, None
    ratios, fitted = [0.0, *map(float, of.ratios)], np.array([0.0, *of.fitted[:, column]])
    first = int(np.searchsorted(fitted, DELTA, side="right"))
    if first == len(ratios):
        return ABOVE, None, ratios[-1], None
    low, high = ratios[first - 1], ratios[first]
    share = (DELTA - fitted[first - 1]) / (fitted[first] - fitted[first - 1])
    return BETWEEN, low + float(share) * (high - low), low, high


def between(
    crossings: Sequence[Crossing], seeds: Sequence[int], looks: Looks = ONCE
) -> tuple[str, float | None, float | None, float | None, str]:
    """What is known of all seeds' thresholds: the 90 % t interval of the logit of their ratios, or bounds and why there is none."""

    def those(state: str) -> str:
        return ", ".join(str(seed) for seed, each in zip(seeds, crossings, strict=True) if each[0] == state)

    if undefined := those(UNDEFINED):
        return UNDEFINED, None, None, None, f"a score of seed {undefined} is missing, or not above its floor"
    lows, highs = [each[2] for each in crossings], [each[3] for each in crossings]
    if above := those(ABOVE):
        return BOUNDED, None, min(low for low in lows if low is not None), None, f"no ratio exceeds at seed {above}"
    ratios = np.array([each[1] for each in crossings], float)
    if len(ratios) < LEAST_SEEDS:
        note = f"an interval takes {LEAST_SEEDS} seeds"
        return FEW, None, float(min(lows)), float(max(highs)), note  # type: ignore[type-var, arg-type]
    logits = np.log(ratios / (100 - ratios))
    mean, half = float(logits.mean()), margin(len(ratios), looks) * float(logits.std(ddof=1)) / math.sqrt(len(ratios))
    ratio, low, high = (100 / (1 + math.exp(-logit)) for logit in (mean, mean - half, mean + half))
    return INTERVAL, ratio, low, high, ""


def survivals(found: Measured) -> Iterator[Survival]:
    """How many seeds have not exceeded delta yet, by ratio and iteration; nothing of ratios with a score that is not known."""
    iterations, count = found.surfaces[0].iterations, len(found.surfaces)
    for row, ratio in enumerate(found.surfaces[0].ratios):
        values = np.array([each.values[row] for each in found.surfaces])
        if np.isnan(values).any():
            continue
        over = values > DELTA
        # By position in the iterations; what never exceeds is censored at the last.
        first = [int(each.argmax()) if each.any() else None for each in over]
        seen = [iterations[at] for at in first if at is not None]
        censored = [iterations[-1]] * (count - len(seen))
        curve = ecdf(CensoredData(uncensored=seen, right=censored)).sf
        for at, (iteration, survival) in enumerate(zip(iterations, curve.evaluate(iterations), strict=True)):
            begun = np.array([begin is not None and begin <= at for begin in first])
            exceeded, back = int(begun.sum()), int((begun & ~over[:, at]).sum())
            interval = binomtest(count - exceeded, count).proportion_ci(CONFIDENCE, method="exact")
            yield Survival(
                *found.name, ratio, iteration, count, exceeded, back, float(survival), float(interval.low), float(interval.high)
            )  # fmt: skip
