"""Mixing is nested, balanced, exact, and a pure function of ratio, groups and seed."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from conftest import ROOT
from hypothesis import assume, given
from hypothesis import strategies as st
from nepotism.chain.mix import Images, mix
from nepotism.chain.regimes import REGIMES
from nepotism.chain.slots import Slots, slots_of
from nepotism.controls import CONTROLS
from nepotism.data.images import Record
from nepotism.experiment.cells import canonical_ratio, draw_count, generated_count
from nepotism.families.diffusion.training_set import row_names
from nepotism.plan import config as configuration
from nepotism.plan.grid import Grid
from nepotism.runtime.errors import UserError
from test_config import DEFAULT, merged

PAPER = {f"group-{index:02d}": 30 for index in range(30)}
sizes = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 12), min_size=1)
ratios = st.decimals(0, 100, places=1).map(lambda value: canonical_ratio(float(value)))


def names(groups):
    return [f"{group}/{index:03d}" for group, size in groups.items() for index in range(size)]


def generated_slots(ratio, groups, seed):
    """Names of the slots that are generated."""
    chosen, others = Slots(groups, seed).split(ratio)
    named = names(groups)
    assert sorted([*chosen, *others]) == list(range(len(named)))
    return {named[index] for index in chosen}


@pytest.mark.parametrize(
    ("ratio", "count"), [("0", 0), ("3.3", 30), ("10", 90), ("25", 225), ("50", 450), ("100", 900)]
)
def test_counts_of_the_paper_are_exact(ratio, count):
    slots = generated_slots(ratio, PAPER, seed=0)
    assert len(slots) == count
    per_group = Counter(slot.split("/")[0] for slot in slots)
    if count:
        assert set(per_group) == set(PAPER)
        assert max(per_group.values()) - min(per_group.values()) <= 1


def test_counts_agree_with_the_largest_remainder_for_equal_groups():
    for ratio in ("3.3", "10", "12.5", "25", "33.3", "50", "77.7"):
        total = generated_count(ratio, 900)
        quota = float(ratio) * 30 / 100
        expected = Counter({int(quota): 30})
        if total != 30 * int(quota):
            extra = total - 30 * int(quota)
            expected = Counter({int(quota) + 1: extra, int(quota): 30 - extra})
        per_group = Counter(slot.split("/")[0] for slot in generated_slots(ratio, PAPER, 0))
        assert +Counter(per_group.get(group, 0) for group in PAPER) == +expected


@given(sizes, st.integers(0, 5), ratios, ratios)
def test_ratios_are_nested(groups, seed, one, other):
    low, high = sorted((one, other), key=float)
    for ratio in (low, high):
        assume(generated_count(ratio, sum(groups.values())) > 0 or ratio == "0")
        assume(generated_count(ratio, sum(groups.values())) < sum(groups.values()) or ratio == "100")
    assert generated_slots(low, groups, seed) <= generated_slots(high, groups, seed)


@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 5), ratios)
def test_equal_groups_get_equal_shares(count, size, seed, ratio):
    groups = {f"g{index}": size for index in range(count)}
    assume(generated_count(ratio, count * size) > 0 or ratio == "0")
    assume(generated_count(ratio, count * size) < count * size or ratio == "100")
    slots = generated_slots(ratio, groups, seed)
    chosen = Counter(slot.split("/")[0] for slot in slots)
    counts = [chosen[group] for group in groups]
    assert max(counts) - min(counts) <= 1


def test_the_seed_decides_and_nothing_else():
    assert generated_slots("25", PAPER, 0) == generated_slots("25", dict(reversed(PAPER.items())), 0)
    assert generated_slots("25", PAPER, 0) != generated_slots("25", PAPER, 1)


def records(origin):
    return [Record(f"{origin}/{g}/{i}", "p", g, f"{g}/{i:03d}", origin) for g in "ab" for i in range(4)]


def mixed(regime, real, generated, ratio, iteration=1, drop_missing=False, fresh=None, other=None, **parameters):
    """Ids of a training set; ``generated`` are the records of every model so far."""
    sources = REGIMES[regime].plan(slots_of(real, 0), ratio, iteration, REGIMES[regime].filled(parameters))
    made = [Images(each, f"made-{number}.parquet") for number, each in enumerate(generated)]
    reserved = Images(fresh, "fresh.parquet") if fresh else None
    fed = Images(other, "other.parquet") if other else None
    return mix(sources, Images(real, "real.parquet"), made, iteration - len(made), reserved, drop_missing, other=fed)


def test_a_mixture_takes_each_slot_from_one_file():
    chosen, files = mixed("replace", records("real"), [records("generated")], "50")
    assert [record.slot for record in chosen] == [record.slot for record in records("real")]
    assert Counter(files) == {"real.parquet": 4, "made-0.parquet": 4}
    assert all((file == "made-0.parquet") == (record.origin == "generated") for record, file in zip(chosen, files))


def test_no_generated_image_at_ratio_zero():
    chosen, _ = mixed("replace", records("real"), [], "0")
    assert {record.origin for record in chosen} == {"real"}


def test_a_ratio_that_gives_no_row_or_all_is_an_error():
    with pytest.raises(UserError, match="1 % of 4 slots is no row at all"):
        generated_slots("1", {"a": 4}, 0)
    with pytest.raises(UserError, match="99 % of 4 slots is all of them"):
        generated_slots("99", {"a": 4}, 0)


def test_a_missing_generated_image_is_an_error():
    with pytest.raises(ValueError, match=r"made-0.parquet has no image for slot"):
        mixed("replace", records("real"), [records("generated")[1:]], "100")


def test_dropped_images_leave_the_training_set_smaller_only_if_that_is_wanted():
    real = [Record(f"real/{i}", "p", "a", f"a/{i:03d}", "real") for i in range(4)]
    generated = [Record(f"new/{i}", "p", "a", f"a/{i:03d}", "generated") for i in (0, 2)]
    with pytest.raises(ValueError, match="has no image for slot a/001"):
        mixed("replace", real, [generated], "100")
    chosen, files = mixed("replace", real, [generated], "100", drop_missing=True)
    assert [record.id for record in chosen] == ["new/0", "new/2"]
    assert files == ["made-0.parquet"] * 2


def of_models(count):
    """What models 0 to ``count`` - 1 drew."""
    return [
        [replace(each, id=f"{number}/{each.slot}", iteration=number) for each in records("generated")]
        for number in range(count)
    ]


def test_what_accumulates_holds_everything_slot_by_slot():
    chosen, files = mixed("accumulate", records("real"), of_models(3), "100", iteration=3)
    assert len(chosen) == 4 * 8
    assert [record.origin for record in chosen[:4]] == ["real"] + ["generated"] * 3
    assert [record.iteration for record in chosen[1:4]] == [0, 1, 2]
    assert {record.slot for record in chosen[:4]} == {"a/000"}
    assert files[:4] == ["real.parquet", "made-0.parquet", "made-1.parquet", "made-2.parquet"]


def test_a_subsample_has_as_many_rows_as_slots_from_everything_and_others_each_time():
    def drawn(iteration):
        chosen, _ = mixed("accumulate_subsample", records("real"), of_models(iteration), "100", iteration)
        return [record.id for record in chosen]

    assert len(drawn(3)) == len(set(drawn(3))) == 8
    chosen, _ = mixed("accumulate_subsample", records("real"), of_models(9), "100", 9)
    assert Counter(record.group for record in chosen) == {"a": 4, "b": 4}, "each group from its own rows"
    assert len({record.iteration for record in chosen}) > 2
    assert drawn(3) == drawn(3)
    assert set(drawn(3)) != set(drawn(4))


def test_fresh_images_stand_where_the_mixture_would_have_kept_its_own():
    reserved = [replace(record, id=f"fresh/{record.slot}") for record in records("real")]
    chosen, files = mixed("fresh", records("real"), of_models(1), "50", fresh=reserved)
    kept, _ = mixed("replace", records("real"), of_models(1), "50")
    assert [record.slot for record in chosen] == [record.slot for record in kept]
    assert [record.origin for record in chosen] == [record.origin for record in kept]
    assert Counter(files) == {"fresh.parquet": 4, "made-0.parquet": 4}
    with pytest.raises(ValueError, match="reserved for this training set are not given"):
        mixed("fresh", records("real"), of_models(1), "50")


def test_what_augments_keeps_all_real_images_and_adds_those_of_the_mixture():
    chosen, _ = mixed("augment", records("real"), of_models(1), "25")
    plain, _ = mixed("replace", records("real"), of_models(1), "25")
    assert Counter(record.origin for record in chosen) == {"real": 8, "generated": 2}
    assert {r.slot for r in chosen if r.origin == "generated"} == {r.slot for r in plain if r.origin == "generated"}


@pytest.mark.parametrize("ratio", ["0", "50", "100", "150", "250", "300", "1000"])
def test_above_100_percent_whole_draws_are_added_and_of_one_more_what_a_mixture_takes(ratio):
    further = [[replace(each, id=f"draw-{draw}/{each.slot}") for each in records("generated")] for draw in range(1, 10)]
    sources = REGIMES["augment"].plan(slots_of(records("real"), 0), ratio, 1, {})
    images = [Images(each, f"draw-{draw}.parquet") for draw, each in enumerate(further, 1)]
    given = (Images(records("real"), "real.parquet"), [Images(records("generated"), "draw-0.parquet")], 0)
    chosen, files = mix(sources, *given, draws=images[: max(0, draw_count(ratio) - 1)])
    whole, rest = divmod(int(ratio), 100)
    assert Counter(files) == +Counter(
        {
            "real.parquet": 8,
            **{f"draw-{draw}.parquet": 8 for draw in range(whole)},
            f"draw-{whole}.parquet": 8 * rest // 100,
        }
    )
    taken = {record.slot for record, file in zip(chosen, files) if file == f"draw-{whole}.parquet"}
    assert taken == {records("real")[index].slot for index in slots_of(records("real"), 0).split(str(rest))[0]}
    assert len(chosen) == 8 + generated_count(ratio, 8)
    named = row_names(chosen)
    assert len(set(named)) == len(named), "every image has a random stream of its own"
    of_slot = [name for record, name in zip(chosen, named) if record.slot == "a/000"]
    assert of_slot[:4] == ["a/000", "a/000@0", "a/000@0-1", "a/000@0-2"][: len(of_slot)]


@given(sizes, st.integers(0, 3), st.integers(0, 20), st.integers(0, 20))
def test_draws_are_nested(groups, seed, one, other):
    slots = Slots(groups, seed)
    assume(len(slots) > 1)
    low, high = (slots.draws(str(50 * halves)) for halves in sorted((one, other)))
    assert len(low) <= len(high)
    assert all(set(few) <= set(many) for few, many in zip(low, high))


def test_a_part_of_a_draw_that_is_no_row_is_an_error():
    with pytest.raises(
        UserError, match=r"1 % of 4 slots is no row at all.*; it is what 201 % takes beyond whole draws"
    ):
        Slots({"a": 4}, 0).draws("201")


def test_a_draw_that_is_not_given_is_told():
    sources = REGIMES["augment"].plan(slots_of(records("real"), 0), "200", 1, {})
    given = (Images(records("real"), "real.parquet"), [Images(records("generated"), "made.parquet")], 0)
    with pytest.raises(ValueError, match="draw 1 of iteration 0 is not among those that are given"):
        mix(sources, *given)


def fed(share, ratio="50"):
    """Slots and files of a training set whose chain is fed by another."""
    other = [replace(record, id=f"other/{record.slot}") for record in records("generated")]
    return mixed("feed", records("real"), of_models(1), ratio, other=other, share=share)


def test_a_chain_that_is_fed_nothing_is_the_plain_mixture():
    for ratio in ("0", "25", "50", "100"):
        plain = mixed("replace", records("real"), of_models(1), ratio)
        assert fed(0, ratio) == plain
        given = mixed("feed", records("real"), of_models(1), ratio, share=0)
        assert given == plain, "and needs no images of another chain"


def test_what_another_chain_feeds_takes_a_balanced_share_of_the_generated_slots():
    generated = {
        record.slot
        for record in mixed("replace", records("real"), of_models(1), "50")[0]
        if record.origin == "generated"
    }
    taken = {}
    for share in (0, 25, 50, 75, 100):
        chosen, files = fed(share)
        assert [record.slot for record in chosen] == [record.slot for record in records("real")]
        assert {record.slot for record in chosen if record.origin == "generated"} == generated
        taken[share] = {record.slot for record, file in zip(chosen, files) if file == "other.parquet"}
        assert Counter(files) == +Counter(
            {"real.parquet": 4, "made-0.parquet": 4 - share // 25, "other.parquet": share // 25}
        )
        assert row_names(chosen) == [record.slot for record in records("real")]
    assert taken[25] < taken[50] < taken[75] < taken[100] == generated
    assert Counter(slot[0] for slot in taken[50]) == {"a": 1, "b": 1}
    # Against the order that ratios are taken in.
    assert taken[50] == {records("real")[index].slot for index in slots_of(records("real"), 0).split("25")[0]}


@given(sizes, st.integers(0, 3), st.integers(1, 9), st.integers(1, 9))
def test_shares_are_nested_in_share_and_ratio(groups, seed, one, other):
    # So many that every tenth of the generated ones is a slot.
    slots = Slots({name: 20 * size for name, size in groups.items()}, seed)
    low, high = sorted((one, other))
    own, theirs = slots.shared("50", 10 * low)
    assert set(theirs) <= set(slots.shared("50", 10 * high)[1])
    assert set(theirs) <= set(slots.shared("70", 10 * low)[1])
    assert sorted([*own, *theirs]) == slots.split("50")[0].tolist()
    assert len(theirs) == generated_count(10 * low, generated_count("50", len(slots)))


def test_a_share_that_is_none_or_all_of_the_slots_is_an_error():
    with pytest.raises(UserError, match=r"`arms.parameters.share`: 10 % of 4 generated slots is none at all"):
        fed(10)
    with pytest.raises(UserError, match=r"`arms.parameters.share`: 90 % of 4 generated slots is all of them"):
        fed(90)
    with pytest.raises(ValueError, match="the images of the other chain are not given"):
        mixed("feed", records("real"), of_models(1), "50", share=50)


def test_healing_takes_real_images_only_whatever_the_branch():
    chosen, files = mixed("heal", records("real"), [], "25", iteration=4)
    assert [record.id for record in chosen] == [record.id for record in records("real")]
    assert set(files) == {"real.parquet"}


def test_images_of_one_slot_have_random_streams_of_their_own():
    chosen, _ = mixed("accumulate", records("real"), of_models(2), "100", iteration=2)
    assert row_names(chosen)[:4] == ["a/000", "a/000@0", "a/000@1", "a/001"]
    plain, _ = mixed("replace", records("real"), of_models(1), "50")
    assert row_names(plain) == [record.slot for record in plain], "the streams of a mixture do not depend on its ratio"


def test_the_worked_example_of_a_new_regime_is_true(monkeypatch):
    """The block of CONTRIBUTING.md makes a regime that configurations know and training sets are made of."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding a regime")[1].split("\n## ")[0]
    place, code = re.findall(r"```python\n# ([^\n]+)\n(.*?)```", text, re.DOTALL)[0]
    assert place == "scripts/nepotism/chain/regimes/window.py"
    module: dict = {}
    exec(code, module)
    monkeypatch.setitem(REGIMES, "window", module["REGIME"])
    arm = {"name": "recent", "regime": "window", "ratios": [100], "parameters": {"models": 3}}
    checked = Grid(configuration.checked(merged(DEFAULT, {"arms": [arm]}))).arm("recent")
    assert checked.of_regime() == {"models": 3}
    chosen, _ = mixed("window", records("real"), of_models(4), "100", iteration=4, models=2)
    assert [record.iteration for record in chosen if record.origin == "generated"][:2] == [2, 3]
    assert len(chosen) == 3 * 8


def test_plug_ins_are_found_and_say_what_they_are():
    repairs = {"heal", "neon", "sims"}
    assert set(REGIMES) == {"replace", "accumulate", "accumulate_subsample", "fresh", "augment", "feed"} | repairs
    assert {name for name, regime in REGIMES.items() if regime.branches} == repairs
    assert set(CONTROLS) == {"none", "histogram_match", "sifid_cull", "filter", "select_draws", "toedit"}
    for face in (*REGIMES.values(), *CONTROLS.values()):
        assert face.summary.endswith(".")
        assert all("description" in declared for declared in face.parameters.values())
    # Their parameters share one block of an arm.
    for regime in REGIMES.values():
        for control in CONTROLS.values():
            assert not regime.parameters.keys() & control.parameters.keys()
