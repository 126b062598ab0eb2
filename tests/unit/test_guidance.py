"""Which guidance scale is chosen, on made-up scores."""

import math

import pytest
from nepotism.data.tables import Row
from nepotism.families.diffusion.guidance import compare
from nepotism.runtime.errors import UserError


def row(base, seed, value, se=0.3, metric="clip_score"):
    return Row("faces", base, "", seed, 0, "samples", "clip", metric, value, 3.0, se, None, None, 100)


def chosen(values, se=0.3, seeds=3):
    rows = [row(base, seed, value, se) for base, value in values.items() for seed in range(seeds)]
    scales = {base: float(base.rpartition("-")[2]) for base in values}
    return [each.guidance_scale for each in compare(rows, scales) if each.chosen]


def test_the_scale_with_the_best_captions_is_chosen():
    assert chosen({"base-1": 45.0, "base-2": 50.0, "base-3": 52.0, "base-4": 51.0}) == [3]


def test_a_tie_within_one_standard_error_goes_to_the_smaller():
    # Of three seeds, 0.3 for each, the error of the mean is 0.3 / sqrt(3) = 0.173.
    assert chosen({"base-1": 45.0, "base-2": 51.84, "base-3": 52.0, "base-4": 51.9}) == [2]
    assert chosen({"base-1": 45.0, "base-2": 51.82, "base-3": 52.0, "base-4": 51.9}) == [3]


def test_scales_are_told_in_ascending_order_with_means_and_errors():
    rows = [row("base", 0, 50.0, 0.3), row("base", 1, 52.0, 0.4), row("base-x", 0, 49.0), row("base-x", 1, 49.0)]
    rows += [row("base", seed, 20.0 + seed, metric="fid") for seed in (0, 1)]
    rows += [row("base-x", 0, 10.0, metric="fid")]
    one, other = compare(rows, {"base": 3.0, "base-x": 1.0})
    assert (one.guidance_scale, other.guidance_scale) == (1.0, 3.0)
    assert other.clip_score == 51.0
    assert other.se == pytest.approx(0.25)
    assert (one.fid_clip, other.fid_clip) == (10.0, 20.5)
    assert math.isnan(other.fid_conv)
    assert other.seeds == 2


def test_scores_of_retrained_models_and_of_other_sets_decide_nothing():
    rows = [row("base-1", 0, 50.0), row("base-2", 0, 48.0)]
    retrained = Row("faces", "base-2", "0", 0, 1, "samples", "clip", "clip_score", 99.0, 3.0, 0.3, None, None, 100)
    unseen = Row("faces", "base-2", "", 0, 0, "unseen", "clip", "clip_score", 99.0, 3.0, 0.3, None, None, 100)
    scales = compare([*rows, retrained, unseen], {"base-1": 1.0, "base-2": 2.0})
    assert [each.chosen for each in scales] == [True, False]


def test_what_cannot_be_compared_is_an_error():
    with pytest.raises(UserError, match="same guidance scale"):
        compare([row("base", 0, 50.0)], {"base": 1.0})
    with pytest.raises(UserError, match="base-2: there are no CLIP scores"):
        compare([row("base", 0, 50.0)], {"base": 1.0, "base-2": 2.0})
