"""Which scores of two experiments differ, by intervals of their difference.

A score is compared with the one of the same arm, ratio, iteration, set, feature space and metric. The difference b - a of each has
an interval by the first of these rules that applies:

- `paired`: of three or more seeds that both have, the mean of the differences of each seed and their t interval. Equal seeds have
  equal noise where settings are equal; where they are not, the rule is right too, and only less sure than it could be.
- `welch`: of three or more seeds each, not the same ones: Welch's t interval of the difference of means.
- `within`: of one or two seeds that both have, the interval within these runs (`nepotism.judge.decisions`): by the joint jackknife
  where blocks are of the same sizes, else as independent with Welch's and Satterthwaite's degrees of freedom. It says nothing of
  how other seeds would differ.

Everything else is counted, and not tested.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from nepotism.judge.decisions import LEAST_SEEDS
from nepotism.share.score_tables import WHAT, Pair, Scores

# Two-sided level of single comparisons, and the share of false ones among those that are left after correction.
LEVEL = 0.05
# Relative difference of values that count as the same: machines round differently.
SAME = 1e-6


@dataclass(frozen=True)
class Difference:
    """One score in two experiments.

    Attributes:
        what: the columns of `score_tables.WHAT`.
        seeds: how many the rule rests on; of `welch`, those of both.
        a, b: means over these seeds.
        low, high: 95 % interval of b - a.
        p: of no difference; two-sided.
        q: the least share of false ones (Benjamini and Hochberg) at which it would still be counted as differing.
    """

    what: dict[str, str]
    rule: str
    seeds: int
    a: float
    b: float
    low: float
    high: float
    p: float
    q: float

    @property
    def differs(self) -> bool:
        """Whether the interval of this one comparison excludes 0."""
        return self.p < LEVEL

    @property
    def survives(self) -> bool:
        """Whether it does after correction for all comparisons."""
        return self.q < LEVEL


@dataclass(frozen=True)
class Comparison:
    """All scores of two experiments.

    Attributes:
        tested: those with an interval of their difference, the surest first.
        same: how many are the same, to six digits.
        other_n: how many distances of different numbers of images, which tell nothing.
        untested: how many have no interval: too few seeds in common, and none within the run.
        only: how many scores only a has, and only b.
        only_arms: arms that only a has, and only b.
    """

    tested: Sequence[Difference]
    same: int
    other_n: int
    untested: int
    only: tuple[int, int]
    only_arms: tuple[list[str], list[str]]


def compare_scores(pair: Pair) -> Comparison:
    """Compare every score that both experiments have."""
    a, b, count = pair.a, pair.b, len(pair)
    codes_a, codes_b = a.what, b.what
    in_a, in_b = np.bincount(codes_a, minlength=count), np.bincount(codes_b, minlength=count)
    usable = _comparable(a, b, codes_a, codes_b, count)
    pairs = _Pairs(a, b, codes_a, codes_b, count)
    shared = pairs.seeds

    paired = usable & (shared >= LEAST_SEEDS)
    welch = usable & ~paired & (in_a >= LEAST_SEEDS) & (in_b >= LEAST_SEEDS)
    within = usable & ~paired & ~welch & (shared > 0)
    mean_a, mean_b = _means(a.value, codes_a, count), _means(b.value, codes_b, count)
    mean_a, mean_b = np.where(welch, mean_a, pairs.mean_a), np.where(welch, mean_b, pairs.mean_b)
    se, df = np.full(count, np.nan), np.full(count, np.nan)
    se[paired], df[paired] = pairs.between()[paired], shared[paired] - 1
    spread = [
        _variance(scores.value, code, count) / np.maximum(seeds, 1)
        for scores, code, seeds in ((a, codes_a, in_a), (b, codes_b, in_b))
    ]
    between = _satterthwaite([(spread[0], in_a - 1), (spread[1], in_b - 1)])
    se[welch], df[welch] = between[0][welch], between[1][welch]
    # Scores that no seed changes, such as those of real images, have no spread between seeds; they have one within.
    scale = np.maximum(np.abs(mean_a), np.abs(mean_b))
    constant = paired & (se <= SAME * scale)
    inside = pairs.within(within | constant)
    se[within | constant], df[within | constant] = (each[within | constant] for each in inside)

    both = (in_a > 0) & (in_b > 0)
    gap = mean_b - mean_a
    same = usable & (paired | welch | within) & (np.abs(gap) <= SAME * scale)
    # An error of 0, of a share that no block changes, is none to judge by.
    tested = usable & ~same & (se > SAME * scale) & np.isfinite(se + gap) & (df > 0)
    rules = np.where(welch, "welch", np.where(within | constant, "within", "paired"))
    seeds = np.where(welch, in_a + in_b, shared)
    t = np.divide(gap, se, out=np.full(count, np.nan), where=tested)
    p = np.where(tested, 2 * stdtr(np.where(tested, df, 1), -np.abs(np.where(tested, t, 0))), np.nan)
    q = np.full(count, np.nan)
    q[tested] = corrected(p[tested])
    half = stdtrit(np.where(tested, df, 1), 1 - LEVEL / 2) * se
    order = np.flatnonzero(tested)
    order = order[np.lexsort((-np.abs(t[order]), p[order]))]
    named = list(zip(WHAT, pair.names, strict=True))
    columns = [each[order].tolist() for each in (rules, seeds, mean_a, mean_b, gap - half, gap + half, p, q)]
    return Comparison(
        [
            Difference({name: values[code] for name, values in named}, *rest)
            for code, *rest in zip(order.tolist(), *columns, strict=True)
        ],
        int(same.sum()),
        int((both & ~usable).sum()),
        int((both & usable & ~same & ~tested).sum()),
        (int(((in_a > 0) & ~both).sum()), int(((in_b > 0) & ~both).sum())),
        _only_arms(pair.names[0], in_a > 0, in_b > 0),
    )


def corrected(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini and Hochberg's adjusted p-values (J. R. Stat. Soc. B 57, 1995): for independent or positively dependent tests."""
    if not len(p):
        return p
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(p[order] * len(p) / ranks), 1.0)
    return adjusted


# An experiment's scores, which of its rows, and the sign of its mean.
_Side = tuple[Scores, NDArray[np.int64], int]


class _Pairs:
    """Rows of one score and seed in both experiments, by score.

    Attributes:
        seeds: int (scores,), how many seeds both have.
        mean_a, mean_b: over these.
    """

    def __init__(self, a: Scores, b: Scores, codes_a: NDArray, codes_b: NDArray, count: int) -> None:
        self._count = count
        most = 1 + max((int(scores.seed.max()) for scores in (a, b) if len(scores.seed)), default=0)
        key_a, key_b = codes_a * np.int64(most) + a.seed, codes_b * np.int64(most) + b.seed
        # Sorted by score, so that the seeds of one follow each other.
        common, self._in_a, self._in_b = np.intersect1d(key_a, key_b, return_indices=True)
        self._a, self._b, self._codes = a, b, common // most
        self.seeds = np.bincount(self._codes, minlength=count)
        self.mean_a = _means(a.value[self._in_a], self._codes, count)
        self.mean_b = _means(b.value[self._in_b], self._codes, count)

    def between(self) -> NDArray[np.float64]:
        """Standard error of the mean difference, by the differences of each seed."""
        gaps = self._b.value[self._in_b] - self._a.value[self._in_a]
        return np.sqrt(_variance(gaps, self._codes, self._count) / np.maximum(self.seeds, 1))

    def within(self, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Standard error within the runs of the mean difference, and its degrees of freedom; nan where a row has none.

        Args:
            wanted: (scores,), those to compute.
        """
        sides = ((self._a, self._in_a, -1), (self._b, self._in_b, 1))
        se, df = _satterthwaite([self._own(side, wanted & (self.seeds > 1)) for side in sides])
        self._put_joint(se, df, sides, wanted)
        return se, df

    def _own(self, side: _Side, shared: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Squared error of one experiment's mean over the seeds, and its df; where seeds are ``shared``, jointly."""
        scores, rows, _ = side
        # Every row's own error, as `nepotism.judge.contrasts.effect_of` takes it.
        df = np.where(np.isnan(scores.sd) & (scores.blocks > 0), scores.blocks, scores.n)[rows] - 1
        square = (scores.se[rows] / self.seeds[self._codes]) ** 2
        total = np.where(self.seeds > 0, _sums(square, self._codes, self._count), np.nan)
        fourth = _sums(square**2 / np.maximum(df, 1), self._codes, self._count)
        se, together = np.sqrt(total), np.divide(total**2, fourth, out=np.full(self._count, np.inf), where=fourth > 0)
        self._put_joint(se, together, (side,), shared)
        return se**2, together

    def _put_joint(self, se: NDArray, df: NDArray, sides: Sequence[_Side], wanted: NDArray[np.bool_]) -> None:
        """Put the joint jackknife's errors in the place of others, where all rows of a score have blocks of the same sizes.

        Args:
            se, df: (scores,), to change.
            sides: experiments whose means are summed, with signs.
            wanted: (scores,), those to look at.
        """
        begins = np.searchsorted(self._codes, np.arange(self._count))
        first = sides[0][0].blocks[sides[0][1]]
        for size in np.unique(first[wanted[self._codes]]):
            if size < 2:
                continue
            alike = np.all([scores.blocks[rows] == size for scores, rows, _ in sides], 0) & wanted[self._codes]
            whole = np.bincount(self._codes[alike], minlength=self._count) == self.seeds
            taken = np.flatnonzero(alike & whole[self._codes])
            codes = self._codes[taken]
            at = [scores.first[rows[taken]][:, None] + np.arange(size) for scores, rows, _ in sides]
            images = [scores.left_out[place] for (scores, _, _), place in zip(sides, at, strict=True)]
            # The first row of each score says how large its blocks are.
            like = images[0][np.searchsorted(taken, begins[codes])]
            fits = np.all([(each == like).all(1) for each in images], 0)
            summed = sum(sign * scores.without[place] for (scores, _, sign), place in zip(sides, at, strict=True))
            values = sum(sign * scores.value[rows[taken]] for scores, rows, sign in sides)
            score, heads, inverse = np.unique(codes, return_index=True, return_inverse=True)
            without = np.stack([_means(np.asarray(summed)[:, j], inverse, len(score)) for j in range(size)], 1)
            errors = standard_errors(_means(np.asarray(values), inverse, len(score)), without, like[heads])
            kept = np.bincount(inverse[fits], minlength=len(score)) == self.seeds[score]
            se[score[kept]], df[score[kept]] = errors[kept], size - 1


def standard_errors(
    value: NDArray[np.float64], without: NDArray[np.float64], images: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The delete-m_j jackknife's standard errors of many values: `nepotism.data.jackknife.standard_error` of each.

    Args:
        value: (values,).
        without: (values, blocks), without each block.
        images: (values, blocks), how many images these have.
    """
    times = images.sum(1, keepdims=True) / images
    changes = without - value[:, None]
    apart = ((1 - 1 / times) * changes).sum(1, keepdims=True) - (times - 1) * changes
    return np.asarray(np.sqrt((apart**2 / (times - 1)).mean(1)))


def _comparable(a: Scores, b: Scores, codes_a: NDArray, codes_b: NDArray, count: int) -> NDArray[np.bool_]:
    """Whether each score is of as many images everywhere, or a mean: a distance depends on their number."""
    codes, n = np.concatenate([codes_a, codes_b]), np.concatenate([a.n, b.n])
    no_mean = np.isnan(np.concatenate([a.sd, b.sd]))
    least, most = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(least, codes, n)
    np.maximum.at(most, codes, n)
    distance = np.zeros(count, bool)
    distance[codes[no_mean]] = True
    return (least == most) | ~distance


def _only_arms(arms: Sequence[str], in_a: NDArray, in_b: NDArray) -> tuple[list[str], list[str]]:
    of_a, of_b = ({arms[int(code)] for code in np.flatnonzero(present)} for present in (in_a, in_b))
    return sorted(of_a - of_b), sorted(of_b - of_a)


def _sums(values: NDArray, codes: NDArray, count: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(codes, weights=values, minlength=count), np.float64)


def _means(values: NDArray, codes: NDArray, count: int) -> NDArray[np.float64]:
    """Mean of the values of each code; nan without any."""
    sums, counts = _sums(values, codes, count), np.bincount(codes, minlength=count)
    return np.divide(sums, counts, out=np.full(count, np.nan), where=counts > 0)


def _variance(values: NDArray, codes: NDArray, count: int) -> NDArray[np.float64]:
    """Variance of the values of each code, over one less than their number; nan for fewer than two."""
    apart = _sums((values - _means(values, codes, count)[codes]) ** 2, codes, count)
    counts = np.bincount(codes, minlength=count)
    return np.divide(apart, counts - 1, out=np.full(count, np.nan), where=counts > 1)


def _satterthwaite(terms: Sequence[tuple[NDArray, NDArray]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard errors of sums of independent values, and their degrees of freedom; terms are squared errors with df."""
    total = sum(square for square, _ in terms)
    fourth = sum(square**2 / np.maximum(df, 1) for square, df in terms)
    df = np.divide(np.square(total), fourth, out=np.full(len(terms[0][0]), np.inf), where=np.asarray(fourth) > 0)
    return np.sqrt(total), df
