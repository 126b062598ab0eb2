"""Write the report's first page and the table of costs."""

import argparse
import csv
import json
from pathlib import Path

from nepotism import cli
from nepotism.answer import page
from nepotism.claims import Claim
from nepotism.cost import costs
from nepotism.files import write_text
from nepotism.tables import write_csv


def main() -> None:
    parser = cli.parser(__doc__, stage="answer")
    parser.add_argument(
        "--base-metrics", type=Path, required=True, help="metrics.json of the base model, for its provenance"
    )
    parser.add_argument("--claims", type=Path, required=True, help="tables/claims.csv")
    parser.add_argument("--details", type=Path, required=True, help="tables/claim_details.csv")
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of Snakemake's benchmark files")
    parser.add_argument("--output", type=Path, required=True, help="output: the page (reStructuredText)")
    parser.add_argument("--cost", type=Path, required=True, help="output: time and memory of each rule (CSV)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    spent = costs(arguments.benchmarks)
    provenance = json.loads(arguments.base_metrics.read_text(encoding="utf-8"))["provenance"]
    verdicts = [Claim(**{**row, "claim": int(row["claim"])}) for row in rows_of(arguments.claims)]  # type: ignore[arg-type]
    write_csv(arguments.cost, spent)
    write_text(arguments.output, page(verdicts, rows_of(arguments.details), provenance, spent))


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as text."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
