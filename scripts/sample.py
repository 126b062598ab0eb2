"""Draw one image per slot, from the training captions."""

import argparse
from pathlib import Path

from nepotism import cli, sampling
from nepotism.images import read_records


def main() -> None:
    parser = cli.parser(__doc__, stage="sample")
    sampling.add_options(parser)
    parser.add_argument("--real", type=Path, required=True, help="image set whose slots and captions are sampled")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    sampling.run(arguments, "samples", plan)


def plan(arguments: argparse.Namespace) -> list[sampling.Wanted]:
    seed, iteration = arguments.seed, arguments.iteration
    return [
        (real.slot, real.group, real.prompt, (seed, iteration, "sample", real.slot))
        for real in read_records(arguments.real)
    ]


if __name__ == "__main__":
    main()
