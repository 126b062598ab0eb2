"""The paper's second control: drop generated images whose single-image FID exceeds a frozen threshold, and replace them."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from nepotism.controls.sifid_cull.sifid import SifidScores
from nepotism.data.images import ImageSet, Pixels, Record
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError

logger = logging.getLogger(__name__)

Replacement = Literal["regenerate", "duplicate_kept", "drop"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one generated image: a row of curated.csv.

    Ids are those of the image sets: a new image is called after the attempt that drew it, so that every id stands for
    one picture, and every one that is named here or as a parent is in the judged set or in curated.parquet.

    Attributes:
        slot, group, image: which image, by id.
        sifid: by the arm's pairing.
        nearest_in_group: SIFID to the nearest real image of the group, whatever the pairing.
        kept: whether it stays.
        tries: images drawn anew for the slot.
        replaced_by: id of the image whose picture fills the slot instead; empty if it stays or if the slot is left empty. A
            new image is the slot's row in curated.parquet; of an image used again for another slot, that row is a copy, whose
            parent it is. Where no image of the group was accepted it is the group's best one, for its own slot as well.
    """

    slot: str
    group: str
    image: str
    sifid: float
    nearest_in_group: float
    kept: bool
    tries: int
    replaced_by: str


def cull(
    generated: ImageSet,
    threshold: float,
    replacement: Replacement,
    tries: int,
    score: Callable[[ImageSet], SifidScores],
    draw: Callable[[Sequence[Record], int], ImageSet],
    cell: str,
    seed: int,
    iteration: int,
) -> tuple[ImageSet, list[Verdict]]:
    """Keep images up to the threshold and replace the others.

    Args:
        generated: the images to judge, one per slot.
        threshold: highest SIFID that is kept.
        replacement: ``regenerate`` draws anew, at most ``tries`` times, and then uses an accepted image of the group again (its
            best one, if none was accepted);
            ``duplicate_kept`` does the latter at once; ``drop`` leaves the slot empty.
        tries: see above.
        score: SIFID of images.
        draw: new images for the slots of some records, given the number of the attempt (from 1); every one has an id of its
            own.
        cell: prefix of the ids of images that are used again.
        seed: keys which kept image is used again, together with the iteration and the slot.
        iteration: of the cell.

    Returns:
        The curated images in the order of ``generated``, without empty slots, and a verdict on every image.

    Raises:
        UserError: if no image at all is acceptable, and nothing stands in for those that are dropped. Otherwise a model that has
            collapsed altogether goes on from the best image of each group, as any group does of which none was accepted.
    """
    scores = score(generated)
    best = _Best()
    best.consider(generated, scores)
    chosen: dict[str, tuple[Pixels, Record]] = {}
    attempts = dict.fromkeys((record.slot for record in generated.records), 0)
    for pixels, record, value in zip(generated.pixels, generated.records, scores.sifid, strict=True):
        if value <= threshold:
            chosen[record.slot] = (pixels, record)
    kept = set(chosen)
    for attempt in range(1, tries + 1 if replacement == "regenerate" else 1):
        missing = [record for record in generated.records if record.slot not in chosen]
        if not missing:
            break
        fresh = draw(missing, attempt)
        accepted = 0
        of_fresh = score(fresh)
        best.consider(fresh, of_fresh)
        for pixels, record, value in zip(fresh.pixels, fresh.records, of_fresh.sifid, strict=True):
            attempts[record.slot] = attempt
            if value <= threshold:
                chosen[record.slot] = (pixels, record)
                accepted += 1
        logger.info("attempt %d: %d of %d new images accepted", attempt, accepted, len(missing))
    if not chosen and replacement == "drop":
        raise UserError(
            f"{cell}: every image was culled: the least SIFID is {scores.sifid.min():.4g}, the threshold {threshold:.4g}. "
            "Change the arm's parameters: another `pair`, or `replacement: regenerate`; or use fewer `iterations`"
        )
    again = {} if replacement == "drop" else _used_again(generated, best, chosen, cell, seed, iteration)
    replaced_by = {slot: record.id for slot, (_, record) in chosen.items() if slot not in kept}
    replaced_by |= {slot: source for slot, (_, _, source) in again.items()}
    verdicts = [
        Verdict(
            record.slot, record.group, record.id, float(value), float(nearest),
            record.slot in kept, attempts[record.slot], replaced_by.get(record.slot, ""),
        )
        for record, value, nearest in zip(generated.records, scores.sifid, scores.nearest_in_group, strict=True)
    ]  # fmt: skip
    filled = chosen | {slot: (pixels, record) for slot, (pixels, record, _) in again.items()}
    images = [filled[record.slot] for record in generated.records if record.slot in filled]
    return ImageSet(np.stack([pixels for pixels, _ in images]), [record for _, record in images]), verdicts


class _Best:
    """The image of the lowest SIFID of each group, among all that were seen."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[float, Pixels, Record]] = {}

    def consider(self, images: ImageSet, scores: SifidScores) -> None:
        for pixels, record, value in zip(images.pixels, images.records, scores.sifid, strict=True):
            if record.group not in self.of or value < self.of[record.group][0]:
                self.of[record.group] = (float(value), pixels, record)


def _used_again(
    generated: ImageSet, best: _Best, chosen: dict[str, tuple[Pixels, Record]], cell: str, seed: int, iteration: int
) -> dict[str, tuple[Pixels, Record, str]]:
    """For every empty slot an accepted image of its group; the group's best one where none was accepted.

    Each as pixels and row, with the id of the image that they are of: the row is a copy of that image's, but for the slot
    that it was made for, which holds the image itself.
    """
    again = {}
    without = set()
    for record in generated.records:
        if record.slot in chosen:
            continue
        pool = [each for each in chosen.values() if each[1].group == record.group]
        if not pool:
            without.add(record.group)
            pool = [best.of[record.group][1:]]
        pick = int(streams.generator(seed, iteration, "sifid_cull", record.slot).integers(len(pool)))
        pixels, source = pool[pick]
        row = source
        if source.slot != record.slot:
            row = dataclasses.replace(
                source, id=f"{cell}/curated/{record.slot}", slot=record.slot, parents=(source.id,)
            )
        again[record.slot] = (pixels, row, source.id)
    if without:
        logger.warning(
            "warning: %s: no image of %d of %d groups was accepted, as a model that collapses may have it; the best one of each "
            "stands in",
            cell,
            len(without),
            len(best.of),
        )
        logger.info("groups without an accepted image: %s", ", ".join(sorted(without)))
    return again
