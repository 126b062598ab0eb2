"""Choose the guidance scale: where samples of the base model fit their captions best, a tie going to the smaller scale."""

import argparse
from pathlib import Path

from nepotism.data.tables import read_metrics, write_csv
from nepotism.families.diffusion.guidance import Scale, compare
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="choose_guidance")
    parser.add_argument(
        "--scales", nargs="+", required=True, help="guidance scale of each iteration 0, as base-name=scale"
    )
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics.json of every iteration 0")
    parser.add_argument("--output", type=Path, required=True, help="output: the scales and their scores (CSV)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    named = (words.split("=") for words in arguments.scales)
    rows = [row for path in arguments.metrics for row in read_metrics(path)]
    compared = compare(rows, {base: float(scale) for base, scale in named})
    write_csv(arguments.output, compared, Scale)
    for each in compared:
        print(
            f"guidance {each.guidance_scale:>4g}   CLIP score {each.clip_score:.2f} +- {each.se:.2f}"
            f"{'   <- chosen' if each.chosen else ''}"
        )


if __name__ == "__main__":
    main()
