"""Errors of scores and of what is computed from several: the formula, the algebra, and coverage by simulation."""

import math

import numpy as np
import pytest
from nepotism.data.jackknife import LeftOut, half_width, pooled_df, standard_error
from nepotism.data.tables import Row
from nepotism.families.gmm.family import _over_chains
from nepotism.families.lm.family import _without_parts
from nepotism.judge.contrasts import effect_of, mean, slope
from nepotism.judge.decisions import Effect, combined, decide
from nepotism.measure import scores

GROUPS, IMAGES, PER_GROUP, DIMENSIONS = 30, 40, 6, 16
# The j-th image of every group is block j.
BLOCKS = np.tile(np.arange(PER_GROUP), GROUPS)


# ---- The formula


def left_out(values, sizes, statistic=np.mean):
    """A statistic without each of the blocks that follow one another, in the test's own words."""
    ends = np.cumsum(sizes)
    kept = [np.r_[values[: end - size], values[end:]] for end, size in zip(ends, sizes, strict=True)]
    return LeftOut(tuple(sizes), tuple(float(statistic(each)) for each in kept))


def test_blocks_of_one_size_give_the_plain_jackknife():
    values = np.random.default_rng(0).normal(size=30)
    found = left_out(values, [5] * 6, np.median)
    without = np.array(found.values)
    plain = np.sqrt(5 / 6 * ((without - without.mean()) ** 2).sum())
    assert standard_error(float(np.median(values)), found) == pytest.approx(plain)


def test_the_error_of_unequal_blocks_is_the_one_computed_by_hand():
    """Blocks 1 | 2, 4 | 3, 6, 9: their pseudo-values of the mean are their means 1, 3 and 6, and the whole mean is 25 / 6."""
    values = np.array([1.0, 2, 4, 3, 6, 9])
    found = left_out(values, [1, 2, 3])
    assert found.values == pytest.approx((24 / 5, 19 / 4, 7 / 3))
    # (P_j - P)^2 / (h_j - 1) with h = 6, 3, 2.
    by_hand = ((1 - 25 / 6) ** 2 / 5 + (3 - 25 / 6) ** 2 / 2 + (6 - 25 / 6) ** 2 / 1) / 3
    assert standard_error(25 / 6, found) == pytest.approx(math.sqrt(by_hand))


def test_the_squared_error_of_a_mean_of_unequal_blocks_is_unbiased():
    """By simulation: it must average to the variance of the mean, which the plain formula misses by far."""
    rng, sizes = np.random.default_rng(1), [1, 2, 3, 14]
    squared, plain = [], []
    for values in rng.normal(size=(4000, 20)):
        found = left_out(values, sizes)
        squared.append(standard_error(values.mean(), found) ** 2)
        plain.append(3 / 4 * np.sum((np.array(found.values) - np.mean(found.values)) ** 2))
    assert np.mean(squared) == pytest.approx(1 / 20, rel=0.05)
    assert np.mean(plain) > 1.5 / 20


def test_what_no_block_changes_has_no_error_at_all():
    assert standard_error(1 / 3, LeftOut((30, 30, 29, 7), (1 / 3,) * 4)) == 0


def test_a_single_block_and_values_that_are_not_finite_have_no_error():
    assert standard_error(1.0, LeftOut((5,), (1.0,))) is None
    assert standard_error(1.0, LeftOut((5, 5), (1.0, math.nan))) is None
    assert standard_error(-math.inf, LeftOut((5, 5), (1.0, 2.0))) is None


def test_intervals_are_those_of_the_t_distribution():
    assert half_width(2.0, 5, 0.95) == pytest.approx(2 * 2.5706, rel=1e-4)
    assert half_width(2.0, math.inf, 0.90) == pytest.approx(2 * 1.6449, rel=1e-4)


def test_independent_errors_pool_their_degrees_of_freedom():
    assert pooled_df([(1.0, 5), (1.0, 5)]) == pytest.approx(10)
    assert pooled_df([(1.0, 5), (1.0, math.inf)]) == pytest.approx(20)
    assert pooled_df([(1.0, 5), (0.0, 5)]) == pytest.approx(5)
    assert pooled_df([(0.0, 5)]) == math.inf


# ---- Effects


def measured(statistic):
    """A statistic of 180 images as an effect."""
    estimate = scores.jackknife(statistic, BLOCKS)
    return Effect(estimate.value, estimate.se, estimate.df, estimate.left_out)


def test_whatever_is_computed_from_effects_has_the_error_of_doing_so_without_each_block():
    rng = np.random.default_rng(2)
    values = 5 + rng.normal(size=(3, len(BLOCKS))) + rng.normal(size=len(BLOCKS))
    one, two, three = (measured(lambda kept, row=row: float(row[kept].mean())) for row in values)

    def at_once(formula):
        return measured(lambda kept: formula(*values[:, kept].mean(axis=1)))

    for effect, formula in (
        (one - two, lambda a, b, c: a - b), (mean([one, two, three]), lambda a, b, c: (a + b + c) / 3),
        (slope([one, two, three]), lambda a, b, c: (c - a) / 2), (one.log() - two.log(), lambda a, b, c: math.log(a / b)),
        ((one - two) / three, lambda a, b, c: (a - b) / c), ((one - two) / 2.0, lambda a, b, c: (a - b) / 2),
        (mean([one.log(), two.log()]) - three.log(), lambda a, b, c: math.log(a * b) / 2 - math.log(c)),
    ):  # fmt: skip
        expected = at_once(formula)
        assert (effect.value, effect.se, effect.df) == pytest.approx((expected.value, expected.se, 5))
    assert (one - two).se < math.hypot(one.se, two.se) * 0.9, "what they have in common must cancel"
    assert (one - one).se == pytest.approx(0, abs=1e-12)


def test_effects_of_other_blocks_are_combined_as_independent():
    six, five = Effect(3.0, 0.3, 5, LeftOut((1,) * 6, (3.0,) * 6)), Effect(2.0, 0.4, 4, LeftOut((1,) * 5, (2.0,) * 5))
    difference = six - five
    assert (difference.value, difference.left_out) == (1, None)
    assert difference.se == pytest.approx(0.5)
    assert difference.df == pytest.approx(0.25**2 / (0.3**4 / 5 + 0.4**4 / 4))
    ratio = six / five
    assert ratio.se == pytest.approx(1.5 * math.hypot(0.3 / 3, 0.4 / 2))
    # Two of three share blocks: these jointly, and the third beside them.
    both = combined([(1.0, six), (-1.0, five), (-1.0, six)])
    assert (both.value, both.se) == pytest.approx((-2, 0.4))


def test_a_mean_keeps_the_usual_error_and_its_differences_have_the_joint_one():
    rng = np.random.default_rng(3)
    shared = rng.normal(size=len(BLOCKS))
    rows = []
    for _ in range(2):
        found = scores.mean(shared + 0.1 * rng.normal(size=len(BLOCKS)), BLOCKS)
        rows.append(
            Row("x", "none", "0", 0, 1, "samples", "clip", "clip_score", found.value, found.sd, found.se, *found.interval,
                found.n, found.left_out)
        )  # fmt: skip
    one, other = map(effect_of, rows)
    assert (one.se, one.df) == (rows[0].sd / math.sqrt(180), 179)
    assert rows[0].ci_high - rows[0].value == pytest.approx(1.97331 * one.se, rel=1e-5)
    assert (one / 2.0).se == pytest.approx(one.se / 2)
    assert (one - other).se < one.se / 3
    assert (one - other).df == 5


def test_logarithms_and_quotients_of_what_is_not_positive_have_no_error():
    below = Effect(1.0, 0.5, 2, LeftOut((1, 1, 1), (2.0, 0.0, 1.0)))
    assert below.log() == Effect(0.0, None)
    assert Effect(0.0, 0.1).log() == Effect(-math.inf, None)
    assert (Effect(1.0, 0.5, 2, LeftOut((1, 1, 1), (1.0,) * 3)) / below).se is None
    for nothing in (0.0, Effect(0.0, 0.1)):
        assert math.isnan((below / nothing).value)


def test_within_a_run_the_interval_has_as_many_degrees_of_freedom_as_its_effect():
    blocks = Effect(1.0, 0.1, 5, LeftOut((30,) * 6, tuple(1 + 0.05 * np.arange(6))))
    decision = decide([blocks], ">", 0)
    assert decision.high - 1 == pytest.approx(2.01505 * 0.1, rel=1e-4)
    # Two seeds that are measured against the same real images: their mean is no more certain than one of them.
    both = decide([blocks, blocks], ">", 0)
    assert both.high - 1 == pytest.approx(2.01505 * standard_error(1.0, blocks.left_out), rel=1e-4)


# ---- Families


def test_generations_of_a_language_model_are_compared_on_the_same_text():
    """Losses of one test text under two models: what is hard in the text is hard for both, and cancels in their difference."""
    rng = np.random.default_rng(5)
    hard = rng.normal(4, 1, size=125)
    rows = []
    for control, further in (("base", 0.0), ("none", 0.3)):
        losses = hard + further + 0.05 * rng.normal(size=125)
        kept = _without_parts(losses)
        value = math.exp(losses.mean())
        se = value * losses.std(ddof=1) / math.sqrt(125)
        rows.append(Row("x", control, "", 0, 0, "samples", "", "perplexity", value, None, se, None, None, 125, kept))
    assert sum(rows[0].left_out.images) == 125
    assert len(rows[0].left_out.images) == 10
    assert standard_error(rows[0].value, rows[0].left_out) == pytest.approx(rows[0].se, rel=0.5)
    rise = effect_of(rows[1]).log() - effect_of(rows[0]).log()
    assert rise.se < 0.02 < 0.5 * effect_of(rows[0]).log().se
    assert rise.df == 9


def test_means_over_chains_have_the_t_interval_of_their_number():
    score = _over_chains("variance", np.array([1.0, 2.0, 3.0]))
    assert score.ci_high - score.value == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)


# ---- Coverage: two arms that share noise and holdout, as the project's do


def pool(rng):
    """Images of a shared holdout's distribution, group by group."""
    return np.repeat(rng.normal(size=(GROUPS, DIMENSIONS)), IMAGES, axis=0)


def arms(centres, rng):
    """Features of 1,200 images of an arm that is near to real ones, and of one that is made from the same noise and farther."""
    noise = rng.normal(size=(3, *centres.shape))
    near = centres + noise[0] + 0.3 * noise[1]
    near[:, 0] += 0.2
    far = 0.9 * near + 0.3 * noise[2]
    far[:, 1] += 0.5
    return near, far


def subsample(rng):
    return np.concatenate([group * IMAGES + rng.permutation(IMAGES)[:PER_GROUP] for group in range(GROUPS)])


def contrasts(seeds, runs):
    """The contrast of ln F of every subsample and seed, with its errors."""
    rng = np.random.default_rng(4)
    centres = pool(rng)
    real = centres + rng.normal(size=centres.shape)
    of_seeds = [arms(centres, np.random.default_rng(seed)) for seed in range(seeds)]
    found = []
    for _ in range(runs):
        holdout = real[subsample(rng)]
        run = []
        for near, far in of_seeds:
            kept = subsample(rng)
            logs = [
                measured(lambda some, arm=arm[kept]: scores.frechet(arm[some], holdout[some])).log()  # noqa: B023
                for arm in (near, far)
            ]
            run.append((logs[1] - logs[0], math.hypot(*(each.se for each in logs))))
        found.append(run)
    return found


def test_paired_intervals_cover_the_expectation_at_this_n():
    """1,200 images an arm, 300 subsamples of 180: 90 % intervals of ln F contrasts cover in 88 to 94 % of them."""
    found = [run[0] for run in contrasts(seeds=1, runs=300)]
    values = np.array([effect.value for effect, _ in found])
    decisions = [decide([effect], ">", 0) for effect, _ in found]
    covered = np.mean([each.low <= values.mean() <= each.high for each in decisions])
    assert 0.88 <= covered <= 0.94
    # The joint error is the true one; adding the arms' own as independent doubles it.
    assert np.mean([effect.se for effect, _ in found]) == pytest.approx(values.std(ddof=1), rel=0.15)
    assert np.mean([added for _, added in found]) > 1.7 * values.std(ddof=1)


@pytest.mark.slow
def test_the_mean_of_two_seeds_has_the_error_of_the_holdout_that_they_share():
    found = contrasts(seeds=2, runs=300)
    means = [mean([effect for effect, _ in run]) for run in found]
    values = np.array([effect.value for effect in means])
    assert np.mean([effect.se for effect in means]) == pytest.approx(values.std(ddof=1), rel=0.15)
    decisions = [decide([effect for effect, _ in run], ">", 0) for run in found]
    assert 0.88 <= np.mean([each.low <= values.mean() <= each.high for each in decisions]) <= 0.96
