"""Gather the scores of all cells into one tidy table."""

import argparse
from pathlib import Path

from nepotism import cli
from nepotism.tables import Row, read_metrics, write_csv


def main() -> None:
    parser = cli.parser(__doc__, stage="metrics_table")
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics.json of every cell")
    parser.add_argument("--output", type=Path, required=True, help="output: the table (CSV)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    write_csv(arguments.output, [row for path in arguments.metrics for row in read_metrics(path)], Row)


if __name__ == "__main__":
    main()
