"""Faces of FFHQ that `scripts/select_images.py` chose."""

from collections.abc import Sequence
from pathlib import Path

from nepotism.data.tables import read_text_csv
from nepotism.data.user_files import find
from nepotism.sources.base import RealImages
from nepotism.sources.ffhq.labels import images_folder
from nepotism.sources.folder import Entry, read_and_split


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
        fresh_sets: as `folder.real_images`.

    Raises:
        UserError: listing everything that is wrong.
    """
    folder, rows = images_folder(path), read_text_csv(selection)
    entries = [
        Entry(find(folder, name) or folder / name, name, row["text"], row["group"])
        for row in rows
        for name in [row["file_name"]]
    ]
    where = f"`reference.ffhq.path`: {path}"
    return read_and_split(entries, [], where, images_per_group, resolution, on_bad_image, resize_filter, fresh_sets)
