"""The training set of a cell: which slots hold generated images, and the manifest that says so."""

from collections import Counter
from collections.abc import Mapping, Sequence

from nepotism.data.images import Record
from nepotism.experiment.cells import generated_count
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError


def order(groups: Mapping[str, int], seed: int) -> list[str]:
    """All slots in the order in which generated images take them over.

    Every prefix is balanced over the groups, so that ratios are nested: the generated slots at 3.3 % are among those at
    10 %. For equal groups a prefix is what the largest remainder gives each group; for unequal ones it is Webster's
    divisor method, which unlike the largest remainder never takes a slot back when the ratio rises. Within a group, and
    between groups of equal claim, the order is random, keyed by the seed alone.

    Args:
        groups: number of slots per group.
        seed: replicate seed.
    """
    ties = {group: streams.generator(seed, "mix", group).random() for group in groups}
    claims = []
    for group, size in groups.items():
        taken = streams.generator(seed, "mix", group, "slots").permutation(size)
        claims += [((rank + 0.5) / size, ties[group], f"{group}/{index:03d}") for rank, index in enumerate(taken)]
    return [slot for _, _, slot in sorted(claims)]


def generated_slots(ratio: str, groups: Mapping[str, int], seed: int) -> set[str]:
    """The slots that hold generated images: a pure function of ratio, groups and seed.

    Raises:
        UserError: if a ratio above 0 gives no image at all.
    """
    slots = sum(groups.values())
    count = generated_count(ratio, slots)
    if count == 0 and float(ratio) > 0:
        raise UserError(
            f"`arms.ratios`: {ratio} % of {slots} slots is no image at all; raise the ratio or `reference.images_per_group`"
        )
    return set(order(groups, seed)[:count])


def mix(
    real: Sequence[Record],
    real_file: str,
    generated: Sequence[Record],
    generated_file: str,
    ratio: str,
    seed: int,
    drop_missing: bool = False,
) -> tuple[list[Record], list[str]]:
    """Choose a real or a generated image for every slot.

    Args:
        real: one record per slot.
        real_file: the image set they are in.
        generated: records of the generated images, at least for the generated slots; empty at ratio 0.
        generated_file: the image set they are in.
        ratio: percent of generated images.
        seed: replicate seed.
        drop_missing: leave out generated slots without an image, instead of raising.

    Returns:
        The records in the order of ``real``, and the file of each.

    Raises:
        ValueError: if a generated slot has no generated image.
    """
    chosen = generated_slots(ratio, group_sizes(real), seed)
    by_slot = {record.slot: record for record in generated}
    if (absent := sorted(chosen - by_slot.keys())) and not drop_missing:
        raise ValueError(f"{generated_file} has no image for slot {absent[0]} ({len(absent)} are missing)")
    filled = [record for record in real if record.slot not in chosen or record.slot in by_slot]
    records = [by_slot[record.slot] if record.slot in chosen else record for record in filled]
    files = [generated_file if record.slot in chosen else real_file for record in filled]
    return records, files


def group_sizes(records: Sequence[Record]) -> dict[str, int]:
    """Number of slots per group, in the order of ``records``."""
    return dict(Counter(record.group for record in records))
