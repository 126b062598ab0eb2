"""Which branch claims 9 to 11 are judged on, from made-up tables."""

import dataclasses

import numpy as np
import pytest
from nepotism.families.diffusion.claims import STATEMENTS, judge
from nepotism.judge.answer import render
from nepotism.judge.decisions import HOLDS, NOT_RUN
from test_claims import ARMS, details, table

HEALED_TOO = [("heal", "100", i) for i in range(6, 9)]


def branches(ill_25, ill_100=3.0, spaces=("clip", "conv"), more=HEALED_TOO):
    """A table whose branches are ``ill_25`` and ``ill_100`` times as far away as the base model;
    healing of 25 % ends at 11, of 100 % at 12.

    In spaces that are not named, the branch at 25 % is as good as the base model.
    """

    def fid(cell):
        if cell[0] == "heal":
            return {"25": 11.0, "100": 12.0}[cell[1]]
        return 10.0 * {"25": ill_25, "100": ill_100}.get(cell[1], 1.0)

    rows = table(fid=fid, more=more)
    healthy = {
        (row.seed, row.features): row.value
        for row in rows
        if (row.control, row.set, row.metric) == ("base", "samples", "fid")
    }
    return [
        dataclasses.replace(row, value=healthy[row.seed, row.features])
        if (row.control, row.ratio, row.metric) == ("none", "25", "fid") and row.features not in spaces
        else row
        for row in rows
    ]


def of_healing(rows):
    """Claims 9 to 11, and the effect of claim 9 as a ratio of distances."""
    claims, parts = judge(rows, ARMS)
    effect = next((part.decision.value for part in parts if part.claim == 9 and part.features == "conv"), None)
    return claims[8:11], effect if effect is None else np.exp(effect)


def statements(origin=""):
    return [STATEMENTS[number][0] + origin for number in (9, 10, 11)]


def test_healing_is_judged_on_the_papers_branch_if_that_had_degraded_in_every_space():
    claims, ratio = of_healing(branches(ill_25=2.0))
    assert ratio == pytest.approx(1.1, rel=1e-3)
    assert [claim.statement for claim in claims] == statements(" (from 25 % after iteration 5)")
    assert [claim.note for claim in claims] == ["", "", ""]
    assert claims[0].statistic.startswith("clip: F(heal,25,end) - b = ")
    assert "(heal,25,end) over base = " in claims[1].statistic
    assert "(C_b - C(heal,25,end)) / s = " in claims[2].statistic
    assert claims[0].verdict == HOLDS


@pytest.mark.parametrize(
    ("ill_25", "spaces", "where"),
    [(2.0, ("conv",), " in clip"), (2.0, ("clip",), " in conv"), (1.2, ("clip", "conv"), "")],
)
def test_healing_is_judged_on_the_largest_ratio_if_the_papers_branch_had_not_degraded(ill_25, spaces, where):
    claims, ratio = of_healing(branches(ill_25, spaces=spaces))
    assert ratio == pytest.approx(1.2, rel=1e-3)
    assert [claim.statement for claim in claims] == statements(" (from 100 % after iteration 5)")
    assert {claim.note for claim in claims} == {f"25 % had not degraded{where}: judged from 100 %"}
    assert "F(heal,100,end) - b = " in claims[0].statistic
    assert claims[0].verdict == claims[2].verdict == HOLDS


def test_a_branch_has_degraded_only_with_its_whole_interval():
    """Twice as far away on average; between seeds it may be anything."""
    rows = [
        dataclasses.replace(row, value=row.value * (0.5, 1.0, 2.0)[row.seed])
        if (row.control, row.ratio, row.metric) == ("none", "25", "fid")
        else row
        for row in branches(ill_25=2.0)
    ]
    assert of_healing(rows)[0][0].statement.endswith("(from 100 % after iteration 5)")


def test_what_is_healed_at_one_ratio_only_is_judged_there_without_a_word_on_25_percent():
    rows = [row for row in branches(ill_25=2.0) if (row.control, row.ratio) != ("heal", "25")]
    claims, ratio = of_healing(rows)
    assert ratio == pytest.approx(1.2, rel=1e-3)
    assert [claim.statement for claim in claims] == statements(" (from 100 % after iteration 5)")
    assert {claim.note for claim in claims} == {""}


def test_a_largest_branch_that_had_not_degraded_either_is_not_judged():
    claims, _ = of_healing(branches(ill_25=1.1, ill_100=1.2))
    assert {claim.verdict for claim in claims} == {"not run: branch not degraded"}
    assert {claim.statement for claim in claims} == set(statements(" (from 100 % after iteration 5)"))
    first, second = claims[0].note.split("; ")
    assert first == "25 % had not degraded: judged from 100 %"
    assert second.startswith("100 % after iteration 5: F - b must exceed 0.223")


def test_a_branch_that_had_degraded_in_one_space_is_judged_there():
    """With nothing larger to turn to; whichever space it is, the note stays."""
    for space, other in (("clip", "conv"), ("conv", "clip")):
        claims, _ = of_healing(branches(ill_25=2.0, spaces=(space,), more=()))
        told_in = claims[0].verdict.split("; ")
        assert set(told_in) == {f"holds ({space})", f"not run: branch not degraded ({other})"}
        assert claims[0].statement.endswith("(from 25 % after iteration 5)")
        assert claims[0].note.startswith("25 % after iteration 5: F - b must exceed 0.223")


def test_where_nothing_was_healed_the_claims_are_stated_plainly():
    for arms, rows in ((ARMS, table(skip=("heal",))), (dataclasses.replace(ARMS, heal=None), branches(ill_25=2.0))):
        claims, parts = judge(rows, arms)
        assert [claim.statement for claim in claims[8:11]] == statements()
        assert {claim.verdict for claim in claims[8:11]} == {NOT_RUN}
        assert {part.statistic for part in parts if part.claim == 9} == {"F(heal,end) - b"}


@pytest.mark.parametrize(("ill_25", "judged", "end"), [(2.0, "25", 11), (1.2, "100", 12)])
def test_the_answer_names_the_ratio_that_was_healed(ill_25, judged, end):
    rows = branches(ill_25)
    text = render(judge(rows, ARMS)[0], details(rows), [], rows).answer
    expected = (end - 4) / (10 - 4)
    assert f"The model of {judged} %, healed by further retraining on real images only, ends at" in text
    assert f"base model's excess: {expected:.2f} (" in text
    assert "the verdict on claim 9" not in text


def test_the_answer_tells_a_verdict_on_healing_that_is_not_holds():
    rows = branches(ill_25=1.1, ill_100=1.2)
    text = render(judge(rows, ARMS)[0], details(rows), [], rows).answer
    assert "(the verdict on claim 9 is “not run: branch not degraded”)." in text
    rows = table(skip=("heal",))
    assert "healed" not in render(judge(rows, ARMS)[0], details(rows), [], rows).answer
