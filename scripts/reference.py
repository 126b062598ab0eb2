"""Make the real image sets of an experiment: `real` to mix in and, disjoint from it, `holdout` to measure against."""

import argparse
import json
from pathlib import Path

from nepotism.chain.regimes import REGIMES
from nepotism.chain.slots import Slots
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
    parser.add_argument(
        "--plans",
        type=json.loads,
        nargs="*",
        default=[],
        help="regime, ratio and parameters of arms, to check, as JSON",
    )
    parser.add_argument("--real", type=Path, required=True, help="output: image set to mix in")
    parser.add_argument("--holdout", type=Path, required=True, help="output: image set to measure against")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    images = reference.from_arguments(arguments, arguments.fresh_sets)
    slots = sum(len(members) for members in images.reference.values())
    reference.check_ratios(arguments.ratios, len(images.reference), slots)
    reference.check_ratios(arguments.shares, len(images.reference), slots, "arms.parameters.share")
    groups = Slots({group: len(members) for group, members in images.reference.items()}, seed=0)
    for plan in arguments.plans:
        # How many rows there are depends on no seed; a mistake is told here, before anything is drawn.
        REGIMES[plan["regime"]].plan(groups, plan["ratio"], plan["iteration"], plan["parameters"])
    reference.write(arguments.real, images.reference)
    reference.write(arguments.holdout, images.scoring)


if __name__ == "__main__":
    main()
