"""Thresholds: isotonic regression against another solver, where it crosses, intervals, censoring, survival, words, and the figure."""

import math

import numpy as np
import pytest
from nepotism.data.tables import Row, read_text_csv, write_csv
from nepotism.draw.maps import map_points, threshold_maps
from nepotism.experiment.cells import canonical_ratio
from nepotism.judge.beginnings import beginnings
from nepotism.judge.contrasts import DELTA, ScoreTable
from nepotism.judge.decisions import margin
from nepotism.judge.looks import REPEATED
from nepotism.judge.monotone import isotonic
from nepotism.judge.threshold import (
    ABOVE,
    BETWEEN,
    BOUNDED,
    FEW,
    INTERVAL,
    MOST_ITERATIONS,
    UNDEFINED,
    Threshold,
    between,
    crossing,
    measured,
    spread,
    surface,
    survivals,
    thresholds,
)
from nepotism.plan.thresholds import mapped
from scipy.optimize import nnls
from scipy.stats import binom
from test_config import grid_of

FLOOR = 10.0


def by_duality(values):
    """The same regression as a quadratic programme: of the dual, least squares with multipliers of at least 0 (Lawson and Hanson)."""
    place = np.arange(values.size).reshape(values.shape)
    pairs = [*zip(place[:-1].ravel(), place[1:].ravel()), *zip(place[:, :-1].ravel(), place[:, 1:].ravel())]
    steps = np.zeros((len(pairs), values.size))
    for row, (less, more) in enumerate(pairs):
        steps[row, [less, more]] = -1, 1
    multipliers, _ = nnls(steps.T, -values.ravel(), maxiter=100 * values.size)
    return (values.ravel() + steps.T @ multipliers).reshape(values.shape)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (6, 5), (9, 3), (10, 10)])
def test_the_regression_is_that_of_a_quadratic_programme(shape):
    random = np.random.default_rng(shape)
    for slope in (-0.5, 0.0, 0.3):
        trend = slope * np.add.outer(np.arange(shape[0]), np.arange(shape[1]))
        values = 100 * (trend + random.normal(size=shape))
        fitted = isotonic(values)
        assert fitted == pytest.approx(by_duality(values), abs=1e-6)
        assert (np.diff(fitted, axis=0) >= 0).all()
        assert (np.diff(fitted, axis=1) >= 0).all()


def test_what_increases_is_its_own_fit_and_what_decreases_its_mean():
    rising = np.add.outer(np.arange(4.0), np.arange(3.0))
    assert isotonic(rising) == pytest.approx(rising, abs=1e-12)
    assert isotonic(-rising) == pytest.approx(np.full((4, 3), -rising.mean()))
    assert (isotonic(np.full((2, 2), 3.0)) == 3.0).all()


def scores(thetas, seeds=None, metric="fid"):
    """A table whose distances are those of 0 % times exp(theta).

    Args:
        thetas: from (ratio, iteration, seed) to theta; None has no row.
    """
    rows = []

    def add(control, ratio, seed, iteration, value, name="samples"):
        rows.append(Row("x", control, ratio, seed, iteration, name, "clip", metric, value, *[None] * 4, 90))

    for seed in seeds or sorted({key[2] for key in thetas}):
        add("base", "", seed, 0, 15.0)
        add("base", "", seed, 0, FLOOR, "real")
        for iteration in sorted({key[1] for key in thetas}):
            add("none", "0", seed, iteration, 20.0 + iteration)
    for (ratio, iteration, seed), theta in thetas.items():
        if theta is not None:
            add("none", canonical_ratio(ratio), seed, iteration, (20.0 + iteration) * math.exp(theta))
    return ScoreTable(rows)


def fid_of(table):
    return next(each for each in measured(table, [("none", "none")], "fid") if each.statistic == "fid")


def steady(slopes, ratios=(10, 50, 100), iterations=(1, 2)):
    """Thetas that grow with the ratio, by a slope of each seed, and are the same at every iteration."""
    return scores({(r, i, seed): slope * r for seed, slope in enumerate(slopes) for r in ratios for i in iterations})


def test_thetas_are_contrasts_of_logarithms_with_0_percent_of_the_same_seed_and_iteration():
    table = scores({(r, i, s): r / 100 + i / 10 + s for r in (25, 100) for i in (1, 3) for s in (0, 1)})
    for each in fid_of(table).surfaces:
        assert (each.ratios, each.iterations) == (("25", "100"), (1, 3))
        assert each.values == pytest.approx(np.array([[0.35, 0.55], [1.1, 1.3]]) + each.seed)
    excess = next(each for each in measured(table, [("none", "none")], "fid") if each.statistic == "excess")
    wanted = math.log((21 * math.exp(0.35) - FLOOR) / (21 - FLOOR))
    assert excess.surfaces[0].values[0, 0] == pytest.approx(wanted)


def test_a_threshold_lies_where_the_fit_crosses_delta_and_the_fit_is_nowhere_below_0():
    found = fid_of(steady([DELTA / 40])).surfaces[0]
    assert crossing(found, 0) == (BETWEEN, pytest.approx(40), 10.0, 50.0)
    # Theta is 0 at ratio 0, so that a threshold lies above it.
    low = fid_of(scores({(10, 1, 0): -3.0, (20, 1, 0): 2 * DELTA})).surfaces[0]
    assert low.fitted.tolist() == [[0.0], [pytest.approx(2 * DELTA)]]
    assert crossing(low, 0) == (BETWEEN, pytest.approx(15), 10.0, 20.0)


def test_exactly_delta_does_not_exceed():
    table = scores({(10, 1, 0): 0.0, (20, 1, 0): 0.0})
    each = surface(table, table.log_fid("clip"), "none", "none", 0)
    each.fitted[:, 0] = [0.0, DELTA]
    assert crossing(each, 0)[0] == ABOVE


def test_what_lies_beyond_the_ratios_is_bounded_and_has_no_number():
    assert crossing(fid_of(steady([0.0])).surfaces[0], 1) == (ABOVE, None, 100.0, None)
    # Where every ratio exceeds, it lies between 0 %, where theta is 0 by definition, and the least.
    assert crossing(fid_of(steady([DELTA])).surfaces[0], 1) == (BETWEEN, pytest.approx(1), 0.0, 10.0)
    missing = fid_of(scores({(10, 1, 0): 0.5, (20, 1, 0): None, (20, 2, 0): 1.0, (10, 2, 0): 1.0})).surfaces[0]
    assert missing.fitted is None
    assert crossing(missing, 0) == (UNDEFINED, None, None, None)


def test_the_interval_is_that_of_t_on_the_logit_scale():
    at = [20.0, 30.0, 45.0]
    state, ratio, low, high, note = between([(BETWEEN, each, 10.0, 50.0) for each in at], [0, 1, 2])
    logits = np.log(np.array(at) / (100 - np.array(at)))
    half = 2.919985580355516 * logits.std(ddof=1) / math.sqrt(3)
    assert (state, note) == (INTERVAL, "")
    for found, wanted in ((ratio, 0), (low, -half), (high, half)):
        assert math.log(found / (100 - found)) == pytest.approx(logits.mean() + wanted)
    assert 0 < low < 20 < ratio < 45 < high < 100
    wider = between([(BETWEEN, each, 10.0, 50.0) for each in at], [0, 1, 2], REPEATED)
    assert wider[2] < low
    assert math.log(wider[3] / (100 - wider[3])) == pytest.approx(
        logits.mean() + margin(3, REPEATED) / 2.92 * half, rel=1e-3
    )


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([BETWEEN, ABOVE, BETWEEN], (BOUNDED, None, 10.0, None, "no ratio exceeds at seed 1")),
        ([ABOVE, ABOVE, BETWEEN], (BOUNDED, None, 10.0, None, "no ratio exceeds at seed 0, 1")),
        ([ABOVE] * 3, (BOUNDED, None, 100.0, None, "no ratio exceeds at seed 0, 1, 2")),
        ([BETWEEN] * 2, (FEW, None, 10.0, 50.0, "an interval takes 3 seeds")),
        ([BETWEEN, BETWEEN, UNDEFINED], (UNDEFINED, None, None, None, "a score of seed 2 is missing, or not above its floor")),
    ],
)  # fmt: skip
def test_a_seed_beyond_the_ratios_leaves_bounds_and_no_interval(states, expected):
    known = {
        BETWEEN: (BETWEEN, 30.0, 10.0, 50.0),
        ABOVE: (ABOVE, None, 100.0, None),
        UNDEFINED: (UNDEFINED, None, None, None),
    }
    assert between([known[state] for state in states], list(range(len(states)))) == expected


def test_the_interval_covers_the_threshold_as_often_as_it_says():
    """Thresholds of seeds that are normal on the logit scale, thetas that are linear between the ratios that were run."""
    random, covered, experiments = np.random.default_rng(5), 0, 300
    for _ in range(experiments):
        at = 100 / (1 + np.exp(-random.normal(-0.5, 0.3, 4)))
        # Theta is linear in the ratio, and so it is between two that were run.
        *_, of_all = thresholds(fid_of(steady(DELTA / at, (5, 95), (1,))))
        assert of_all.state == INTERVAL
        covered += of_all.low < 100 / (1 + math.exp(0.5)) < of_all.high
    spread_of_share = 3 * math.sqrt(0.9 * 0.1 / experiments)
    assert abs(covered / experiments - 0.9) < spread_of_share


def test_survival_is_kaplan_and_meiers_with_binomial_intervals():
    """By hand: of three seeds one exceeds at iteration 1 and comes back, one at 3, and one never does."""
    over, under = 2 * DELTA, 0.0
    of_seeds = {0: (over, under, under), 1: (under, under, over), 2: (under, under, DELTA)}
    table = scores({(50, i + 1, seed): thetas[i] for seed, thetas in of_seeds.items() for i in range(3)})
    rows = list(survivals(fid_of(table)))
    assert [(row.ratio, row.iteration, row.seeds, row.exceeded, row.back) for row in rows] == [
        ("50", 1, 3, 1, 0), ("50", 2, 3, 1, 1), ("50", 3, 3, 2, 1),
    ]  # fmt: skip
    # Kaplan and Meier: (1 - 1/3), and then (1 - 1/2).
    assert [row.survival for row in rows] == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    for row in rows:
        left = row.seeds - row.exceeded
        # Clopper and Pearson: so few, or so many, in one experiment of twenty.
        assert binom.sf(left - 1, 3, row.ci90_low) == pytest.approx(0.05)
        assert binom.cdf(left, 3, row.ci90_high) == pytest.approx(0.05)


def test_survival_of_a_ratio_with_a_missing_score_has_no_row():
    table = scores({(10, 1, 0): 0.1, (10, 2, 0): None, (20, 1, 0): 1.0, (20, 2, 0): 1.0})
    assert {row.ratio for row in survivals(fid_of(table))} == {"20"}


@pytest.mark.parametrize(("zero", "cell"), [(FLOOR - 0.1, FLOOR + 0.1), (FLOOR + 0.1, FLOOR - 0.1)])
def test_an_excess_of_0_or_less_is_not_known_and_no_collapse(zero, cell):
    """At 0 % or at the ratio: its logarithm is minus infinity, which nothing is to be compared with."""
    rows = []
    for seed in range(3):
        for name, control, ratio, iteration, value in (
            ("real", "base", "", 0, FLOOR), ("samples", "base", "", 0, 15.0), ("samples", "none", "0", 1, zero),
            ("samples", "none", "50", 1, cell), ("samples", "none", "100", 1, cell),
        ):  # fmt: skip
            rows.append(Row("x", control, ratio, seed, iteration, name, "clip", "fid", value, *[None] * 4, 90))
    distance, excess = measured(ScoreTable(rows), [("none", "none")], "fid")
    assert {row.exceeded for row in survivals(distance)} == {0}
    assert list(survivals(excess)) == []
    assert all(np.isnan(each.values).all() and each.fitted is None for each in excess.surfaces)
    assert {row.state for row in thresholds(excess)} == {UNDEFINED}


def test_long_chains_are_looked_at_in_even_steps_up_to_their_last_iteration():
    assert spread(range(1, 6)) == (1, 2, 3, 4, 5)
    chosen = spread(range(1, 2001))
    assert len(chosen) == MOST_ITERATIONS
    assert chosen[-1] == 2000
    assert set(np.diff(chosen)) == {40}


def sentence(table, tmp_path):
    write_csv(
        tmp_path / "threshold.csv",
        [row for each in measured(table, [("none", "none")], "fid") for row in thresholds(each)],
        Threshold,
    )
    (found,) = beginnings(read_text_csv(tmp_path / "threshold.csv"))
    return found


def test_the_sentence_says_the_interval_of_the_table_or_why_there_is_none(tmp_path):
    at = [20, 30, 45]
    found = sentence(steady([DELTA / each for each in at]), tmp_path)
    last = [row for row in read_text_csv(tmp_path / "threshold.csv") if row["statistic"] == "fid" and not row["seed"]][
        -1
    ]
    assert f"begins between {float(last['low']):.3g} and {float(last['high']):.3g} % of generated rows" in found
    assert "(90 % interval between 3 seeds) in CLIP features." in found
    assert found.startswith("After 2 retrainings, collapse (a distance more than 1.25 times that of 0 %) begins")
    for slopes, words in (
        ([0.0] * 3, "at no ratio that was run, the largest of which is 100 %"),
        ([DELTA] * 3, "between 1 and 1 % of generated rows (90 % interval between 3 seeds)"),
        ([DELTA / 30, 0.0, DELTA / 30], "above 10 % of generated rows (bounds of 3 seeds; no interval: no ratio exceeds at seed 1)"),
        ([DELTA / 30] * 2, "between 10 and 50 % of generated rows (ratios that were run on both sides of 2 seeds; no interval: an "
                              "interval takes 3 seeds)"),
    ):  # fmt: skip
        assert words in sentence(steady(slopes), tmp_path)


def test_the_figure_draws_what_its_table_has():
    found = fid_of(steady([DELTA / 20, DELTA / 30, DELTA / 45], iterations=(1, 2, 3)))
    points = list(map_points(found))
    assert len(points) == 3 * 3 * 3
    assert all(point.theta == pytest.approx(point.fitted) for point in points)
    figure = threshold_maps([found], "tiny-clip")
    labels = {label for axis in figure.axes for label in axis.get_legend_handles_labels()[1]}
    assert {"collapse begins (90 % interval between seeds)", "a seed's threshold", "10 %", "50 %", "100 %"} <= labels
    beyond = threshold_maps([fid_of(steady([0.0, 0.0]))], "tiny-clip")
    assert "no ratio exceeds (a seed)" in {
        label for axis in beyond.axes for label in axis.get_legend_handles_labels()[1]
    }
    assert not threshold_maps([], "tiny-clip").axes


def test_no_map_is_drawn_of_a_part_of_the_seeds():
    """Seed 1 lacks a score, so that it has no fit; the cells that all seeds have are shown all the same."""
    thetas = {(r, i, seed): DELTA * r / 50 for r in (50, 100) for i in (1, 2) for seed in (0, 1)}

    def drawn(of):
        return {
            type(each).__name__: each for each in threshold_maps([fid_of(scores(of))], "tiny-clip").axes[0].collections
        }

    assert set(drawn(thetas)) == {"QuadContourSet", "PathCollection"}
    points = drawn(thetas | {(100, 2, 1): None})
    assert set(points) == {"PathCollection"}
    assert len(points["PathCollection"].get_offsets()) == 3


def test_arms_are_mapped_whose_ratios_are_an_axis_with_0_percent():
    def names(*arms):
        return [(arm.name, plain.name) for arm, plain in mapped(grid_of(arms=list(arms)))]

    full = {"name": "none", "ratios": [0, 25, 100]}
    quick = {"name": "quick", "ratios": [25, 100], "overrides": {"finetune": {"epochs": 1}}}
    assert names(full) == [("none", "none")]
    assert names({**full, "ratios": [0, 100]}) == []
    assert names({**full, "ratios": [25, 100]}) == []
    assert names(full, quick) == [("none", "none")], "without 0 % of its own settings"
    assert names(full, {**quick, "ratios": [0, 25, 100]}) == [("none", "none"), ("quick", "quick")]
    assert names(full, {"name": "heal", "regime": "heal", "ratios": [25, 100], "parameters": {"after": 1, "iterations": 1}}) == [
        ("none", "none")
    ]  # fmt: skip
    assert names(full, {"name": "new", "regime": "fresh", "ratios": [25, 50]}) == [("none", "none"), ("new", "none")]
