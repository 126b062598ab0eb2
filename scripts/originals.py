"""Write a family's original rows: those to train on, and others to compare with."""

import argparse
import importlib
import json
from pathlib import Path

from nepotism import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="originals")
    parser.add_argument("--family", required=True, help="kind of model: a package of nepotism.families")
    parser.add_argument("--settings", required=True, help="the config's block of that family, as JSON")
    parser.add_argument("--real", type=Path, required=True, help="output: rows to train on")
    parser.add_argument("--holdout", type=Path, required=True, help="output: rows to compare with")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    family = importlib.import_module(f"nepotism.families.{arguments.family}.family")
    family.write_originals(json.loads(arguments.settings), arguments.real, arguments.holdout)


if __name__ == "__main__":
    main()
