"""The profile of collapse, against slopes and intervals of other libraries, and its words against the rule in words."""

import argparse
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from conftest import ROOT
from nepotism.data.jackknife import LeftOut
from nepotism.data.tables import Row, read_text_csv, write_csv, write_scores
from nepotism.experiment import aspects
from nepotism.experiment.aspects import Profiled
from nepotism.families import FAMILIES, family_package
from nepotism.judge import contrasts, profiles
from nepotism.judge.profiles import Chain, Entry, profile
from nepotism.plan.config import checked
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.plan.settings import settings
from profile_table import run
from test_config import DEFAULT, merged

SEEDS, ITERATIONS = (0, 1, 2, 3), (1, 2, 3)
NONE = Chain("none", ("0", "100"), zero="none")


def row(metric, value, control, ratio, iteration, seed, kind="samples", space="clip", sd=None, left_out=None):
    se = None if left_out is None else 0.1
    return Row("x", control, ratio, seed, iteration, kind, space, metric, value, sd, se, None, None, 90, left_out)


def rows_of(
    metric, of, space="clip", seeds=SEEDS, floor=None, iterations=ITERATIONS, chains=(("none", "0"), ("none", "100"))
):
    """Scores ``of(ratio, iteration, seed)``; the base model is 0 % at iteration 0."""
    found = [row(metric, of("0", 0, seed), "base", "", 0, seed, space=space) for seed in seeds]
    for control, ratio in chains:
        found += [
            row(metric, of(ratio, iteration, seed), control, ratio, iteration, seed, space=space)
            for iteration in iterations
            for seed in seeds
        ]
    if floor is not None:
        found += [row(metric, floor, "base", "", 0, seed, "real", space) for seed in seeds]
    return found


def scored(metric, scale):
    return Profiled(metric, "distance", scale, "a definition")


def of_ratio(entries, ratio="100"):
    (found,) = [entry for entry in entries if entry.ratio == ratio]
    return found


def noise(seed, iteration):
    """Shared by all arms of a seed, as noise and real images are."""
    return 0.2 * math.sin(17 * seed + 5 * iteration)


def t_interval(values):
    mean = np.mean(values)
    return mean, *scipy.stats.t.interval(0.9, len(values) - 1, loc=mean, scale=scipy.stats.sem(values))


def growing(rate):
    """ln distances that grow by a rate at 100 % and, whatever it is, by 0.02 at 0 %; seeds differ a little in the rate."""

    def distance(ratio, iteration, seed):
        own = (rate * (1 + 0.05 * seed)) if ratio == "100" else 0.02
        return math.exp(1 + own * iteration + noise(seed, iteration))

    return distance


def test_rates_are_slopes_and_their_intervals_are_students():
    distance = growing(0.3)
    found = of_ratio(profile(rows_of("fid", distance, floor=1.0), [scored("fid", aspects.DISTANCE)], [NONE]))

    def slope(ratio, seed):
        return scipy.stats.linregress(range(4), [math.log(distance(ratio, i, seed)) for i in range(4)]).slope

    rates = [slope("100", seed) for seed in SEEDS]
    apart = [slope("100", seed) - slope("0", seed) for seed in SEEDS]
    assert (found.rate, found.ci_low, found.ci_high) == pytest.approx(t_interval(rates))
    assert (found.difference, found.difference_low, found.difference_high) == pytest.approx(t_interval(apart))
    # What arms have in common is gone from the difference.
    assert found.difference_high - found.difference_low < 0.1
    assert found.margin == pytest.approx(contrasts.DELTA / 3)
    assert (found.compared_with, found.iterations, found.seeds) == ("none at 0 %", 3, 4)


def test_twice_the_excess_at_the_end_is_told_in_floors():
    distance = growing(0.3)
    found = of_ratio(profile(rows_of("fid", distance, floor=2.0), [scored("fid", aspects.DISTANCE)], [NONE]))
    ends = [(distance("100", 3, s) - 2) / 2 - 2 * (distance("0", 3, s) - 2) / 2 for s in SEEDS]
    assert (found.beyond, found.beyond_low, found.beyond_high) == pytest.approx(t_interval(ends))


@pytest.mark.parametrize(
    ("rate", "floor", "state"),
    [
        (0.02, 0.5, "stable"),
        (-0.02, 0.5, "stable"),
        (0.4, 0.0001, "collapsed"),
        # The margin is ln(1.25) / 3 = 0.074 above 0 %.
        (0.17, 0.5, "degrading"),
        (-0.2, 0.5, "improving"),
        (0.0944, 0.5, "undecided"),
    ],
)
def test_words_are_those_of_the_rule(rate, floor, state):
    found = profile(rows_of("fid", growing(rate), floor=floor), [scored("fid", aspects.DISTANCE)], [NONE])
    assert of_ratio(found).state == state
    # 0 % is compared with no change at all.
    assert of_ratio(found, "0").compared_with == ""
    assert of_ratio(found, "0").difference == of_ratio(found, "0").rate


def test_more_noise_between_seeds_makes_it_undecided():
    def distance(ratio, iteration, seed):
        return math.exp(1 + (0.4 + 0.5 * math.sin(seed * 9)) * iteration * (ratio == "100"))

    found = of_ratio(profile(rows_of("fid", distance, floor=0.1), [scored("fid", aspects.DISTANCE)], [NONE]))
    assert (found.state, found.note) == ("undecided", "")
    assert found.difference > found.margin > found.difference_low


def falling(rate, start=0.9):
    return lambda ratio, iteration, seed: (
        start - (rate + 0.003 * seed) * iteration * (ratio == "100") + noise(seed, iteration) / 20
    )


@pytest.mark.parametrize(
    ("scale", "worse_up"),
    [
        (aspects.SHARE, False),
        (aspects.AMOUNT, False),
        (aspects.LOGARITHM, False),
        (aspects.LOSS, True),
        (aspects.EXCESS, True),
    ],
)
def test_every_scale_has_its_direction(scale, worse_up):
    start = 0.2 if worse_up else 0.9
    down = of_ratio(profile(rows_of("x", falling(0.06 if not worse_up else 0.03, start)), [scored("x", scale)], [NONE]))
    up = of_ratio(profile(rows_of("x", falling(-0.06, start)), [scored("x", scale)], [NONE]))
    assert down.rate < 0 < up.rate
    words = ("improving", {"degrading", "collapsed"}) if worse_up else ({"degrading", "collapsed"}, "improving")
    assert down.state in words[0]
    assert up.state in words[1]


@pytest.mark.parametrize(
    ("scale", "at", "degrading", "collapsed"),
    [
        # At 0 % it is as ``at`` says throughout.
        (aspects.SHARE, 0.8, 0.5, 0.3),
        (aspects.LOSS, 0.5, 0.7, 0.8),
        (aspects.AMOUNT, 20.0, 12.0, 9.0),
        (aspects.LOGARITHM, -1.0, -1.6, -1.8),
        (aspects.EXCESS, 0.10, 0.17, 0.25),
    ],
)
def test_collapsed_is_what_has_lost_half_or_doubled(scale, at, degrading, collapsed):
    for end, state in ((degrading, "degrading"), (collapsed, "collapsed")):

        def of(ratio, iteration, seed, end=end):
            moved = (end - at) * iteration / 3 * (ratio == "100")
            return at + moved * (1 + 0.01 * seed)

        found = of_ratio(profile(rows_of("x", of), [scored("x", scale)], [NONE]))
        assert found.state == state
        assert (found.beyond_low > 0) == (state == "collapsed")


def test_captions_are_told_in_deviations_of_the_base():
    spread = [row("clip_score_within_group_sd", 4.0, "base", "", 0, seed) for seed in SEEDS]

    def captions(ratio, iteration, seed):
        return 50 + noise(seed, iteration) - (1.0 + 0.05 * seed) * iteration * (ratio == "100")

    found = of_ratio(
        profile(rows_of("clip_score", captions) + spread, [scored("clip_score", aspects.CAPTIONS)], [NONE])
    )
    slopes = [np.polyfit(range(4), [captions("100", i, seed) / 4 for i in range(4)], 1)[0] for seed in SEEDS]
    assert found.rate == pytest.approx(np.mean(slopes))
    assert (found.state, found.margin) == ("degrading", 0.25 / 3)
    worse = rows_of("clip_score", lambda *at: 50 + 2 * (captions(*at) - 50))
    assert of_ratio(profile(worse + spread, [scored("clip_score", aspects.CAPTIONS)], [NONE])).state == "collapsed"


@pytest.mark.parametrize("side", [1, -1])
def test_colours_degrade_away_from_real_images_whichever_way(side):
    real = [row("contrast", 0.30, "base", "", 0, seed, "real", "pixels", sd=0.05) for seed in SEEDS]

    def contrast(ratio, iteration, seed):
        return 0.30 + side * (0.01 + (0.008 + 0.0004 * seed) * iteration * (ratio == "100"))

    rows = rows_of("contrast", contrast, "pixels") + real
    found = of_ratio(profile(rows, [scored("contrast", aspects.GAP)], [NONE]))
    assert found.rate == pytest.approx((0.008 + 0.0004 * 1.5) / 0.05)
    assert (found.state, found.unit) == ("degrading", "sd of real images per iteration")
    # Towards them is no harm.
    towards = [
        replace(each, value=0.60 - each.value) if each.control == "none" and each.ratio == "100" else each
        for each in rows
    ]
    assert of_ratio(profile(towards, [scored("contrast", aspects.GAP)], [NONE])).rate == pytest.approx(found.rate)


# ---- What cannot be told


def test_one_seed_decides_nothing_and_shows_the_interval_within_the_run():
    left_out = LeftOut((30, 30, 30), (2.9, 3.0, 3.2))
    rows = [replace(each, left_out=left_out, se=0.1) for each in rows_of("fid", growing(0.9), seeds=(0,), floor=0.1)]
    found = of_ratio(profile(rows, [scored("fid", aspects.DISTANCE)], [NONE]))
    assert (found.state, found.note, found.seeds) == ("undecided: one seed", "one seed", 1)
    assert found.ci_low < found.rate < found.ci_high
    rows = rows_of("fid", growing(0.9), seeds=(0, 1), floor=0.1)
    assert of_ratio(profile(rows, [scored("fid", aspects.DISTANCE)], [NONE])).state == "undecided: two seeds"


def test_a_missing_cell_is_told_and_no_number_is_made_up():
    rows = [
        each
        for each in rows_of("fid", growing(0.9), floor=0.1)
        if (each.ratio, each.iteration, each.seed) != ("100", 2, 3)
    ]
    found = of_ratio(profile(rows, [scored("fid", aspects.DISTANCE)], [NONE]))
    assert (found.state, found.note) == ("undecided", profiles.NOT_EVERYWHERE)
    assert (found.rate, found.difference, found.beyond) == (None, None, None)


def test_what_has_no_logarithm_is_told():
    def kernel_distance(ratio, iteration, seed):
        return -0.1 if (seed, iteration) == (1, 2) else 0.2 * (iteration + 1)

    found = of_ratio(profile(rows_of("kid", kernel_distance), [scored("kid", aspects.EXCESS)], [NONE]))
    assert (found.state, found.note, found.rate) == ("undecided", profiles.NOT_DEFINED, None)


@pytest.mark.parametrize(("ratio", "iteration"), [("0", 0), ("0", 1), ("0", 3), ("100", 1), ("100", 3)])
@pytest.mark.parametrize("scale", [aspects.EXCESS, aspects.DISTANCE, aspects.AMOUNT])
def test_what_has_no_logarithm_in_any_seed_has_no_word_either(ratio, iteration, scale):
    """An infinite rate of every seed is neither a collapse nor an improvement: also where it is that of 0 %."""

    def distance(*at):
        return -0.1 if at[:2] == (ratio, iteration) else 0.2 + 0.01 * at[2]

    found = of_ratio(profile(rows_of("x", distance, floor=0.1), [scored("x", scale)], [NONE]))
    assert (found.state, found.note) == ("undecided", profiles.NOT_DEFINED)
    assert (found.difference, found.difference_low, found.difference_high) == (None, None, None)
    # Nor of 0 % itself, which is compared with no change.
    own = of_ratio(profile(rows_of("x", distance, floor=0.1), [scored("x", scale)], [NONE]), "0")
    assert (own.state == "undecided") == (ratio == "0")
    few = of_ratio(profile(rows_of("x", distance, floor=0.1, seeds=(0,)), [scored("x", scale)], [NONE]))
    assert (few.state, few.note, few.difference) == ("undecided: one seed", profiles.NOT_DEFINED, None)


def test_all_of_a_share_may_be_lost():
    def recall(ratio, iteration, seed):
        return max(0.0, 0.8 - (0.3 + 0.01 * seed) * iteration) if ratio == "100" else 0.8

    assert of_ratio(profile(rows_of("recall", recall), [scored("recall", aspects.SHARE)], [NONE])).state == "collapsed"


def test_what_was_not_measured_has_no_row():
    assert profile(rows_of("fid", growing(0.1)), [scored("recall", aspects.SHARE)], [NONE]) == []
    alone = rows_of("fid", growing(0.1), iterations=())
    assert profile(alone, [scored("fid", aspects.DISTANCE)], [NONE]) == []


# ---- Chains


def test_an_arm_that_branches_begins_at_its_cell_and_has_no_zero_of_its_iterations():
    healed = [
        row("fid", math.exp(3 - (0.5 + 0.02 * seed) * (iteration - 3)), "heal", "100", iteration, seed)
        for iteration in (4, 5, 6)
        for seed in SEEDS
    ]
    rows = [
        each for each in rows_of("fid", lambda ratio, i, seed: math.exp(i if ratio == "100" else 0), floor=0.1)
    ] + healed
    heal = Chain("heal", ("100",), first=4, goes_on_from="none", zero="none")
    found = of_ratio(profile(rows, [scored("fid", aspects.DISTANCE)], [heal]))
    assert (found.compared_with, found.iterations, found.state) == ("", 3, "improving")
    # From iteration 3 of the plain mixture, whose ln FID is 3.
    assert found.rate == pytest.approx(-0.5 - 0.02 * 1.5)


def test_chains_that_show_some_generations_have_slopes_over_these():
    rows = rows_of("tail", lambda ratio, i, seed: 0.5 - 0.0002 * i * (1 + 0.01 * seed), iterations=(5, 100, 1000))
    found = of_ratio(profile(rows, [scored("tail", aspects.SHARE)], [replace(NONE, zero="")]))
    assert found.rate == pytest.approx(-0.0002 * 1.015)
    assert found.iterations == 1000
    assert found.state == "degrading"


def test_ratios_that_a_search_has_found_have_rows_too():
    """A searching arm is told by its ends, for what it asks for is not known before."""
    rows = rows_of("fid", growing(0.3), floor=0.1, chains=[("none", ratio) for ratio in ("0", "100", "50", "12.5")])
    found = profile(rows, [scored("fid", aspects.DISTANCE)], [NONE])
    assert [entry.ratio for entry in found] == ["0", "12.5", "50", "100"]
    assert {entry.compared_with for entry in found[1:]} == {"none at 0 %"}
    # A list is told in its own order.
    listed = profile(rows, [scored("fid", aspects.DISTANCE)], [replace(NONE, ratios=("100", "50", "12.5", "0"))])
    assert [entry.ratio for entry in listed] == ["100", "50", "12.5", "0"]


def test_seeds_may_be_added_after_a_look_with_wider_intervals():
    rows, scores = rows_of("fid", growing(0.3), floor=0.1), [scored("fid", aspects.DISTANCE)]
    once, often = (of_ratio(profile(rows, scores, [NONE], looks)) for looks in ("once", "repeated"))
    assert often.rate == once.rate
    assert often.ci_high - often.ci_low > 2 * (once.ci_high - once.ci_low)


def test_a_wrong_word_at_the_margin_is_rare():
    """At a true rate on the margin, stable and degrading are each said in at most 5 % of experiments."""
    rng, said = np.random.default_rng(0), []
    for _ in range(400):
        rates = aspects.DELTA / 3 + 0.05 * rng.standard_normal(len(SEEDS))
        rows = rows_of(
            "fid", lambda ratio, i, seed, rates=rates: math.exp(i * rates[seed] * (ratio == "100")), floor=0.1
        )
        said.append(of_ratio(profile(rows, [scored("fid", aspects.DISTANCE)], [NONE])).state)
    for word in ("stable", "degrading"):
        assert said.count(word) + (said.count("collapsed") if word == "degrading" else 0) <= 0.05 * 400 + 2 * math.sqrt(
            0.05 * 0.95 * 400
        )
    assert said.count("undecided") > 300


# ---- Declarations, settings and the command


@pytest.mark.parametrize("family", [DIFFUSION, *FAMILIES])
def test_profiles_are_of_metrics_that_there_are(family):
    package = family_package(family)
    assert {score.metric for score in package.PROFILE} <= package.METRICS.keys()
    for score in package.PROFILE:
        better = package.METRICS[score.metric].better
        if better != "neither":
            assert (better == "lower") == (score.scale.worse > 0), score.metric
        assert "arXiv" in score.definition


def test_margins_are_those_of_the_claims():
    text = (ROOT / "docs" / "explanation" / "statistics.md").read_text()
    for bound in ("> δ; > 0.25; for each r", "< ln 0.9; < \N{MINUS SIGN}0.05", "δ = ln 1.25"):
        assert bound in text
    assert aspects.DELTA == contrasts.DELTA == math.log(1.25)
    assert math.exp(-aspects.LOST_DIVERSITY) == pytest.approx(0.9)
    assert aspects.LOST_SHARE == 0.05
    assert aspects.LOST_CAPTIONS == 0.25


def test_settings_name_where_chains_begin():
    arms = [
        {"name": "none", "ratios": [0, 25, 100]},
        {"name": "heal", "regime": "heal", "ratios": [100], "parameters": {"after": 3, "iterations": 3}},
    ]
    told = settings(Grid(checked(merged(DEFAULT, {"arms": arms}))), "profile_table")
    assert '{"arm":"none","ratios":["0","25","100"],"zero":"none"}' in told
    assert '{"arm":"heal","first":4,"goes_on_from":"none","ratios":["100"],"zero":"none"}' in told
    assert "--looks" not in told


def test_the_command_writes_the_table(tmp_path):
    rows = rows_of("fid", growing(0.4), floor=0.0001) + rows_of("recall", falling(0.06))
    write_scores(tmp_path / "metrics.csv", tmp_path / "jackknife.csv", rows)
    run(
        argparse.Namespace(
            family="diffusion", arms=['{"arm":"none","ratios":["0","100"],"zero":"none"}'], looks="once",
            metrics=tmp_path / "metrics.csv", jackknife=tmp_path / "jackknife.csv", output=tmp_path / "profile.csv",
        )
    )  # fmt: skip
    table = read_text_csv(tmp_path / "profile.csv")
    assert [(line["ratio"], line["metric"]) for line in table] == [
        (r, m) for r in ("0", "100") for m in ("fid", "recall")
    ]
    assert table[2]["state"] == "collapsed"
    wanted = {
        "control",
        "ratio",
        "features",
        "aspect",
        "metric",
        "rate",
        "ci_low",
        "ci_high",
        "unit",
        "state",
        "definition",
        "seeds",
    }
    assert wanted <= set(table[0])
    # The table of no scores has its header.
    write_csv(tmp_path / "profile.csv", profile([], [], []), Entry)
    assert read_text_csv(tmp_path / "profile.csv") == []
