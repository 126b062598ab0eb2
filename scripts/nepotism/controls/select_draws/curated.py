"""The images that selection leaves, and its table."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nepotism.controls.select_draws.choosing import Positions, Values
from nepotism.data.images import ImageSet, Pixels, Record
from nepotism.measure.scores import cosine_scores


@dataclasses.dataclass(frozen=True)
class Choice:
    """What became of one slot: a row of curated.csv.

    Attributes:
        slot, group: which slot.
        image: id of the image that fills it, a row of curated.parquet.
        drawn_for: the slot that it was drawn for: another one of the group, where the rule compares whole groups.
        draw: which draw of that slot it is; 1 is the image that is there without selection.
        score: of the image.
        mean_score: of all draws for this slot.
        scores: of each of them, in order, with spaces between.
        seen_as: the group whose caption fits the image best.
        plain_seen_as: the same of this slot's draw 1.
    """

    slot: str
    group: str
    image: str
    drawn_for: str
    draw: int
    score: float
    mean_score: float
    scores: str
    seen_as: str
    plain_seen_as: str


def selected(draws: Sequence[ImageSet], filled: Positions, cell: str) -> ImageSet:
    """The images that fill the slots, in their order.

    One that fills the slot that it was drawn for is its row as it is. One that fills another has the id of that slot's curated
    image; of draw 1, which is in the image set that was selected from, it is a copy, whose parent that is. Other draws are in no
    other file: it is made from what they were made from.

    Args:
        draws: for each draw an image of every slot, slot by slot.
        filled: int (N,) from `choosing.choose`.
        cell: prefix of the ids of images that fill another slot.
    """
    pixels: list[Pixels] = []
    records: list[Record] = []
    for slot, candidate in enumerate(filled):
        home, draw = divmod(int(candidate), len(draws))
        record = draws[draw].records[home]
        if home != slot:
            name = draws[0].records[slot].slot
            parents = (record.id,) if draw == 0 else record.parents
            record = dataclasses.replace(record, id=f"{cell}/curated/{name}", slot=name, parents=parents)
        pixels.append(draws[draw].pixels[home])
        records.append(record)
    return ImageSet(np.stack(pixels), records)


def table(
    draws: Sequence[ImageSet], filled: Positions, curated: ImageSet, scores: Values, seen: Sequence[Sequence[str]]
) -> Iterator[Choice]:
    """A row for every slot.

    Args:
        draws: for each draw an image of every slot, slot by slot.
        filled: int (N,) from `choosing.choose`.
        curated: the images that fill the slots.
        scores: float64 (N, K).
        seen: for each draw the group that the image of every slot is seen as.
    """
    for slot, (record, candidate) in enumerate(zip(curated.records, filled, strict=True)):
        home, draw = divmod(int(candidate), len(draws))
        yield Choice(
            record.slot, record.group, record.id, draws[draw].records[home].slot, draw + 1,
            float(scores[home, draw]), float(scores[slot].mean()), " ".join(map(repr, scores[slot].tolist())),
            seen[draw][home], seen[0][slot],
        )  # fmt: skip


def seen_as(
    images: NDArray, records: Sequence[Record], texts: NDArray, captions: Sequence[tuple[str, str]]
) -> list[str]:
    """The group whose caption fits each image best; its own, where no caption fits better than its own.

    Args:
        images: float (N, D), of the images.
        records: their rows, whose captions are among ``captions``.
        texts: float (P, D), of the captions.
        captions: P different pairs of caption and group.
    """
    fits = np.stack([cosine_scores(images, np.broadcast_to(text, images.shape)) for text in texts], axis=1)
    own = [captions.index((record.prompt, record.group)) for record in records]
    best = np.where(fits[np.arange(len(own)), own] >= fits.max(1), own, fits.argmax(1))
    return [captions[position][1] for position in best]
