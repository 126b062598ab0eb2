"""Reserve real images for single training sets: disjoint from one another, from `real` and from `holdout`."""

import argparse
from pathlib import Path

from nepotism.runtime import cli
from nepotism.sources import reference


def main() -> None:
    parser = cli.parser(__doc__, stage="reference")
    reference.add_source(parser)
    parser.add_argument(
        "--output", type=Path, nargs="+", required=True, help="outputs: image sets, one for each training set"
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    images = reference.from_arguments(arguments, len(arguments.output))
    for path, split in zip(arguments.output, images.fresh, strict=True):
        reference.write(path, split, "fresh")


if __name__ == "__main__":
    main()
