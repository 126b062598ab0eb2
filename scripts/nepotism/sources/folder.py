"""A user's own images: a folder with metadata.csv, or with one sub-folder per group."""

import csv
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nepotism.errors import UserError
from nepotism.images import Pixels, digest
from nepotism.progress import Progress
from nepotism.sources import splits
from nepotism.sources.base import RealImage, RealImages, Split

logger = logging.getLogger(__name__)

COLUMNS = ("file_name", "text", "group")


@dataclass(frozen=True)
class Entry:
    """One image file to read, with its name inside the source, its caption and its group."""

    path: Path
    name: str
    prompt: str
    group: str


def real_images(
    images_per_group: int, scoring_split: str, resolution: int, caption: str, path: Path, on_bad_image: str
) -> RealImages:
    """Read, crop and split a folder of images.

    Every group gives ``images_per_group`` images to the reference split and up to twice as many to the scoring split
    (at least `splits.MINIMUM_SCORING`), dealt by content digest; duplicates count once.

    Args:
        images_per_group: size of each group in the training set.
        scoring_split: only ``holdout`` exists for a folder.
        resolution: images are centre-cropped to a square and resized to this many pixels.
        caption: caption of sub-folder images, with ``{group}``.
        path: the folder.
        on_bad_image: ``fail`` or ``skip``.

    Raises:
        UserError: listing everything that is wrong with the folder.
    """
    entries, problems = _list(path, caption)
    return read_and_split(
        entries, problems, f"`reference.folder.path`: {path}", images_per_group, resolution, on_bad_image
    )


def read_and_split(
    entries: list[Entry], problems: list[str], where: str, images_per_group: int, resolution: int, on_bad_image: str
) -> RealImages:
    """Read and crop images, and deal each group's to the two splits.

    Args:
        entries: the images.
        problems: what is already known to be wrong.
        where: key and path, for the message.
        images_per_group, resolution, on_bad_image: as `real_images`.

    Raises:
        UserError: listing everything that is wrong.
    """
    pixels: dict[str, Pixels] = {}
    broken = []
    with Progress(len(entries), "reading images", "image") as progress:
        for entry in entries:
            try:
                pixels[entry.name] = _read(entry.path, resolution)
            except Exception as error:
                # Decoders of broken files raise whatever they please; every such file is reported by name.
                broken.append(f"{entry.name}: cannot be read as an image ({error})")
            progress.advance()
    if on_bad_image == "fail":
        problems += broken
    else:
        for line in broken:
            logger.warning("left out: %s", line)
    contents = {name: digest(image) for name, image in pixels.items()}
    problems += _shared_between_groups(entries, contents)
    reference: Split = {}
    scoring: Split = {}
    for group in dict.fromkeys(entry.group for entry in entries):
        members = [entry for entry in entries if entry.group == group and entry.name in pixels]
        digests = [contents[entry.name] for entry in members]
        dealt = splits.deal(digests, {"reference": images_per_group, "holdout": 2 * images_per_group})
        if len(dealt["holdout"]) < splits.MINIMUM_SCORING:
            found = len(splits.unique(digests))
            problems.append(
                f"group '{group}': {found} usable distinct images, but {images_per_group + splits.MINIMUM_SCORING} are needed "
                f"(images_per_group {images_per_group} + {splits.MINIMUM_SCORING} to score against; {3 * images_per_group} are best)"
            )
        for split, name in ((reference, "reference"), (scoring, "holdout")):
            split[group] = [RealImage(pixels[members[i].name], members[i].prompt, members[i].name) for i in dealt[name]]
    if problems:
        raise UserError(f"{where} cannot be used:\n" + "\n".join(f"  - {line}" for line in problems))
    return RealImages(reference, scoring)


def _shared_between_groups(entries: list[Entry], contents: dict[str, str]) -> list[str]:
    """A problem for every picture that stands in several groups: one's training set could be another's holdout."""
    groups_of: dict[str, dict[str, str]] = {}
    for entry in entries:
        if entry.name in contents:
            groups_of.setdefault(contents[entry.name], {}).setdefault(entry.group, entry.name)
    problems = []
    for names in groups_of.values():
        if len(names) > 1:
            where = ", ".join(f"{name} (group '{group}')" for group, name in names.items())
            problems.append(f"the same picture stands in several groups: {where}; keep one of them")
    return problems


def _list(path: Path, caption: str) -> tuple[list[Entry], list[str]]:
    if not path.is_dir():
        raise UserError(f"`reference.folder.path`: there is no folder {path}")
    metadata = path / "metadata.csv"
    if metadata.exists():
        try:
            return _list_metadata(path, metadata)
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{metadata}: not a CSV file in UTF-8 ({error}); save it as such") from None
    entries, problems = [], []
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not folders:
        problems.append("neither metadata.csv (columns file_name, text, group) nor a sub-folder per group")
    for folder in folders:
        files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
        if not files:
            problems.append(f"group '{folder.name}': the folder is empty")
        if any(file.is_dir() for file in folder.iterdir()):
            logger.warning("warning: folders inside %s are left out; groups are one level deep", folder)
        prompt = caption.format(group=folder.name)
        entries += [Entry(file, f"{folder.name}/{file.name}", prompt, folder.name) for file in files]
    return entries, problems


def _list_metadata(path: Path, metadata: Path) -> tuple[list[Entry], list[str]]:
    entries, problems = [], []
    with open(metadata, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        header = reader.fieldnames or []
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            found = ", ".join(header) or "nothing"
            raise UserError(f"{metadata}: missing columns {', '.join(missing)}; its first line has: {found}")
        for row in reader:
            line, name = reader.line_num, row["file_name"] or ""
            for column in COLUMNS:
                if not (row[column] or "").strip():
                    problems.append(f"metadata.csv line {line}: column {column} is empty")
            if "/" in (row["group"] or "") or (row["group"] or "").strip() in (".", ".."):
                problems.append(f"metadata.csv line {line}: group '{row['group']}' must not contain / nor be a path")
            target = (path / name).resolve()
            if not target.is_relative_to(path.resolve()):
                problems.append(f"metadata.csv line {line}: {name} is outside the folder")
            elif name and not target.is_file():
                problems.append(f"metadata.csv line {line}: there is no file {name}")
            elif name and row["group"] and row["text"]:
                entries.append(Entry(target, name, row["text"].strip(), row["group"].strip()))
    if not entries and not problems:
        problems.append("metadata.csv lists no images")
    return entries, problems


def _read(path: Path, resolution: int) -> Pixels:
    """Open any format that Pillow reads, turn it upright, lay it on white, crop its centre and resize it."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            # Pillow clips deep greys to 255 when converting; scale them instead.
            values = np.asarray(image, dtype=np.float64)
            top = 65535.0 if values.max() > 255 else 255.0
            image = Image.fromarray(np.clip(values * (255 / top), 0, 255).astype(np.uint8))
        if image.has_transparency_data:
            layers = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
        fitted = ImageOps.fit(image.convert("RGB"), (resolution, resolution), Image.Resampling.LANCZOS)
        return np.array(fitted)
