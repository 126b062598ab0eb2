"""Tabulate in which sense each arm collapses, how fast, and how sure that is: the profile of collapse."""

import argparse
import json
from pathlib import Path

from nepotism.data.tables import read_csv, write_csv
from nepotism.families import family_package
from nepotism.judge.profiles import Chain, Entry, profile
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="profile_table")
    parser.add_argument("--family", required=True, help="kind of model; its package says what scores tell of collapse")
    parser.add_argument("--arms", nargs="+", required=True, help="where each arm begins, and its 0 %%, as JSON")
    cli.add_scores(parser)
    parser.add_argument(
        "--output", type=Path, required=True, help="output: a row per arm, ratio, score and feature space (CSV)"
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    told = getattr(family_package(arguments.family), "PROFILE", ())
    chains = [Chain(**{**arm, "ratios": tuple(arm["ratios"])}) for arm in map(json.loads, arguments.arms)]
    scores = read_csv(arguments.metrics, arguments.jackknife)
    write_csv(arguments.output, profile(scores, told, chains, arguments.looks), Entry)


if __name__ == "__main__":
    main()
