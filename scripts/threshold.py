"""Tabulate from which ratio on, and after how many retrainings, collapse begins."""

import argparse
from pathlib import Path

from nepotism.data.tables import read_csv, write_csv
from nepotism.judge.contrasts import ScoreTable
from nepotism.judge.threshold import Survival, Threshold, add_arms, measured, survivals, thresholds
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="threshold")
    add_arms(parser)
    cli.add_looks(parser)
    parser.add_argument("--output", type=Path, required=True, help="output: thresholds at every iteration (CSV)")
    parser.add_argument("--survival", type=Path, required=True, help="output: seeds without collapse (CSV)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    scores = ScoreTable(read_csv(arguments.metrics), arguments.looks)
    found = list(measured(scores, [tuple(words.split(":")) for words in arguments.arms], arguments.metric))
    write_csv(arguments.output, [row for each in found for row in thresholds(each, arguments.looks)], Threshold)
    write_csv(arguments.survival, [row for each in found for row in survivals(each)], Survival)


if __name__ == "__main__":
    main()
