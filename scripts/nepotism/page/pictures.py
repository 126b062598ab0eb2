"""The pictures of a page: which slots are shown, and each picture as text that needs no file."""

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nepotism.data.images import Pixels, Record, read_image_set, read_records

# Letters that all pictures of a page and their lineage may take: with the rest of it, it stays below five megabytes.
BUDGET = 4_200_000
# Longest side of a picture, in pixels.
SIDE = 128
QUALITY = 80
# Letters that a pixel takes at that quality: more than were measured of 64 and of 128 pixels (0.29 of tiny portraits).
LETTERS_PER_PIXEL = 0.38
# More letters of each picture: of the smallest file and its address, 175, and of its name, score and origin.
LETTERS_PER_PICTURE = 270
# Letters of a row of a training set: its name and those of its parents.
LETTERS_PER_ROW = 170


@dataclass(frozen=True)
class PictureSet:
    """The shown slots of one image set.

    Attributes:
        name: folder of the cell, or what else the set is.
        iteration: of the model that drew it; 0 of real images.
        records: of each shown slot; None where the set has none.
        pictures: the same as data addresses; empty where there is none.
        scores: CLIP score of each with its caption, in 100 x cosine; None where it is not known.
    """

    name: str
    iteration: int
    records: list[Record | None]
    pictures: list[str]
    scores: list[float | None]


def chosen_slots(records: Sequence[Record], sets: int, side: int, rows: int = 0) -> list[str]:
    """The slots to show, in the order of ``records``: all, if the budget lets them; else as many as it does.

    Nobody chooses: first one of each group, in the order of a checksum of its name, then the second of each, and so on.

    Args:
        records: of the set that has them all.
        sets: how many sets are shown.
        side: of the images, in pixels.
        rows: how many all training sets have.
    """
    count = max(1, int(BUDGET / letters_of_slot(sets, side, rows / max(1, len(records)))))
    seen: Counter[str] = Counter()
    keyed = []
    for record in records:
        keyed.append((seen[record.group], hashlib.sha256(record.slot.encode()).hexdigest(), record.slot))
        seen[record.group] += 1
    taken = {slot for _, _, slot in sorted(keyed)[:count]}
    return [record.slot for record in records if record.slot in taken]


def letters_of_slot(sets: int, side: int, rows: float) -> float:
    """How many letters of a page a slot takes at most: its pictures, and what its lineage is told from.

    Args:
        sets: how many sets are shown.
        side: of the images, in pixels.
        rows: how many all training sets have of a slot.
    """
    return sets * (LETTERS_PER_PIXEL * min(side, SIDE) ** 2 + LETTERS_PER_PICTURE) + rows * LETTERS_PER_ROW


def side_of(file: Path) -> int:
    """Height of the images of a set, in pixels; 0 of no image."""
    first = {record.slot for record in read_records(file)[:1]}
    return int(read_image_set(file, first).pixels.shape[1])


def read_pictures(
    file: Path, name: str, iteration: int, slots: Sequence[str], embeddings: Path | None, of: str = "samples"
) -> PictureSet:
    """The shown slots of an image set.

    Args:
        file: the set.
        name: what it is called.
        iteration: of the model that drew it.
        slots: to show.
        embeddings: features of the set, with the CLIP scores, if there are any.
        of: name of the set in there.
    """
    images = read_image_set(file, set(slots))
    found = {record.slot: (record, image) for record, image in zip(images.records, images.pixels, strict=True)}
    scores = clip_scores(embeddings, of) if embeddings else {}
    records = [found[slot][0] if slot in found else None for slot in slots]
    return PictureSet(
        name,
        iteration,
        records,
        [data_address(found[slot][1]) if slot in found else "" for slot in slots],
        [scores.get(record.id) if record else None for record in records],
    )


def clip_scores(embeddings: Path, of: str) -> Mapping[str, float]:
    """The CLIP score of each image of a set, by its id. Without the features, which need not be read."""
    with np.load(embeddings, allow_pickle=False) as arrays:
        ids, scores = arrays[f"{of}/id"], arrays[f"{of}/clip_score"]
    return {str(identity): float(score) for identity, score in zip(ids, scores, strict=True)}


def data_address(pixels: Pixels, side: int = SIDE, quality: int = QUALITY) -> str:
    """An image as a data address (WebP), shrunk if a side is longer than ``side``.

    Args:
        pixels: uint8 (H, W, 3).
        side: in pixels.
        quality: of WebP, 0 to 100.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def figure_address(file: Path, width: int = 1400) -> str:
    """A figure's PNG file as a data address, at most ``width`` pixels wide."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    return data_address(pixels, width, 90)
