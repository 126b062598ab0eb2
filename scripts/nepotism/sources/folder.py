"""A user's own images: a folder with metadata, or with one sub-folder per group."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nepotism.data.images import Pixels, digest
from nepotism.data.user_files import first_names, is_metadata, nfc, visible, visible_files
from nepotism.data.user_images import ImageError, read_rgb
from nepotism.data.user_tables import refuse
from nepotism.runtime.errors import UserError
from nepotism.runtime.progress import Progress
from nepotism.sources import metadata, splits
from nepotism.sources.base import RealImage, RealImages, Split

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One image file to read, with its name inside the source, its caption and its group."""

    path: Path
    name: str
    prompt: str
    group: str


def real_images(
    images_per_group: int,
    scoring_split: str,
    resolution: int,
    caption: str,
    path: Path,
    on_bad_image: str,
    resize_filter: str,
    fresh_sets: Sequence[str] = (),
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
        resize_filter: ``lanczos``, ``bicubic`` or ``bilinear``.
        fresh_sets: names of sets of the reference's size that are reserved for single uses, in their order: of what both
            splits leave.

    Raises:
        UserError: listing everything that is wrong with the folder.
    """
    entries, problems = _list(path, caption)
    where = f"`reference.folder.path`: {path}"
    return read_and_split(
        entries, problems, where, images_per_group, resolution, on_bad_image, resize_filter, fresh_sets
    )


def read_and_split(
    entries: list[Entry],
    problems: list[str],
    where: str,
    images_per_group: int,
    resolution: int,
    on_bad_image: str,
    resize_filter: str,
    fresh_sets: Sequence[str] = (),
) -> RealImages:
    """Read and crop images, and deal each group's to the splits.

    Args:
        entries: the images.
        problems: what is already known to be wrong.
        where: key and path, for the message.
        images_per_group, resolution, on_bad_image, resize_filter, fresh_sets: as `real_images`.

    Raises:
        UserError: listing everything that is wrong.
    """
    pixels, broken = read(entries, resolution, resize_filter)
    if on_bad_image == "fail":
        problems += broken
    else:
        for line in broken:
            logger.warning("left out: %s", line)
    contents = {name: digest(image) for name, image in pixels.items()}
    problems += _shared_between_groups(entries, contents)
    _tell_copies(entries, contents)
    reference: Split = {}
    scoring: Split = {}
    fresh: dict[str, Split] = {name: {} for name in fresh_sets}
    sizes = {"reference": images_per_group, "holdout": 2 * images_per_group}
    sizes |= {f"fresh-{name}": images_per_group for name in fresh_sets}
    for group in dict.fromkeys(entry.group for entry in entries):
        members = [entry for entry in entries if entry.group == group and entry.name in pixels]
        digests = [contents[entry.name] for entry in members]
        dealt = splits.split_by_digest(digests, sizes)
        if len(dealt["holdout"]) < splits.MINIMUM_SCORING:
            found = len(splits.unique(digests))
            problems.append(
                f"group '{group}': {found} usable distinct images, but {images_per_group + splits.MINIMUM_SCORING} are needed "
                f"(images_per_group {images_per_group} + {splits.MINIMUM_SCORING} to score against; {3 * images_per_group} are best)"
            )
        if any(len(dealt[f"fresh-{name}"]) < images_per_group for name in fresh_sets):
            problems.append(
                f"group '{group}': {len(splits.unique(digests))} usable distinct images, but {sum(sizes.values())} are "
                f"needed (the reference, {len(fresh_sets)} more sets of {images_per_group} to reserve, and twice as many to score "
                "against): lower `reference.images_per_group` or the arm's `iterations`"
            )
        for split, name in zip((reference, scoring, *fresh.values()), sizes, strict=True):
            split[group] = [RealImage(pixels[members[i].name], members[i].prompt, members[i].name) for i in dealt[name]]
    refuse(where, problems)
    return RealImages(reference, scoring, fresh)


def read(entries: Sequence[Entry], resolution: int, resize_filter: str) -> tuple[dict[str, Pixels], list[str]]:
    """The pictures of entries by their names, cropped and resized, and what is wrong with those that cannot be read."""
    pixels: dict[str, Pixels] = {}
    broken = []
    with Progress(len(entries), "reading images", "image") as progress:
        for entry in entries:
            try:
                pixels[entry.name] = fitted(read_rgb(entry.path, entry.name), resolution, resize_filter)
            except ImageError as error:
                broken.append(f"{entry.name}: cannot be read as an image ({error})")
            progress.advance()
    return pixels, broken


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


def _tell_copies(entries: Sequence[Entry], contents: dict[str, str]) -> None:
    """Say how many pictures a group has more than once: each counts once, with the caption of the first."""
    first: dict[tuple[str, str], Entry] = {}
    copies = [
        (entry, original)
        for entry in entries
        if entry.name in contents
        and (original := first.setdefault((entry.group, contents[entry.name]), entry)) is not entry
    ]
    captions = [f"{entry.name} (as {original.name})" for entry, original in copies if entry.prompt != original.prompt]
    if copies:
        logger.info("%d images are copies of others of their group; each picture counts once", len(copies))
    if captions:
        logger.warning(
            "warning: the captions of %d copies are left out, for each picture has that of its first file: %s",
            len(captions), ", ".join(captions[:4]),
        )  # fmt: skip


def _list(path: Path, caption: str) -> tuple[list[Entry], list[str]]:
    if not path.is_dir():
        raise UserError(f"`reference.folder.path`: there is no folder {path}")
    if found := metadata.find_metadata(path):
        return _list_described(path, found)
    folders = [each for each in visible(path) if each.is_dir()]
    beside = [each for each in visible(path) if not each.is_dir()]
    entries: list[Entry] = []
    problems: list[str] = []
    if not folders:
        holds = f"; it holds {first_names(beside, path)}" if beside else ""
        problems.append(
            f"neither {metadata.NAMES[0]} (columns {', '.join(metadata.COLUMNS)}; or .jsonl, .parquet) "
            f"nor a sub-folder per group{holds}"
        )
    elif beside:
        logger.warning("warning: %d files beside the groups are left out: %s", len(beside), first_names(beside, path))
    for folder in folders:
        group = nfc(folder.name)
        files = [each for each in visible(folder) if each.is_file()]
        described = [file.name for file in files if is_metadata(file.name)]
        if described:
            problems.append(f"group '{group}': {described[0]} is not read there; put it into {path}, for all images")
        if not files:
            problems.append(f"group '{group}': the folder is empty")
        if any(each.is_dir() for each in visible(folder)):
            logger.warning("warning: folders inside %s are left out; groups are one level deep", folder)
        if any(entry.group == group for entry in entries):
            problems.append(f"group '{group}': two folders have this name, written with other letters; rename one")
        prompt = caption.format(group=group)
        entries += [
            Entry(file, f"{group}/{nfc(file.name)}", prompt, group) for file in files if file.name not in described
        ]
    return entries, problems


def _list_described(path: Path, found: Path) -> tuple[list[Entry], list[str]]:
    described, problems, repeated = metadata.described(path, found)
    if repeated:
        logger.warning("warning: %d rows of %s repeat others; each image counts once", repeated, found.name)
    named = {entry.name for entry in described}
    known = Image.registered_extensions()
    left_out = [
        file
        for file in visible_files(path)
        if file.suffix.lower() in known and nfc(str(file.relative_to(path))) not in named
    ]
    if left_out and not problems:
        logger.warning(
            "warning: %s names %d images; %d others of the folder are left out: %s",
            found.name, len(named), len(left_out), first_names(left_out, path),
        )  # fmt: skip
    return [Entry(each.path, each.name, each.text, each.group) for each in described], problems


def fitted(image: Image.Image, resolution: int, resize_filter: str) -> Pixels:
    """The middle square of an image, resized with one of Pillow's filters."""
    method = Image.Resampling[resize_filter.upper()]
    return np.array(ImageOps.fit(image, (resolution, resolution), method))
