"""The training set of a cell of images: which image fills which slot, from which file."""

from collections.abc import Sequence
from dataclasses import dataclass

from nepotism.chain.slots import Source
from nepotism.data.images import Record


@dataclass(frozen=True)
class Images:
    """The provenance of an image set, and the file that it is in."""

    records: Sequence[Record]
    file: str


def mix(
    sources: Sequence[Source],
    real: Images,
    generated: Sequence[Images],
    first: int = 0,
    fresh: Images | None = None,
    drop_missing: bool = False,
    draws: Sequence[Images] = (),
    other: Images | None = None,
) -> tuple[list[Record], list[str]]:
    """Choose the images of a training set.

    Args:
        sources: what it is made of, by its regime.
        real: the reference, one record per slot.
        generated: what models drew, model by model; of each at least the slots that ``sources`` names.
        first: iteration of the first of those models.
        fresh: real images that are reserved for this training set, one record per slot.
        drop_missing: leave out generated images that are not there, instead of raising.
        draws: further draws of the last model, from the second on.
        other: what another chain drew at the iteration before.

    Returns:
        The records, slot by slot in the order of ``real``, and the file of each. Of several images of a slot, those of
        earlier sources come first.

    Raises:
        ValueError: if an image is missing.
    """
    chosen: list[tuple[int, int, Record, str]] = []
    for place, source in enumerate(sources):
        if not len(source.slots):
            continue
        held = _held(source, real, generated, first, fresh, draws, other)
        by_slot = {record.slot: record for record in held.records}
        wanted = [(int(index), real.records[index].slot) for index in source.slots]
        absent = [slot for _, slot in wanted if slot not in by_slot]
        if absent and not (drop_missing and source.origin == "generated"):
            raise ValueError(f"{held.file} has no image for slot {absent[0]} ({len(absent)} are missing)")
        chosen += [(index, place, by_slot[slot], held.file) for index, slot in wanted if slot in by_slot]
    chosen.sort(key=lambda row: row[:2])
    return [record for _, _, record, _ in chosen], [file for _, _, _, file in chosen]


def _held(
    source: Source, real: Images, generated: Sequence[Images], first: int, fresh: Images | None, draws: Sequence[Images],
    other: Images | None,
) -> Images:  # fmt: skip
    if source.origin == "real":
        return real
    if source.origin == "generated":
        position = source.iteration - first
        if not 0 <= position < len(generated):
            raise ValueError(f"the images of iteration {source.iteration} are not among those that are given")
        if not source.draw:
            return generated[position]
        if position < len(generated) - 1 or source.draw > len(draws):
            raise ValueError(f"draw {source.draw} of iteration {source.iteration} is not among those that are given")
        return draws[source.draw - 1]
    named, held = (
        ("of the other chain", other)
        if source.origin == "other"
        else ("that are reserved for this training set", fresh)
    )
    if held is None:
        raise ValueError(f"the images {named} are not given")
    return held
