"""Gather the scores of all cells into one tidy table, and what they are without each block of images into another."""

import argparse
from pathlib import Path

from nepotism.data.tables import read_metrics, write_scores
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="metrics_table")
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics.json of every cell")
    parser.add_argument("--output", type=Path, required=True, help="output: the table (CSV)")
    parser.add_argument("--jackknife", type=Path, required=True, help="output: scores without each block (CSV)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    rows = [row for path in arguments.metrics for row in read_metrics(path)]
    write_scores(arguments.output, arguments.jackknife, rows)


if __name__ == "__main__":
    main()
