"""Tabulate in which sense each arm collapses, how fast, and how sure that is: the profile of collapse."""

import argparse
import json
from pathlib import Path

from nepotism.data.tables import read_csv, write_csv
from nepotism.experiment.declared import schema_of_key
from nepotism.families import family_package
from nepotism.judge.looks import ONCE
from nepotism.judge.profiles import Chain, Entry, profile
from nepotism.runtime import cli
from nepotism.runtime.options import add_key


def main() -> None:
    parser = cli.parser(__doc__, stage="profile_table")
    parser.add_argument("--family", required=True, help="kind of model; its package says what scores tell of collapse")
    parser.add_argument("--arms", nargs="+", required=True, help="where each arm begins, and its 0 %%, as JSON")
    add_key(parser, "looks", schema_of_key("looks"), ONCE)
    parser.add_argument("--metrics", type=Path, required=True, help="tables/metrics.csv")
    parser.add_argument("--jackknife", type=Path, required=True, help="tables/jackknife.csv")
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
