"""Mixing is nested, balanced, exact, and a pure function of ratio, groups and seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nepotism.chain.slots import generated_slots, mix, order
from nepotism.data.images import Record
from nepotism.experiment.cells import canonical_ratio, generated_count
from nepotism.runtime.errors import UserError

PAPER = {f"group-{index:02d}": 30 for index in range(30)}
sizes = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 12), min_size=1)
ratios = st.decimals(0, 100, places=1).map(lambda value: canonical_ratio(float(value)))


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
    total = sum(groups.values())
    prefix = order(groups, seed)
    assert set(prefix[: generated_count(low, total)]) <= set(prefix[: generated_count(high, total)])


@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 5), ratios)
def test_equal_groups_get_equal_shares(count, size, seed, ratio):
    groups = {f"g{index}": size for index in range(count)}
    slots = order(groups, seed)[: generated_count(ratio, count * size)]
    chosen = Counter(slot.split("/")[0] for slot in slots)
    counts = [chosen[group] for group in groups]
    assert max(counts) - min(counts) <= 1


@given(sizes, st.integers(0, 5))
def test_the_order_holds_every_slot_once(groups, seed):
    assert sorted(order(groups, seed)) == sorted(f"{g}/{i:03d}" for g, size in groups.items() for i in range(size))


def test_the_seed_decides_and_nothing_else():
    assert generated_slots("25", PAPER, 0) == generated_slots("25", dict(reversed(PAPER.items())), 0)
    assert generated_slots("25", PAPER, 0) != generated_slots("25", PAPER, 1)


def records(origin):
    return [Record(f"{origin}/{g}/{i}", "p", g, f"{g}/{i:03d}", origin) for g in "ab" for i in range(4)]


def test_a_mixture_takes_each_slot_from_one_file():
    mixed, files = mix(records("real"), "real.parquet", records("generated"), "made.parquet", "50", 0)
    assert [record.slot for record in mixed] == [record.slot for record in records("real")]
    assert Counter(files) == {"real.parquet": 4, "made.parquet": 4}
    assert all((file == "made.parquet") == (record.origin == "generated") for record, file in zip(mixed, files))


def test_no_generated_image_at_ratio_zero():
    mixed, _ = mix(records("real"), "real.parquet", [], "", "0", 0)
    assert {record.origin for record in mixed} == {"real"}


def test_a_ratio_that_gives_no_image_is_an_error():
    with pytest.raises(UserError, match="no image at all"):
        generated_slots("1", {"a": 4}, 0)


def test_a_missing_generated_image_is_an_error():
    with pytest.raises(ValueError, match=r"made.parquet has no image for slot"):
        mix(records("real"), "real.parquet", records("generated")[1:], "made.parquet", "100", 0)


def test_dropped_images_leave_the_training_set_smaller_only_if_that_is_wanted():
    real = [Record(f"real/{i}", "p", "a", f"a/{i:03d}", "real") for i in range(4)]
    generated = [Record(f"new/{i}", "p", "a", f"a/{i:03d}", "generated") for i in (0, 2)]
    with pytest.raises(ValueError, match="has no image for slot a/001"):
        mix(real, "real.parquet", generated, "new.parquet", "100", 0)
    records, files = mix(real, "real.parquet", generated, "new.parquet", "100", 0, drop_missing=True)
    assert [record.id for record in records] == ["new/0", "new/2"]
    assert files == ["new.parquet"] * 2
