"""Tabulate what every remedy leaves of the collapse, how diverse images stay, and what it costs."""

import argparse
from pathlib import Path

from nepotism.data.tables import read_csv, write_csv
from nepotism.families.diffusion import remedies
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="remedies")
    parser.add_argument(
        "--remedies", nargs="+", required=True, help="what each arm costs, and where it comes from, as JSON"
    )
    cli.add_scores(parser)
    parser.add_argument(
        "--output", type=Path, required=True, help="output: a row per arm, ratio and feature space (CSV)"
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    scores = read_csv(arguments.metrics, arguments.jackknife)
    found = remedies.outcomes(scores, remedies.given(arguments.remedies), arguments.looks)
    write_csv(arguments.output, found, remedies.Outcome)


if __name__ == "__main__":
    main()
