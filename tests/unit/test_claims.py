"""The decision rule and the twelve claims, from made-up tables."""

import csv
import dataclasses

import numpy as np
import pytest
from nepotism.data.cost import Cost, costs
from nepotism.data.jackknife import LeftOut, standard_error
from nepotism.data.tables import Row
from nepotism.families.diffusion.claims import STATEMENTS, Arms, diagnose, judge
from nepotism.judge.answer import page, render, render_short
from nepotism.judge.decisions import FAILS, HOLDS, NOT_RUN, UNDECIDED, Decision, Effect, conjunction, decide
from nepotism.judge.verdicts import Claim, count, render_part

ARMS = Arms("histogram_match", "sifid_cull", "heal")
SEEDS = (0, 1, 2)


def effects(*values, se=0.1):
    return [Effect(value, se) for value in values]


# ---- The rule


def test_the_interval_is_the_two_sided_90_percent_t_interval():
    decision = decide(effects(1.0, 2.0, 3.0), ">", 0)
    assert decision.value == pytest.approx(2)
    assert decision.high - decision.value == pytest.approx(2.9200 / np.sqrt(3), rel=1e-4)


@pytest.mark.parametrize(
    ("values", "relation", "bound", "verdict"),
    [
        ((1.0, 1.1, 0.9), ">", 0.5, HOLDS), ((0.1, 0.0, 0.2), ">", 0.5, FAILS), ((0.0, 0.5, 1.0), ">", 0.5, UNDECIDED),
        ((0.1, 0.0, 0.2), "<", 0.5, HOLDS), ((1.0, 1.1, 0.9), "<", 0.5, FAILS), ((0.0, 0.5, 1.0), "<", 0.5, UNDECIDED),
        ((0.1, 0.0, -0.1), "abs <", 0.5, HOLDS), ((1.0, 1.1, 0.9), "abs <", 0.5, FAILS),
        ((-1.0, -1.1, -0.9), "abs <", 0.5, FAILS), ((0.0, 0.5, 1.0), "abs <", 0.5, UNDECIDED),
        ((1.0, 1.0, 1.0), ">", 0.5, HOLDS), ((1.0, 1.0, 1.0), "abs <", 0.5, FAILS),
    ],
)  # fmt: skip
def test_verdicts(values, relation, bound, verdict):
    assert decide(effects(*values), relation, bound).verdict == verdict


def test_fewer_than_three_seeds_are_undecided_but_show_the_effect_within_the_run():
    decision = decide(effects(9.0, se=0.5), ">", 0)
    assert (decision.verdict, decision.value, decision.seeds) == (UNDECIDED, 9.0, 1)
    assert decision.high - decision.value == pytest.approx(1.64485 * 0.5, rel=1e-5)
    assert decide(effects(9.0, se=None), ">", 0).low is None
    assert decide([], ">", 0).verdict == NOT_RUN


@pytest.mark.parametrize("relation", [">", "<", "abs <"])
@pytest.mark.parametrize("seeds", [3, 5])
def test_a_false_holds_at_the_boundary_is_rarer_than_five_percent(relation, seeds):
    """By simulation at theta = c; with 4,000 runs the share may exceed 5 % by three standard errors."""
    rng = np.random.default_rng(seeds)
    runs = 4000
    held = sum(
        decide(effects(*rng.normal(0.2, 0.1, seeds)), relation, 0.2).verdict == HOLDS for _ in range(runs)
    )  # fmt: skip
    assert held / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    if relation != "abs <":
        assert held / runs >= 0.03, "the rule must not be needlessly strict either"


def test_a_conjunction_holds_if_all_do_and_fails_only_after_holms_correction():
    def part(verdict, against=1.0):
        return Decision(0.0, 0.0, 0.0, 3, verdict, against)

    assert conjunction([part(HOLDS), part(HOLDS)]) == HOLDS
    assert conjunction([part(HOLDS), part(UNDECIDED)]) == UNDECIDED
    assert conjunction([part(HOLDS), part(FAILS, 0.01)]) == FAILS
    assert conjunction([part(HOLDS), part(FAILS, 0.04)]) == UNDECIDED, "0.04 x 2 is not below 0.05"
    assert conjunction([part(HOLDS), part(NOT_RUN)]) == NOT_RUN
    assert conjunction([]) == NOT_RUN


def test_a_conjunction_of_false_parts_is_rejected_in_at_most_five_percent_by_chance():
    rng = np.random.default_rng(9)
    failed = sum(
        conjunction([decide(effects(*rng.normal(0.0, 1, 3)), ">", 0) for _ in range(5)]) == FAILS for _ in range(3000)
    )
    assert failed / 3000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 3000)


def test_errors_of_logarithms_follow_the_delta_method():
    rng = np.random.default_rng(1)
    draws = np.log(rng.normal(10, 0.3, 20_000))
    assert Effect(10, 0.3).log().se == pytest.approx(draws.std(), rel=0.03)
    difference = Effect(3, 0.3) - Effect(1, 0.4)
    assert (difference.value, difference.se) == (2, pytest.approx(0.5))


# ---- The claims


def table(
    seeds=SEEDS, ratios=("0", "10", "25", "100"), fid=None, clip=None, unseen=None, spread=None, diversity=None, recall=None,
    colour=1.2, unique=100, slots=100, kid=None, skip=(), floor=4.0, more=(),
):  # fmt: skip
    """A table in which functions of (control, ratio, iteration) give the scores; seeds add a little noise."""
    noise = {seed: 0.002 * (seed - 1) for seed in seeds}
    cells = [("base", "", i) for i in range(13)]
    cells += [("none", ratio, i) for ratio in ratios for i in range(1, 6)]
    cells += [(control, "100", i) for control in ("histogram_match", "sifid_cull") for i in range(1, 6)]
    cells += [("heal", "25", i) for i in range(6, 9)]
    cells += more
    rows = []

    def add(cell, seed, name, space, metric, value, sd=None, n=100):
        control, ratio, iteration = cell
        rows.append(
            Row(
                "x",
                control,
                ratio,
                seed,
                iteration,
                name,
                space,
                metric,
                value,
                sd,
                0.01,
                value - 0.02,
                value + 0.02,
                n,
            )
        )

    def default(cell):
        control, ratio, iteration = cell
        share = 0 if control == "heal" or not ratio else float(ratio) / 100
        return 10 * (1 + share * iteration)

    for seed in seeds:
        for cell in cells:
            if cell[0] in skip:
                continue
            distance = (fid or default)(cell)
            for space in ("clip", "conv"):
                add(cell, seed, "samples", space, "fid", distance * (1 + noise[seed]))
                add(cell, seed, "samples", space, "kid", (kid or default)(cell) / 100 + noise[seed])
                add(
                    cell,
                    seed,
                    "samples",
                    space,
                    "within_group_distance",
                    (diversity or (lambda c: 100 / default(c)))(cell),
                )
                add(cell, seed, "samples", space, "recall", (recall or (lambda c: 8 / default(c)))(cell) + noise[seed])
            add(
                cell,
                seed,
                "samples",
                "clip",
                "clip_score",
                (clip or (lambda c: 45 - default(c) / 2))(cell) + noise[seed],
            )
            add(cell, seed, "unseen", "clip", "clip_score", (unseen or (lambda c: 45 - default(c)))(cell) + noise[seed])
            for name in ("samples", "unseen"):
                add(
                    cell,
                    seed,
                    name,
                    "clip",
                    "clip_score_within_group_sd",
                    (spread or (lambda c: 2.0))(cell) + noise[seed],
                )
            if cell[0] == "sifid_cull":
                add(cell, seed, "curated", "", "unique_images", unique, n=slots)
        for space in ("clip", "conv"):
            add(cells[0], seed, "real", space, "fid", floor)
        for metric in ("contrast", "saturation"):
            add(cells[0], seed, "samples", "pixels", metric, colour + noise[seed])
            add(cells[0], seed, "real", "pixels", metric, 1.0, sd=0.5)
    return rows


def verdicts(**options):
    claims, _ = judge(table(**options), ARMS)
    assert [claim.claim for claim in claims] == list(range(1, 13))
    assert all(claim.source in ("paper", "ours") for claim in claims)
    return {claim.claim: claim for claim in claims}


def growing(rate):
    """FID that grows with the share of generated images; healing brings it back."""

    def fid(cell):
        control, ratio, iteration = cell
        share = 0 if control == "heal" or not ratio else float(ratio) / 100
        return 10 * np.exp(rate * share * iteration)

    return fid


def test_a_collapse_like_the_papers_is_recognised():
    found = verdicts(fid=growing(2.0), spread=lambda cell: 4.2 if cell[0] == "heal" else 2.8)
    for number in (2, 3, 5, 6, 7, 8, 9, 10, 12):
        assert found[number].verdict == HOLDS, found[number]
    assert found[1].verdict == HOLDS
    assert found[2].kid == "agrees"


def test_nothing_happens_and_the_claims_of_collapse_do_not_hold():
    found = verdicts(fid=lambda cell: 10.0, clip=lambda cell: 45.0, unseen=lambda cell: 45.0, diversity=lambda cell: 10.0,
                     recall=lambda cell: 0.5, colour=0.5)  # fmt: skip
    assert found[1].verdict == HOLDS
    for number in (2, 5, 6, 7, 8, 12):
        assert found[number].verdict == FAILS, found[number]
    for number in (9, 10, 11):
        assert found[number].verdict == "not run: branch not degraded"


def at_first(value):
    """FID of every arm at its first iteration; of all else, 10."""
    return lambda cell: value if cell[0] != "base" and cell[2] == 1 else 10.0


def test_a_first_iteration_that_improves_is_seen():
    assert verdicts(fid=at_first(8.0))[4].verdict == HOLDS
    assert verdicts(fid=at_first(12.0))[4].verdict == FAILS


def test_the_base_model_that_a_cell_is_compared_with_is_drawn_from_the_same_noise():
    """An iteration whose noise makes everything look worse: where the base model looks worse too, nothing has changed."""

    def unlucky(cell):
        return 15.0 if cell[2] in (5, 8) else 10.0

    found = verdicts(fid=unlucky)
    assert found[1].verdict == HOLDS
    assert "clip: F(0,I) - b = 0 [0, 0]" in found[1].statistic
    branch = {("none", "25"): 10.0}
    found = verdicts(fid=lambda cell: unlucky(cell) + branch.get(cell[:2], 0.0))
    assert found[9].verdict == HOLDS, found[9]
    assert "clip: F(heal,25,end) - b = 0 [0, 0]" in found[9].statistic


def test_without_the_base_model_at_an_iteration_nothing_is_compared_with_it():
    rows = [row for row in table() if (row.control, row.iteration) != ("base", 5)]
    claims, _ = judge(rows, ARMS)
    assert claims[0].verdict == NOT_RUN
    assert claims[2].verdict == HOLDS


def test_real_images_that_degrade_too_are_not_flat():
    assert verdicts(fid=lambda cell: 10.0 if cell[0] == "base" else 10.0 * (1 + cell[2]))[1].verdict == FAILS


def test_controls_that_prevent_collapse_or_slow_it_down_refute_the_claim():
    def rescued(cell):
        return 10.0 if cell[0] in ("histogram_match", "sifid_cull") else growing(2.0)(cell)

    found = verdicts(fid=rescued)
    assert found[5].verdict == found[6].verdict == FAILS


def test_culling_that_leaves_few_different_images_is_starved():
    found = verdicts(fid=growing(2.0), unique=40)
    assert found[6].verdict == "undecided (starved)"
    assert "40%" in found[6].note
    assert found[5].verdict == HOLDS


def test_culling_that_empties_most_slots_is_starved_although_the_images_left_are_all_different():
    found = verdicts(fid=growing(2.0), unique=3, slots=100)
    assert found[6].verdict == "undecided (starved)"
    assert "3%" in found[6].note
    assert verdicts(fid=growing(2.0), unique=51, slots=100)[6].verdict == HOLDS


def paired(rows, images=30):
    """The same table with values without six blocks of images, in which all scores of a cell's neighbours rise and fall alike."""
    common = np.array([0.08, -0.05, 0.03, -0.06, 0.04, -0.04])
    own = np.array([0.004, 0.002, -0.003, 0.001, -0.002, -0.002])
    found = []
    for index, row in enumerate(rows):
        shift = common + np.roll(own, index)
        left_out = LeftOut((images,) * 6, tuple(row.value + shift * (1 if row.metric == "recall" else row.value)))
        se = standard_error(row.value, left_out)
        found.append(dataclasses.replace(row, se=se, left_out=left_out))
    return found


def test_arms_of_a_run_are_paired_in_every_claim():
    """What arms have in common cancels, wholly in differences of logarithms: no interval may be as wide as of independent arms."""
    rows = paired(table(seeds=(0,), fid=growing(0.5)))
    alone = [dataclasses.replace(row, left_out=None) for row in rows]
    _, joint = judge(rows, ARMS)
    _, added = judge(alone, ARMS)
    compared = 0
    for one, other in zip(joint, added, strict=True):
        assert one.statistic == other.statistic
        if one.decision.low is None:
            continue
        widths = [part.decision.high - part.decision.low for part in (one, other)]
        assert widths[0] < 0.7 * widths[1], one
        compared += 1
    assert {part.claim for part in joint} == set(range(1, 13))
    assert compared > 30
    difference = next(part for part in joint if part.statistic == "F(100,I) - F(0,I)" and part.features == "clip")
    cells = {
        (r.ratio, r.features, r.metric): r for r in rows if (r.control, r.iteration, r.set) == ("none", 5, "samples")
    }
    logs = [np.log(cells[ratio, "clip", "fid"].left_out.values) for ratio in ("100", "0")]
    without = logs[0] - logs[1]
    se = np.sqrt(5 / 6 * ((without - without.mean()) ** 2).sum())
    assert difference.decision.high - difference.decision.value == pytest.approx(2.01505 * se, rel=1e-4)


def test_beside_an_effect_on_the_distance_stands_that_on_its_excess():
    rows = table(fid=growing(0.5), floor=4.0)
    claims, parts = judge(rows, ARMS)
    part = next(each for each in parts if each.statistic == "F(100,I) - F(0,I)" and each.features == "conv")
    seeds = 1 + np.array([-0.002, 0.0, 0.002])
    expected = np.log((10 * np.exp(2.5) * seeds - 4) / (10 * seeds - 4))
    assert part.excess.value == pytest.approx(expected.mean())
    assert part.excess.value > part.decision.value
    assert f"of the excess {part.excess.value:.3g} [" in claims[1].statistic
    captions = next(each for each in parts if each.features == "captions")
    assert captions.excess is None


def test_an_excess_at_or_below_the_floor_is_not_defined_and_no_error():
    rows = table(fid=growing(0.5), floor=11.0)
    claims, _ = judge(rows, ARMS)
    assert "of the excess inf" in claims[1].statistic
    text = render(claims, details(rows), [], rows).answer
    assert "real images: not defined in CLIP features and not defined in random convolutions (the distances" in text


# ---- Arms with other settings


GUIDED = [("guidance3", ratio, i) for ratio in ("0", "100") for i in range(1, 6)]


def guided(cell):
    """Guidance alone makes distances a third; with it, 100 % goes as far from its own 0 % as without."""
    return growing(0.5)(cell) / (3 if cell[0] == "guidance3" else 1)


def test_an_arm_with_other_settings_is_compared_with_its_own_0_percent():
    rows = table(fid=guided, more=GUIDED, floor=1.0)
    found = {part.features: part for part in diagnose(rows, {"guidance3": "base"})}
    assert set(found) == {"captions", "clip", "conv"}
    assert found["conv"].statistic == "F(guidance3,100,I) - F(guidance3,0,I)"
    assert found["conv"].decision.value == pytest.approx(2.5)
    assert found["conv"].decision.verdict == HOLDS
    assert found["captions"].statistic == "(C(guidance3,0,I) - C(guidance3,100,I)) / s"
    told_of = " ".join(render(judge(rows, ARMS)[0], details(rows), table_of(found.values()), rows).diagnosis)
    excess = found["conv"].excess.value
    assert np.exp(excess) == pytest.approx((10 / 3 * np.exp(2.5) - 1) / (10 / 3 - 1), rel=1e-3)
    assert f"its own 0 %: {np.exp(excess):.2f} (" in told_of


def test_without_a_0_percent_of_its_own_it_is_compared_with_nothing():
    rows = table(fid=guided, more=[cell for cell in GUIDED if cell[1] == "100"])
    found = diagnose(rows, {"guidance3": "base"})
    assert {part.decision.verdict for part in found} == {NOT_RUN}
    text = render(judge(rows, ARMS)[0], details(rows), table_of(found), rows)
    assert "F(guidance3,100,I) - F(guidance3,0,I): not run; it needs" in " ".join(text.diagnosis)
    # A score of 0 in some seed is another matter: the cells are there.
    zero = [
        dataclasses.replace(row, value=0.0)
        if (row.control, row.ratio, row.iteration, row.seed, row.metric) == ("guidance3", "100", 5, 0, "fid")
        else row
        for row in table(fid=guided, more=GUIDED)
    ]
    undefined = diagnose(zero, {"guidance3": "base"})
    text = render(judge(zero, ARMS)[0], details(zero), table_of(undefined), zero)
    assert "F(guidance3,100,I) - F(guidance3,0,I): not defined in every seed." in text.diagnosis
    assert {render_part(part) for part in undefined if part.features == "clip"} == {
        "clip: F(guidance3,100,I) - F(guidance3,0,I) not defined in every seed"
    }
    assert diagnose(rows, {}) == []


def test_its_captions_are_measured_by_the_spread_of_its_own_iteration_0_or_by_none():
    rows = table(fid=guided, more=GUIDED)
    beginning = [dataclasses.replace(row, control="base-guidance3") for row in rows if row.control == "base"]
    wider = [
        dataclasses.replace(row, value=2 * row.value, left_out=None)
        if row.metric == "clip_score_within_group_sd"
        else row
        for row in beginning
    ]

    def captions(rows, base):
        return next(part for part in diagnose(rows, {"guidance3": base}) if part.features == "captions").decision

    one, other = captions(rows, "base").value, captions([*rows, *wider], "base-guidance3").value
    assert one == pytest.approx(2 * other) != 0
    assert captions(rows, "base-guidance3").verdict == NOT_RUN


def test_healing_that_fails_or_keeps_its_clip_score_is_told():
    ill = verdicts(
        fid=lambda c: 30.0 if c[0] == "heal" else growing(2.0)(c), clip=lambda c: 40.0 if c[0] == "heal" else 45.0
    )
    assert ill[9].verdict == FAILS
    assert ill[11].verdict == FAILS
    assert ill[10].verdict == FAILS


def test_one_seed_is_undecided_and_missing_arms_are_not_run():
    found = verdicts(seeds=(0,), fid=growing(2.0))
    assert {found[n].verdict for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12)} == {UNDECIDED}
    assert "= 2" in found[2].statistic
    assert "F(100,I) - F(0,I) = 10 [" in found[2].statistic
    found = verdicts(skip=("histogram_match", "heal"))
    assert found[5].verdict == found[9].verdict == NOT_RUN
    assert found[6].verdict != NOT_RUN
    without_25 = verdicts(ratios=("0", "100"))
    assert without_25[8].verdict == NOT_RUN
    assert verdicts(ratios=("0", "100"))[3].verdict == NOT_RUN


def test_a_claim_that_holds_in_one_feature_space_only_is_reported_as_such():
    rows = [
        row if row.features != "conv" or row.metric != "fid" else Row(**{**row.__dict__, "value": 10.0})
        for row in table(fid=growing(2.0))
    ]
    claims, _ = judge(rows, ARMS)
    assert claims[2].verdict.startswith("holds (clip); ")
    assert "(conv)" in claims[2].verdict


def test_kid_that_points_the_other_way_is_told():
    found = verdicts(fid=growing(2.0), kid=lambda cell: -growing(2.0)(cell))
    assert found[2].kid == "disagrees"


def test_verdicts_rest_on_all_seeds_or_none():
    rows = [row for row in table(fid=growing(2.0)) if not (row.control == "histogram_match" and row.seed == 2)]
    claims, _ = judge(rows, ARMS)
    assert claims[4].verdict == NOT_RUN


def test_captions_count_in_every_feature_space_and_are_told_once():
    _, parts = judge(table(fid=growing(2.0)), ARMS)
    assert [p.features for p in parts if p.claim == 1] == ["captions", "clip", "conv"]
    claims, _ = judge(table(fid=growing(2.0), clip=lambda cell: 45.0), ARMS)
    assert claims[1].verdict == FAILS
    assert ";" not in claims[1].verdict


def test_a_complete_collapse_is_judged_like_any_other():
    """Identical images: no distance inside groups at all, whose logarithm is minus infinity."""
    found = verdicts(fid=growing(2.0), diversity=lambda cell: 0.0 if cell[1] in ("25", "100") else 10.0)
    assert found[7].verdict == HOLDS
    both = verdicts(fid=growing(2.0), diversity=lambda cell: 0.0)
    assert both[7].verdict == UNDECIDED
    assert decide([Effect(-np.inf, None)] * 3, ">", 0).verdict == FAILS
    assert decide([Effect(-np.inf, None), *effects(1.0, 2.0)], ">", 0).verdict == UNDECIDED


def test_kid_that_cannot_be_told_from_0_neither_agrees_nor_disagrees():
    assert verdicts(fid=growing(2.0), kid=lambda cell: 1.0)[2].kid == "cannot be told"


def test_the_way_of_pairing_is_noted_where_it_is_not_the_papers():
    claims, _ = judge(table(fid=growing(2.0)), dataclasses.replace(ARMS, pair="nearest_in_group"))
    assert "nearest_in_group; the paper" in claims[5].note
    assert judge(table(fid=growing(2.0)), dataclasses.replace(ARMS, pair="slot"))[0][5].note == ""


# ---- The report's first page


def table_of(parts):
    """Parts as the text of their table."""

    def text(value):
        return "" if value is None else str(value)

    return [
        {
            "claim": str(p.claim), "features": p.features, "statistic": p.statistic, "value": text(p.decision.value),
            "ci90_low": text(p.decision.low), "ci90_high": text(p.decision.high),
            "excess": text(p.excess and p.excess.value), "excess_low": text(p.excess and p.excess.low),
            "excess_high": text(p.excess and p.excess.high), "verdict": p.decision.verdict,
        }
        for p in parts
    ]  # fmt: skip


def details(rows):
    return table_of(judge(rows, ARMS)[1])


def test_the_answers_numbers_are_effects_of_the_table_of_claims():
    rows = table(fid=growing(2.0))
    claims, parts = judge(rows, ARMS)
    text = page(
        render(claims, details(rows), [], rows),
        claims,
        {"python": "3.11", "libraries": {"torch": "2"}},
        [Cost("score", 2, 3.0, 4.0, 5.0)],
    )
    effect = next(p for p in parts if p.statistic == "F(100,I) - F(0,I)").decision.value
    assert f"{np.exp(effect):.2f}" in text
    assert "{{ snakemake.config | tojson" in text
    for statement, _ in STATEMENTS.values():
        assert statement in text
    assert "torch 2" in text
    last = np.mean(
        [
            r.value
            for r in rows
            if (r.control, r.ratio, r.iteration, r.metric, r.features) == ("none", "100", 5, "fid", "conv")
        ]
    )
    ends = text.split("Where every condition ends")[1]
    assert f"{last:.4g}" in ends
    # The excess over the floor comes first, in the paragraph and in the table.
    assert f"{last - 4:.4g}" in ends
    assert ends.index("excess (clip)") < ends.index("Fréchet (clip)")
    excess = next(p for p in parts if p.statistic == "F(100,I) - F(0,I)").excess.value
    assert text.index(f"{np.exp(excess):.2f}") < text.index(f"{np.exp(effect):.2f}")


def test_the_page_of_a_family_tells_what_models_drew_and_not_what_original_rows_score():
    def row(control, ratio, iteration, seed, kind, value):
        return Row("x", control, ratio, seed, iteration, kind, "", "fid", value, *[None] * 4, 90)

    rows = [
        row("base", "", 0, seed, kind, value) for seed in (0, 1) for kind, value in (("samples", 7.0), ("real", 1.0))
    ]
    rows += [row("none", "100", 3, seed, "samples", 30.0 + seed) for seed in (0, 1)]
    header, lines, _ = render_short("q", "n", ["fid"], [], rows).ends
    assert header == ["condition", "iteration", "fid"]
    assert lines == [["base", "0", "7"], ["none 100 %", "3", "30.5"]]


def test_the_page_says_that_the_error_is_per_claim():
    rows = table()
    claims, _ = judge(rows, ARMS)
    text = " ".join(page(render(claims, details(rows), [], rows), claims, {}, []).split())
    assert "5 % of experiments. That error is per claim: the 12 claims are not corrected jointly." in text
    assert "Is it collapse, or a setting?" not in text


def test_verdicts_are_counted():
    def claim(verdict):
        return Claim(1, "s", "paper", verdict, "", "", "")

    kinds = [
        HOLDS,
        HOLDS,
        FAILS,
        "undecided (starved)",
        "holds (clip); undecided (conv)",
        "not run: branch not degraded",
    ]
    assert count(map(claim, kinds)) == {HOLDS: 2, FAILS: 1, UNDECIDED: 1, "mixed": 1, NOT_RUN: 1}


def test_the_answer_counts_verdicts_in_words():
    def answer(*kinds):
        claims = [Claim(number, "s", "paper", kind, "", "", "") for number, kind in enumerate(kinds, 1)]
        return render(claims, [], [], []).answer

    assert answer(HOLDS, HOLDS, FAILS, UNDECIDED) == "Of the 4 claims: 2 hold, 1 does not hold, 1 undecided."
    assert answer(HOLDS, FAILS, FAILS, NOT_RUN) == "Of the 4 claims: 1 holds, 2 do not hold, 1 not run."


def test_costs_are_summed_per_rule(tmp_path):
    def write(path, **values):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, values, delimiter="\t")
            writer.writeheader()
            writer.writerow(values)

    write(tmp_path / "finetune" / "a" / "1.tsv", s="2.0", cpu_time="3.0", max_rss="10", max_pss="8")
    write(tmp_path / "finetune" / "a" / "2.tsv", s="4.0", cpu_time="5.0", max_rss="20", max_pss="9")
    write(tmp_path / "encode.tsv", s="0.1", cpu_time="NA", max_rss="-", max_pss="NA")
    assert costs(tmp_path) == [Cost("finetune", 2, 6.0, 8.0, 20.0), Cost("encode", 1, 0.1, 0.0, 0.0)]


@pytest.mark.parametrize("values", [[np.inf, -np.inf, np.inf], [np.inf, 1.0, 2.0], [np.nan, 1.0, 2.0]])
@pytest.mark.parametrize("relation", [">", "<", "abs <"])
def test_effects_without_a_mean_decide_nothing(values, relation):
    decision = decide([Effect(value, None) for value in values], relation, 0.5)
    assert decision.verdict == UNDECIDED
    assert conjunction([decision]) == UNDECIDED
