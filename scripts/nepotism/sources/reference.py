"""Real images as two disjoint image sets: `real` to mix in, `holdout` to measure against."""

import argparse
import importlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nepotism.data.images import Record, write_image_set
from nepotism.experiment.cells import generated_count
from nepotism.runtime.errors import UserError
from nepotism.runtime.options import add_key, add_keys
from nepotism.sources.base import RealImages, Split

logger = logging.getLogger(__name__)


# Sources of the config's `reference.source`, and the modules whose ``real_images`` gives their images.
SOURCES = {"portraits": "portraits", "digits": "digits", "folder": "folder", "ffhq": "ffhq.source"}


def add_source(parser: argparse.ArgumentParser) -> None:
    """Where real images come from, and how many are taken."""
    add_keys(parser, "reference", "source", "images_per_group", "scoring_split")
    add_keys(parser, "model", "resolution")
    # Each source takes what it needs, and says so if that is not given.
    add_key(parser, "caption", {"description": "Caption template of the source."}, None)
    add_key(parser, "path", {"format": "path", "description": "Folder of images (sources folder and ffhq)."}, None)
    add_keys(parser, "reference.folder", "on_bad_image", "resize_filter", required=False)
    parser.add_argument("--selection", type=Path, help="table of the chosen images (source ffhq)")


def from_arguments(arguments: argparse.Namespace, fresh_sets: Sequence[str] = ()) -> RealImages:
    """The images of a source that `add_source` chose, with the named sets to reserve; each source takes what it needs."""
    names = ("caption", "path", "selection", "on_bad_image", "resize_filter")
    extra = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    return load_source(
        arguments.source,
        images_per_group=arguments.images_per_group,
        scoring_split=arguments.scoring_split,
        resolution=arguments.resolution,
        fresh_sets=fresh_sets,
        **extra,
    )


def load_source(source: str, **options: object) -> RealImages:
    """Call the source's ``real_images``. Only that source is imported: scikit-learn takes a second."""
    if source not in SOURCES:
        raise UserError(f"`reference.source`: {source} is none of {', '.join(SOURCES)}")
    chosen = importlib.import_module(f"nepotism.sources.{SOURCES[source]}")
    images: RealImages = chosen.real_images(**options)
    return images


def check_ratios(ratios: Sequence[float], groups: int, slots: int, key: str = "arms.ratios") -> None:
    """Check that every ratio above 0 gives at least one image; ``key`` is where the config says them.

    Raises:
        UserError: naming the ratios that give none, and the least one that does.
    """
    for ratio in ratios:
        # Above 100 %, what it takes beyond whole draws.
        rest = ratio % 100 or ratio
        count = generated_count(rest, slots)
        if ratio > 0 and count == 0:
            least = 50 / slots
            beyond = f" (of {ratio:g} %, beyond whole draws)" if rest < ratio else ""
            raise UserError(
                f"`{key}`: {rest:g} %{beyond} of {slots} slots is no image at all; use at least {least:.2g} % "
                "or raise `reference.images_per_group`"
            )
        if 0 < count < groups:
            logger.warning(
                "warning: %g %% of %d slots is %d images, less than one for each of %d groups: some have none, as is meant for few "
                "images; raise `reference.images_per_group` if it is not",
                rest,
                slots,
                count,
                groups,
            )


def write(path: Path, split: Split, kind: str = "real") -> None:
    """Write one split as an image set; slots number each group's images in order, and ids begin with ``kind``."""
    pixels, records = [], []
    for group, images in split.items():
        for index, image in enumerate(images):
            pixels.append(image.pixels)
            records.append(Record(f"{kind}/{image.name}", image.prompt, group, f"{group}/{index:03d}", "real"))
    write_image_set(path, np.stack(pixels), records)
    logger.info("%s: %d images in %d groups", path, len(records), len(split))
