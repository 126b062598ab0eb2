"""What is told of remedies: what they leave of the excess, of diversity, and what they cost."""

import dataclasses
import importlib
import json
import math

import numpy as np
import pytest
import yaml
from conftest import ROOT
from nepotism.controls.filter.filtering import Verdict
from nepotism.families.diffusion.claims import Arms, judge
from nepotism.families.diffusion.contamination import points
from nepotism.families.diffusion.remedies import Cost, Outcome, Remedy, given, outcomes
from nepotism.judge.decisions import FAILS, HOLDS, NOT_RUN, UNDECIDED
from nepotism.plan import forecast as forecasted
from nepotism.plan.config import checked
from nepotism.plan.forecast import forecast
from nepotism.plan.grid import Grid
from nepotism.plan.remedies import described, remedies
from nepotism.plan.settings import settings
from test_claims import table
from test_config import DEFAULT, grid_of, merged

REMEDY = Remedy("someone", {"100": Cost(5, 70, 15, None)})
CLEANED = [("cleaned", "100", iteration) for iteration in range(1, 6)]
REPAIRED = [("repaired", "100", iteration) for iteration in (6, 7)]
# Excess over the floor of 4 at the last iteration: 16 without a remedy.
DISTANCES = {"none": 20.0, "cleaned": 8.0, "repaired": 12.0}


def fid(cell):
    control, ratio, iteration = cell
    return DISTANCES[control] if ratio == "100" and control in DISTANCES and iteration >= 5 else 5.0


def scores(recall=None, filtered=True):
    rows = table(fid=fid, recall=recall, more=[*CLEANED, *REPAIRED])
    if filtered:
        for control, ratio, iteration in CLEANED:
            for seed in (0, 1, 2):
                like = next(row for row in rows if row.control == control)
                rows += [
                    dataclasses.replace(
                        like, ratio=ratio, seed=seed, iteration=iteration, set="filtered", features="",
                        metric=metric, value=value, left_out=None,
                    )
                    for metric, value in (("contamination", 0.1 * iteration), ("real_images", 0.6))
                ]  # fmt: skip
    return rows


def of(found, arm, space="clip"):
    return next(each for each in found if (each.arm, each.features) == (arm, space))


def test_an_arm_is_compared_with_the_plain_mixture_at_its_end():
    cleaned = of(outcomes(scores(), {"cleaned": REMEDY}), "cleaned")
    assert (cleaned.iteration, cleaned.compared_with) == (5, "none,100,5")
    assert cleaned.share == pytest.approx(4 / 16, rel=0.02)
    assert cleaned.share_low < cleaned.share < cleaned.share_high
    assert cleaned.verdict == "helps"


def test_a_repair_that_follows_another_is_compared_with_what_the_first_goes_on_from():
    alone, following = (
        of(outcomes(scores(), {"repaired": dataclasses.replace(REMEDY, after=after)}), "repaired")
        for after in (None, 4)
    )
    assert (alone.compared_with, following.compared_with) == ("none,100,5", "none,100,4")


def test_a_repair_is_compared_with_the_cell_that_it_goes_on_from():
    repaired = of(outcomes(scores(), {"repaired": REMEDY}), "repaired")
    assert (repaired.iteration, repaired.compared_with) == (7, "none,100,5")
    assert repaired.share == pytest.approx(8 / 16, rel=0.02)


def test_real_images_are_what_a_filter_lets_through():
    cleaned = of(outcomes(scores(), {"cleaned": REMEDY}), "cleaned")
    assert cleaned.contamination == pytest.approx(0.3)
    assert cleaned.real == pytest.approx(0.6)
    known = dataclasses.replace(REMEDY, costs={"100": Cost(5, 70, 15, 0.25)})
    assert of(outcomes(scores(), {"repaired": known}), "repaired").real == 0.25


def test_what_costs_recall_is_no_remedy():
    lost = lambda cell: 0.2 if cell[0] == "cleaned" else 0.8  # noqa: E731
    found = outcomes(scores(recall=lost), {"cleaned": REMEDY})
    assert of(found, "cleaned").verdict == "nearer, but less diverse"
    claims, _ = judge(scores(recall=lost), Arms(remedies={"cleaned": REMEDY}))
    assert claims[-1].verdict == FAILS


def test_an_arm_that_changes_nothing_does_not_help():
    rows = table(fid=lambda cell: 20.0, more=CLEANED)
    assert of(outcomes(rows, {"cleaned": REMEDY}), "cleaned").verdict == "does not help"


def test_every_remedy_has_a_claim_with_its_source():
    arms = Arms(
        remedies={"cleaned": REMEDY, "repaired": dataclasses.replace(REMEDY, source="another"), "later": REMEDY}
    )
    claims, parts = judge(scores(), arms)
    assert [(claim.claim, claim.source, claim.verdict) for claim in claims[-3:]] == [
        (17, "someone", HOLDS), (18, "another", HOLDS), (19, "someone", NOT_RUN),
    ]  # fmt: skip
    first = next(part for part in parts if part.claim == 17 and part.statistic.startswith("F("))
    assert first.statistic == "F(none,100,5) - F(cleaned,100,5)"
    assert first.decision.value == pytest.approx(math.log(20 / 8), rel=0.01)
    assert first.excess.value == pytest.approx(math.log(16 / 4), rel=0.02)


def test_every_ratio_of_a_remedy_has_a_claim_of_its_own():
    """A healthy model is another question than a collapsed one."""
    both = dataclasses.replace(REMEDY, costs={"0": Cost(5, 70, 15, 1.0), "100": Cost(5, 70, 15, None)})
    claims, _ = judge(scores(), Arms(remedies={"cleaned": both}))
    assert [(claim.claim, claim.verdict) for claim in claims[-2:]] == [(17, NOT_RUN), (18, HOLDS)]
    assert claims[-1].statement.startswith("the arm cleaned at 100 % ends nearer")


def test_with_two_seeds_nothing_is_decided():
    rows = [row for row in scores() if row.seed < 2]
    claims, _ = judge(rows, Arms(remedies={"cleaned": REMEDY}))
    assert claims[-1].verdict == UNDECIDED


def test_the_share_of_generated_rows_is_the_filters_or_the_ratio():
    found = [point for point in points(scores(), ["cleaned"]) if point.features == "clip"]
    assert [(point.arm, point.ratio) for point in found] == [
        ("none", "0"), ("none", "10"), ("none", "25"), ("none", "100"), ("cleaned", "100"),
    ]  # fmt: skip
    np.testing.assert_allclose([point.contamination for point in found], [0, 0.1, 0.25, 1, 0.3])
    assert found[3].share == 1
    assert found[-1].share == pytest.approx(4 / 16, rel=0.02)


# ---- Which arms are remedies, and what they cost

MARK = {"method": "spread_spectrum", "key": "k", "strength": 3.0}
ARMS = [
    {"name": "none", "ratios": [0, 25, 100]},
    {"name": "match", "control": "histogram_match", "ratios": [100]},
    {"name": "oracle", "control": "filter", "ratios": [25, 100], "parameters": {"fnr": 0.1}},
    {"name": "detector", "control": "filter", "ratios": [100], "parameters": {"source": "detector", "retrained": True}},
    {"name": "short", "ratios": [100], "overrides": {"finetune": {"epochs": 1}}},
    {"name": "unguided", "ratios": [0, 100], "overrides": {"sample": {"guidance_scale": 1.0}}},
    # Begins as the plain mixture, and ends with another guidance.
    {"name": "fading", "ratios": [100], "overrides": {"sample": {"guidance_schedule": "linear", "guidance_end": 1.0}}},
    {
        "name": "marked",
        "ratios": [100],
        "overrides": {"sample": {"watermark": MARK}, "initial_images": {"watermark": MARK}},
    },
    {"name": "heal", "regime": "heal", "ratios": [100], "parameters": {"after": 2, "iterations": 1}},
]


def test_remedies_are_what_no_numbered_claim_is_about():
    grid = grid_of(arms=ARMS)
    assert [arm.name for arm in remedies(grid)] == ["oracle", "detector", "short", "heal"]
    assert remedies(grid_of(arms=[ARMS[0], ARMS[-1]])) == []
    assert remedies(grid_of(arms=ARMS[1:3])) == []


def test_costs_are_counted_for_a_slot():
    grid = grid_of(arms=ARMS)
    told = {arm.name: described(grid, arm) for arm in remedies(grid)}
    costs = {name: each["costs"][-1] for name, each in told.items()}
    # Four iterations; seven steps with guidance are fourteen passes. Detectors are trained on images that begin at real ones
    # (159 / 27 passes each), then on samples.
    first = forecasted.passes_of_treated(grid, grid.arm("detector"), 1)
    assert {name: (cost["drawn"], cost["passes"], cost["trained"]) for name, cost in costs.items()} == {
        "oracle": (4, 56, 12), "detector": (8, 56 + first + 42, 12), "short": (4, 56, 4), "heal": (1, 14, 3),
    }  # fmt: skip
    assert [(cost["ratio"], cost["real"]) for cost in told["oracle"]["costs"]] == [("25", None), ("100", None)]
    assert costs["short"]["real"] == 0
    words = settings(grid, "remedies")
    assert given(map(json.dumps, told.values()))["oracle"].costs["25"].drawn == 4
    assert list(given(map(json.dumps, told.values()))) == ["oracle", "detector", "short", "heal"], (
        "as the config has them"
    )
    assert "--remedies" in words
    assert settings(grid_of(arms=ARMS[:2]), "claims").count("remedies") == 0


def test_costs_of_selection_and_of_a_detector_that_is_trained_once():
    arms = [
        ARMS[0],
        {"name": "select", "control": "select_draws", "ratios": [50], "parameters": {"draws": 3}},
        {
            "name": "once",
            "control": "filter",
            "ratios": [100],
            "parameters": {"source": "detector", "action": "replace"},
        },
    ]
    grid = grid_of(arms=arms)
    select, once = (described(grid, grid.arm(name)) for name in ("select", "once"))
    # Two more draws of every other slot.
    assert select["costs"][0]["drawn"] == 4 * (1 + 0.5 * 2)
    assert once["costs"][0]["drawn"] == 4 + 1
    assert (select["source"], once["source"]) == (
        "Ferbach et al., arXiv 2407.09499",
        "after Ojha et al., arXiv 2302.10174",
    )


def test_at_equal_epochs_a_smaller_training_set_is_seen_less():
    heal = {"name": "dose", "regime": "heal", "ratios": [100], "parameters": {"after": 2, "iterations": 2, "share": 50}}
    for budget, trained in (("steps", 6), ("epochs", 3)):
        grid = grid_of(arms=[ARMS[0], heal], finetune={"budget": budget})
        assert described(grid, grid.arm("dose"))["costs"][0]["trained"] == trained


def test_figure_8_gives_an_arm_one_look_in_all_panels(tmp_path):
    script = importlib.import_module("figure_8")
    found = [point for point in points(scores(), ["cleaned", "repaired"])]
    spaces = list(dict.fromkeys(point.features for point in found))
    # In the first panel the first filter has no excess.
    found = [point for point in found if (point.features, point.arm) != (spaces[0], "cleaned")]
    drawn = script.drawn(found, "clip")
    (legend,) = drawn.legends
    assert sorted(text.get_text() for text in legend.get_texts()) == ["cleaned", "no filter", "repaired"]
    looks = [
        {line.get_color() for container in axis.containers for line in [container.lines[0]]} for axis in drawn.axes
    ]
    assert looks[0] < looks[1]


def test_the_table_has_a_row_for_every_space():
    found = outcomes(scores(), {"cleaned": REMEDY})
    assert sorted(each.features for each in found) == sorted({row.features for row in scores() if row.metric == "fid"})
    assert all(isinstance(each, Outcome) for each in found)


def test_another_model_and_other_images_are_two_paths():
    """The grid, its plan and its costs need neither."""
    asked = yaml.safe_load((ROOT / "resources" / "experiments" / "remedies.yaml").read_text())
    shipped = Grid(checked(merged(DEFAULT, asked)))
    paths = {
        "model": {"path": "hub:someone/model@abc"},
        "reference": {"source": "folder", "folder": {"path": "images"}},
    }
    grid = Grid(checked(merged(merged(DEFAULT, asked), paths)))
    assert grid.cells() == shipped.cells()
    planned, like = forecast(grid, 40), forecast(shipped, 40)
    assert planned.jobs == like.jobs
    assert {"filter", "select_draws"} <= planned.jobs.keys()
    assert [arm.name for arm in remedies(grid)] == [arm.name for arm in grid.arms if arm.name not in ("none", "marked")]
    assert "base_model" not in settings(grid, "remedies")


def test_every_column_is_explained():
    explained = (ROOT / "results" / "README.md").read_text()
    section = explained[explained.index("## remedies.csv") :]
    for field in (*dataclasses.fields(Outcome), *dataclasses.fields(Verdict)):
        name = field.name.removesuffix("_low").removesuffix("_high")
        assert f"`{name}`" in section, name
