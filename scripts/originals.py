"""Write a family's original rows: those to train on, others to compare with, and what it measures with."""

import argparse
import json
from pathlib import Path

from nepotism import cli
from nepotism.families import imported_family


def main() -> None:
    parser = cli.parser(__doc__, stage="originals")
    cli.add_device(parser)
    parser.add_argument("--family", required=True, help="kind of model: a package of nepotism.families")
    parser.add_argument("--settings", required=True, help="the config's block of that family, as JSON")
    parser.add_argument(
        "--output", type=Path, nargs="+", required=True, help="outputs: the files that the family names"
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    imported_family(arguments).write_originals(
        json.loads(arguments.settings), {path.stem: path for path in arguments.output}
    )


if __name__ == "__main__":
    main()
