"""How many seeds would decide a claim: power against simulations of the rule itself."""

import numpy as np
import pytest
from nepotism.judge.decisions import FAILS, HOLDS, REPEATED, Effect, conjunction, decide
from nepotism.judge.looks import quantile
from nepotism.judge.power import WANTED, Measured, direction, power, seeds_needed
from scipy import stats

COUNTS = np.array([3, 4, 6, 9, 15, 30])


def simulated(part, count, verdict, experiments=1500):
    rng = np.random.default_rng(count)
    drawn = rng.normal(part.mean, part.sd, (experiments, count))
    found = [decide([Effect(value, None) for value in values], part.relation, part.bound, REPEATED) for values in drawn]
    return np.mean([decision.verdict == verdict for decision in found])


@pytest.mark.parametrize(
    ("part", "verdict"),
    [
        (Measured(">", 0.2, 0.5, 0.2), HOLDS), (Measured(">", 0.2, 0.0, 0.15), FAILS), (Measured("<", 0.2, -0.1, 0.25), HOLDS),
        (Measured("<", 0.2, 0.4, 0.2), FAILS), (Measured("abs <", 0.2, 0.05, 0.1), HOLDS),
        (Measured("abs <", 0.2, -0.15, 0.03), HOLDS), (Measured("abs <", 0.2, -0.4, 0.15), FAILS),
    ],
)  # fmt: skip
def test_power_is_how_often_the_rule_decides(part, verdict):
    assert direction([part]) == verdict
    for count in (4, 9):
        expected = power(part, np.array([count]))[0]
        share = simulated(part, count, verdict)
        assert share == pytest.approx(expected, abs=4 * np.sqrt(max(expected * (1 - expected), 1e-3) / 1500))


def test_power_is_the_noncentral_t_distributions():
    part = Measured(">", 0.2, 0.35, 0.2)
    expected = stats.nct.sf(quantile(COUNTS), COUNTS - 1, np.sqrt(COUNTS) * 0.75)
    assert power(part, COUNTS) == pytest.approx(expected, abs=1e-6)
    assert (np.diff(power(part, COUNTS)) > 0).all()


def test_power_where_nothing_is_in_doubt():
    assert power(Measured(">", 0.0, 1e6, 1.0), COUNTS) == pytest.approx(1)
    assert power(Measured(">", 0.0, 1.0, 0.0), COUNTS) == pytest.approx(1)
    assert power(Measured("abs <", 1.0, 0.0, 0.0), COUNTS) == pytest.approx(1)
    assert power(Measured(">", 1.0, 1.0, 0.3), COUNTS).max() == 0, "an effect at its bound is never decided"
    # So strict a level that three seeds never reach it.
    assert power(Measured(">", 0.0, 9.0, 1.0), COUNTS, 0.05 / 4)[0] == 0


def test_the_number_of_seeds_is_the_least_with_which_all_parts_are_decided():
    one, other = Measured(">", 0.2, 0.35, 0.2), Measured("<", 0.25, 0.1, 0.2)
    count, reached = seeds_needed([[one, other]], 4, 100)
    assert reached >= WANTED
    both = power(one, np.array([count])) + power(other, np.array([count])) - 1
    assert reached == pytest.approx(both[0])
    assert seeds_needed([[one, other]], 4, count - 1) is None
    assert seeds_needed([[one]], 4, 100)[0] < count
    # Spaces in which it is decided otherwise are decided together, too.
    assert seeds_needed([[one], [other]], 4, 100) == (count, pytest.approx(reached))


def test_one_part_that_does_not_hold_is_enough():
    fine, failing = Measured(">", 0.2, 0.21, 0.2), Measured(">", 0.2, -0.2, 0.2)
    assert direction([fine, failing]) == FAILS
    count, reached = seeds_needed([[fine, failing]], 3, 100)
    rng = np.random.default_rng(5)
    decided = 0
    for _ in range(1000):
        parts = [
            decide([Effect(value, None) for value in rng.normal(part.mean, part.sd, count)], ">", 0.2, REPEATED)
            for part in (fine, failing)
        ]
        decided += conjunction(parts) == FAILS
    assert decided / 1000 >= WANTED - 0.03
    assert decided / 1000 == pytest.approx(reached, abs=0.05)


def test_following_the_plan_is_wrong_in_at_most_five_percent_of_experiments_at_the_bound():
    """Looking, adding as many seeds as today's effect asks for, and looking again, up to ten times."""
    rng, experiments, wrong = np.random.default_rng(11), 600, 0
    for _ in range(experiments):
        values = rng.normal(0.2, 0.1, 60)
        count = 4
        for _ in range(10):
            seen = values[:count]
            if decide([Effect(value, None) for value in seen], ">", 0.2, REPEATED).verdict == HOLDS:
                wrong += 1
                break
            part = Measured(">", 0.2, float(seen.mean()), float(seen.std(ddof=1)))
            needed = seeds_needed([[part]], count, len(values))
            if needed is None:
                break
            count = needed[0]
    assert wrong / experiments <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / experiments)
