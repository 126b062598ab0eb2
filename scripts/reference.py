"""Make the real image sets of an experiment: `real` to mix in and, disjoint from it, `holdout` to measure against."""

import argparse
from pathlib import Path

from nepotism.runtime import cli
from nepotism.sources import reference


def main() -> None:
    parser = cli.parser(__doc__, stage="reference")
    reference.add_source(parser)
    parser.add_argument(
        "--ratios", type=float, nargs="*", default=[], help="ratios to check against the number of slots"
    )
    parser.add_argument(
        "--shares", type=float, nargs="*", default=[], help="shares of the rows that arms train on, to check likewise"
    )
    parser.add_argument(
        "--fresh-sets", nargs="*", default=[], help="names of reserved sets, to check that there are images for them"
    )
    parser.add_argument("--real", type=Path, required=True, help="output: image set to mix in")
    parser.add_argument("--holdout", type=Path, required=True, help="output: image set to measure against")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    images = reference.from_arguments(arguments, arguments.fresh_sets)
    slots = sum(len(members) for members in images.reference.values())
    reference.check_ratios(arguments.ratios, len(images.reference), slots)
    reference.check_ratios(arguments.shares, len(images.reference), slots, "arms.parameters.share")
    reference.write(arguments.real, images.reference)
    reference.write(arguments.holdout, images.scoring)


if __name__ == "__main__":
    main()
