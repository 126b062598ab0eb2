"""Embed the holdout once per experiment, in every feature space of the config."""

import argparse
from pathlib import Path

from nepotism.data.images import read_image_set
from nepotism.measure.embeddings import write_embedded
from nepotism.measure.evaluation import embed, from_arguments
from nepotism.runtime import cli
from nepotism.runtime.devices import start


def main() -> None:
    parser = cli.parser(__doc__, stage="embed_reference")
    cli.add_device(parser)
    cli.add_evaluator(parser)
    parser.add_argument("--real", type=Path, required=True, help="image set that is mixed in")
    parser.add_argument("--holdout", type=Path, required=True, help="image set to measure against")
    parser.add_argument("--output", type=Path, required=True, help="output: features (.npz)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    evaluator = from_arguments(arguments, start(arguments.device, arguments.threads))
    sets = {"real": arguments.real, "holdout": arguments.holdout}
    write_embedded(arguments.output, {name: embed(evaluator, read_image_set(path)) for name, path in sets.items()})


if __name__ == "__main__":
    main()
