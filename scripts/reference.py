"""Make the real image sets of an experiment: `real` to mix in and, disjoint from it, `holdout` to measure against."""

import argparse
from pathlib import Path

from nepotism.runtime import cli
from nepotism.sources import reference


def main() -> None:
    parser = cli.parser(__doc__, stage="reference")
    parser.add_argument(
        "--source", required=True, choices=["portraits", "digits", "folder", "ffhq"], help="where images come from"
    )
    parser.add_argument("--images-per-group", type=int, required=True, help="images per group in the training set")
    parser.add_argument(
        "--scoring-split", required=True, choices=["holdout", "develop"], help="split to measure against"
    )
    parser.add_argument("--resolution", type=int, required=True, help="height and width in pixels")
    parser.add_argument("--caption", help="caption template of the source")
    parser.add_argument("--path", type=Path, help="folder of images (sources folder and ffhq)")
    parser.add_argument("--selection", type=Path, help="table of the chosen images (source ffhq)")
    parser.add_argument(
        "--on-bad-image", choices=["fail", "skip"], help="what to do about unreadable images (folder and ffhq)"
    )
    parser.add_argument(
        "--resize-filter", choices=["lanczos", "bicubic", "bilinear"], help="how images are resized (folder and ffhq)"
    )
    parser.add_argument(
        "--ratios", type=float, nargs="*", default=[], help="ratios to check against the number of slots"
    )
    parser.add_argument("--real", type=Path, required=True, help="output: image set to mix in")
    parser.add_argument("--holdout", type=Path, required=True, help="output: image set to measure against")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    # Each source takes what it needs.
    names = ("caption", "path", "selection", "on_bad_image", "resize_filter")
    extra = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    images = reference.load_source(
        arguments.source,
        images_per_group=arguments.images_per_group,
        scoring_split=arguments.scoring_split,
        resolution=arguments.resolution,
        **extra,
    )
    slots = sum(len(members) for members in images.reference.values())
    reference.check_ratios(arguments.ratios, len(images.reference), slots)
    reference.write(arguments.real, images.reference)
    reference.write(arguments.holdout, images.scoring)


if __name__ == "__main__":
    main()
