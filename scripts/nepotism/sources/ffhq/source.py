"""Faces of FFHQ that `scripts/select_images.py` chose."""

from collections.abc import Sequence
from pathlib import Path

from nepotism.data.tables import read_text_csv
from nepotism.data.user_files import find
from nepotism.data.user_tables import refuse
from nepotism.sources.base import RealImage, RealImages, Split
from nepotism.sources.ffhq.labels import images_folder
from nepotism.sources.folder import Entry, read, read_and_split


def real_images(
    images_per_group: int,
    scoring_split: str,
    resolution: int,
    path: Path,
    selection: Path,
    on_bad_image: str,
    resize_filter: str,
    fresh_sets: Sequence[str] = (),
) -> RealImages:
    """Read, crop and split the chosen images.

    Args:
        images_per_group: size of each group in the training set.
        scoring_split: only ``holdout`` exists.
        resolution: images are resized to this many pixels.
        path: FFHQ's folder.
        selection: the table of the chosen images.
        on_bad_image: ``fail`` or ``skip``.
        resize_filter: ``lanczos``, ``bicubic`` or ``bilinear``.
        fresh_sets: are selected by tables of their own, see `reserved_images`; that there are faces for them was checked then.

    Raises:
        UserError: listing everything that is wrong.
    """
    where = f"`reference.ffhq.path`: {path}"
    return read_and_split(
        _entries(path, selection), [], where, images_per_group, resolution, on_bad_image, resize_filter
    )


def reserved_images(path: Path, selection: Path, resolution: int, resize_filter: str) -> Split:
    """All images of a table of reserved faces.

    Raises:
        UserError: listing those that cannot be read: none can be left out, for each is that of a slot.
    """
    entries = _entries(path, selection)
    pixels, broken = read(entries, resolution, resize_filter)
    refuse(f"`reference.ffhq.path`: {path}", broken)
    split: Split = {}
    for entry in entries:
        split.setdefault(entry.group, []).append(RealImage(pixels[entry.name], entry.prompt, entry.name))
    return split


def _entries(path: Path, selection: Path) -> list[Entry]:
    folder, rows = images_folder(path), read_text_csv(selection)
    return [
        Entry(find(folder, name) or folder / name, name, row["text"], row["group"])
        for row in rows
        for name in [row["file_name"]]
    ]
