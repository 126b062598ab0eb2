"""Intervals for any number of looks: how often they are wrong, by simulation where the effect is exactly its bound."""

import numpy as np
import pytest
from nepotism.families.diffusion.claims import judge
from nepotism.judge.decisions import FAILS, HOLDS, UNDECIDED, Effect, conjunction, decide
from nepotism.judge.looks import ERROR, ONCE, REPEATED, SCALE, log_evidence, p_value, quantile
from nepotism.judge.verdicts import MANY_LOOKS, Claim, by_space, joined, told_looks
from nepotism.plan.config import checked
from nepotism.plan.grid import Grid
from nepotism.plan.settings import settings
from scipy import integrate, stats
from test_claims import ARMS, table
from test_pages import resolved

BOUND = 0.2
# Ten looks, from the least number of seeds that is judged on.
LOOKS = (3, 4, 5, 6, 8, 10, 13, 16, 24, 40)


def running_t(experiments, seeds, rng, mean=0.0):
    """The t statistic of every experiment after 1, 2 ... seeds, of effects that are ``mean`` standard deviations above the bound."""
    effects = rng.normal(mean, 1, (experiments, seeds))
    count = np.arange(1, seeds + 1)
    means = effects.cumsum(1) / count
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = ((effects**2).cumsum(1) - count * means**2) / (count - 1)
        return means * np.sqrt(count / variances)


def most(share, experiments):
    """The largest share of experiments that a probability of ``share`` explains, at three standard errors."""
    return share + 3 * np.sqrt(share * (1 - share) / experiments)


@pytest.mark.parametrize(("relation", "bound"), [(">", BOUND), ("<", BOUND), ("abs <", BOUND), ("abs <", 0.05)])
def test_at_most_five_percent_ever_hold_wrongly_in_ten_looks_of_the_rule_itself(relation, bound):
    """By `decide`, theta = c; of abs(theta) < c also where both ends of the interval matter."""
    rng, experiments = np.random.default_rng(7), 2000
    wrong = 0
    for values in rng.normal(bound, 0.1, (experiments, LOOKS[-1])):
        effects = [Effect(value, None) for value in values]
        wrong += any(decide(effects[:count], relation, bound, REPEATED).verdict == HOLDS for count in LOOKS)
    assert wrong / experiments <= most(ERROR, experiments)


def test_at_most_five_percent_are_ever_wrong_however_one_looks_and_a_single_looks_interval_is_not_enough():
    rng, experiments, seeds = np.random.default_rng(1), 20_000, 100
    t = running_t(experiments, seeds, rng)[:, 2:]
    counts = np.arange(3, seeds + 1)
    # After every single seed: whoever looks at fewer of them, chosen by whatever was seen, is wrong in fewer experiments.
    always = (t > quantile(counts)).any(1).mean()
    assert 0.02 <= always <= most(ERROR, experiments)
    columns = [count - 3 for count in LOOKS]
    assert (t > quantile(counts))[:, columns].any(1).mean() <= always
    assert (t > stats.t.ppf(1 - ERROR, counts - 1))[:, columns].any(1).mean() > 2 * ERROR


def test_below_the_bound_it_is_wrong_more_rarely():
    rng = np.random.default_rng(2)
    counts = np.arange(3, 41)
    wrong = [(running_t(10_000, 40, rng, mean)[:, 2:] > quantile(counts)).any(1).mean() for mean in (0.0, -0.2, -1.0)]
    assert wrong[0] > wrong[1] > wrong[2]


@pytest.mark.parametrize("error", [ERROR, ERROR / 4])
def test_p_values_are_below_a_level_as_rarely_as_the_level_says(error):
    rng, experiments = np.random.default_rng(3), 20_000
    counts = np.arange(3, 41)
    evidence = log_evidence(running_t(experiments, 40, rng)[:, 2:], counts)
    assert (np.exp(-evidence) < error).any(1).mean() <= most(error, experiments)
    assert p_value(float(quantile(12, error)), 12) == pytest.approx(error)
    assert p_value(-3.0, 12) == 1.0


def test_who_looks_once_and_adds_seeds_only_where_that_did_not_decide_is_wrong_in_six_percent():
    """What docs/explanation/statistics.md says of an experiment that was not meant to be looked at again."""
    rng, experiments, seeds = np.random.default_rng(4), 50_000, 64
    t = running_t(experiments, seeds, rng)
    later = t[:, 4:] > quantile(np.arange(5, seeds + 1))
    wrong = ((t[:, 3] > stats.t.ppf(1 - ERROR, 3)) | later.any(1)).mean()
    assert 0.05 < wrong < 0.065


# ---- What the quantile is


@pytest.mark.parametrize("seeds", [3, 4, 7, 20])
def test_evidence_is_the_mean_likelihood_ratio_of_half_normal_effects(seeds):
    """Its closed form against the integral of noncentral t densities over the mixture."""
    for t in (-1.0, 0.5, 2.0, 6.0):
        null = stats.t.pdf(t, seeds - 1)

        def ratio(effect, t=t, null=null):
            density = stats.nct.pdf(t, seeds - 1, effect * np.sqrt(seeds)) / null
            return density * stats.halfnorm.pdf(effect, scale=SCALE)

        expected = integrate.quad(ratio, 0, 8 * SCALE, limit=200)[0]
        assert np.exp(log_evidence(t, seeds)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("seeds", [3, 4, 12])
def test_at_the_bound_evidence_is_1_on_average(seeds):
    mean = integrate.quad(lambda t: np.exp(log_evidence(t, seeds)) * stats.t.pdf(t, seeds - 1), -np.inf, np.inf)[0]
    assert mean == pytest.approx(1, rel=1e-4)


def test_the_quantile_is_finite_from_three_seeds_on_and_wider_than_that_of_a_single_look():
    counts = np.arange(3, 101)
    assert (quantile(counts) > stats.t.ppf(1 - ERROR, counts - 1)).all()
    assert quantile([3, 4, 6, 12, 32]) == pytest.approx([11.26, 5.12, 3.97, 3.44, 3.28], abs=0.01)
    # Three seeds are never enough for a level as low as this.
    assert np.isinf(quantile(3, ERROR / 4))
    rising = log_evidence(np.linspace(-5, 50, 500), 5)
    assert (np.diff(rising) > 0).all()


# ---- The rule, and where it is told


def test_one_look_decides_as_it_always_did_and_many_looks_with_wider_intervals():
    effects = [Effect(value, None) for value in (0.30, 0.34, 0.38, 0.26)]
    once, repeated = decide(effects, ">", BOUND), decide(effects, ">", BOUND, REPEATED)
    assert once == decide(effects, ">", BOUND, ONCE)
    assert (once.verdict, repeated.verdict) == (HOLDS, UNDECIDED)
    assert once.value == repeated.value
    widths = [decision.high - decision.low for decision in (once, repeated)]
    assert widths[1] / widths[0] == pytest.approx(quantile(4) / stats.t.ppf(0.95, 3))
    assert repeated.against == 1.0
    assert decide(effects[:2], ">", BOUND, REPEATED) == decide(effects[:2], ">", BOUND)
    same = [Effect(1.0, None)] * 3
    assert decide(same, "<", 0.5, REPEATED).verdict == FAILS
    assert conjunction([decide(same, "<", 0.5, REPEATED)]) == FAILS


def test_every_part_of_every_claim_is_judged_by_the_same_intervals():
    once, repeated = (judge(table(), ARMS, looks)[1] for looks in (ONCE, REPEATED))
    factor = float(quantile(3)) / stats.t.ppf(0.95, 2)
    for one, other in zip(once, repeated, strict=True):
        if one.decision.low is None or one.decision.high - one.decision.low < 1e-9:
            continue
        widths = [part.decision.high - part.decision.low for part in (one, other)]
        assert widths[1] / widths[0] == pytest.approx(factor)


def test_the_table_of_claims_says_by_which_intervals_it_was_judged():
    claims = [Claim(1, "a", "", HOLDS, "", "", ""), Claim(2, "b", "", HOLDS, "", "", "so")]
    assert told_looks(claims, ONCE) == claims
    assert [claim.note for claim in told_looks(claims, REPEATED)] == [MANY_LOOKS, f"so; {MANY_LOOKS}"]


@pytest.mark.parametrize("file", ["digits", "gmm"])
def test_tables_of_one_look_are_made_with_the_options_that_they_always_had(file):
    config = resolved([f"resources/experiments/{file}.yaml"])
    assert config["looks"] == ONCE
    assert "--looks" not in settings(Grid(config), "claims", None, 0)
    assert "--looks repeated" in settings(Grid(checked(config | {"looks": REPEATED})), "claims", None, 0)


def test_verdicts_that_differ_between_spaces_are_taken_apart():
    assert by_space("holds") == {"": "holds"}
    assert by_space("undecided (starved)") == {"": "undecided (starved)"}
    mixed = "undecided (clip, conv); not run: branch not degraded (inception)"
    spaces = {"clip": UNDECIDED, "conv": UNDECIDED, "inception": "not run: branch not degraded"}
    assert by_space(mixed) == spaces
    assert joined(spaces) == mixed
