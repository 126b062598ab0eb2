"""Write the report's first page and the table of costs."""

import argparse
import importlib
import json
from dataclasses import replace
from pathlib import Path

from nepotism.data.cost import Cost, costs
from nepotism.data.tables import read_csv, read_text_csv, write_csv
from nepotism.judge.answer import page, render, render_short
from nepotism.judge.beginnings import beginnings
from nepotism.judge.verdicts import Claim
from nepotism.runtime import cli
from nepotism.runtime.files import write_text


def main() -> None:
    parser = cli.parser(__doc__, stage="answer")
    parser.add_argument("--family", help="of models that are made in chunks of generations")
    parser.add_argument(
        "--base-metrics", type=Path, required=True, help="metrics.json of the base model, for its provenance"
    )
    parser.add_argument("--metrics", type=Path, required=True, help="tables/metrics.csv")
    parser.add_argument("--claims", type=Path, required=True, help="tables/claims.csv")
    parser.add_argument("--details", type=Path, required=True, help="tables/claim_details.csv")
    parser.add_argument("--diagnostics", type=Path, required=True, help="tables/diagnostics.csv")
    parser.add_argument("--threshold", type=Path, help="tables/threshold.csv")
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of Snakemake's benchmark files")
    parser.add_argument("--output", type=Path, required=True, help="output: the page (reStructuredText)")
    parser.add_argument("--cost", type=Path, required=True, help="output: time and memory of each rule (CSV)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    spent = costs(arguments.benchmarks)
    provenance = json.loads(arguments.base_metrics.read_text(encoding="utf-8"))["provenance"]
    verdicts = [Claim(**{**row, "claim": int(row["claim"])}) for row in read_text_csv(arguments.claims)]  # type: ignore[arg-type]
    write_csv(arguments.cost, spent, Cost)
    details, rows = read_text_csv(arguments.details), read_csv(arguments.metrics)
    if arguments.family:
        told_by = importlib.import_module(f"nepotism.families.{arguments.family}.claims")
        text = render_short(told_by.QUESTION, told_by.NOTATION, told_by.ENDS, verdicts, rows)
    else:
        text = render(verdicts, details, read_text_csv(arguments.diagnostics), rows)
    if arguments.threshold:
        text = replace(text, answer=" ".join([text.answer, *beginnings(read_text_csv(arguments.threshold))]))
    write_text(arguments.output, page(text, verdicts, provenance, spent))


if __name__ == "__main__":
    main()
