"""Write the page of an experiment: its answer, figure, pictures, claims, costs and lineage, in one HTML file that loads nothing."""

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from nepotism.data.tables import read_text_csv
from nepotism.experiment.cells import BASELINE_ARM
from nepotism.families import family_package
from nepotism.judge.answer import NOTATION, QUESTION
from nepotism.judge.beginnings import beginnings
from nepotism.judge.sentences import decided, short_sentences, three_sentences
from nepotism.judge.verdicts import Claim, count
from nepotism.page.chart import HEIGHT, WIDTH, chart
from nepotism.page.conditions import PlannedArm
from nepotism.page.gallery import Files, gallery
from nepotism.page.pictures import figure_address
from nepotism.page.render import render
from nepotism.page.rows import MARKS, REMEDY_COLUMNS, claim_rows, cost_rows, grid_rows, profile_rows, remedy_rows
from nepotism.runtime import cli
from nepotism.runtime.files import write_text
from nepotism.share.private import Private, here


def main() -> None:
    parser = cli.parser(__doc__, stage="page")
    parser.add_argument("--experiment", required=True, help="its name")
    parser.add_argument("--family", help="of models that are made in chunks of generations")
    parser.add_argument("--planned", type=planned_arm, nargs="+", required=True, help="every arm, as JSON")
    parser.add_argument("--replicates", type=int, nargs="+", required=True, help="seeds; pictures are of the first")
    tables = {
        "metrics": "tables/metrics.csv", "claims": "tables/claims.csv", "details": "tables/claim_details.csv",
        "cost": "tables/cost.csv", "base-metrics": "metrics.json of the base model, for its provenance",
    }  # fmt: skip
    for name, what in tables.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    parser.add_argument("--config", type=Path, help="the resolved configuration, shown without paths of this machine")
    for name, what in {
        "curves": "figures/figure-3.csv", "profile": "tables/profile.csv", "remedies": "tables/remedies.csv",
        "threshold": "tables/threshold.csv",
        "real": "the real image of every slot", "samples": "samples of base models and cells, of one seed",
        "embeddings": "features beside them", "manifests": "training sets of the cells",
        "figures": "a family's figures (PNG)",
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=Path, nargs="*", default=[], help=f"{what}, if there are any")
    parser.add_argument("--output", type=Path, required=True, help="output: the page (HTML)")
    cli.run(run, parser.parse_args())


def planned_arm(word: str) -> PlannedArm:
    """An arm that `nepotism.plan.lines.planned` describes."""
    told: dict[str, Any] = json.loads(word)
    return PlannedArm(**{**told, "ratios": tuple(told["ratios"]), "iterations": tuple(told["iterations"])})


def run(arguments: argparse.Namespace) -> None:
    claims = [Claim(**{**row, "claim": int(row["claim"])}) for row in read_text_csv(arguments.claims)]  # type: ignore[arg-type]
    details, scores = read_text_csv(arguments.details), read_text_csv(arguments.metrics)
    arms, seeds = [arm.found(scores) for arm in arguments.planned], arguments.replicates
    provenance = json.loads(arguments.base_metrics.read_text(encoding="utf-8"))["provenance"]
    grid = grid_rows(arms, seeds, scores)
    shown = gallery(files(arguments), arms, seeds[0]) if arguments.samples else None
    points = [row for file in arguments.curves for row in read_text_csv(file)]
    values: dict[str, Any] = {
        "experiment": arguments.experiment,
        **words(arguments, claims, details),
        "begins": [told for file in arguments.threshold for told in beginnings(read_text_csv(file))],
        "tally": [(kind, MARKS[kind], number) for kind, number in count(claims).items() if number],
        "decided": decided(claims, details),
        "chart": chart(points) if points else None,
        "chart_size": (WIDTH, HEIGHT),
        "figures": family_figures(arguments),
        "gallery": shown,
        "gallery_data": shown.data() if shown and shown.steps else None,
        "claims": claim_rows(claims, details),
        "profile": profile_rows([row for file in arguments.profile for row in read_text_csv(file)]),
        "remedies": remedy_rows([row for file in arguments.remedies for row in read_text_csv(file)]),
        "remedy_heads": [column[0] for column in REMEDY_COLUMNS],
        "grid": grid,
        "grid_done": sum(row.done for row in grid),
        "grid_planned": sum(row.planned for row in grid),
        "seeds": seeds,
        "costs": cost_rows(read_text_csv(arguments.cost)),
        "provenance": provenance,
        "config": shown_config(arguments.config) if arguments.config else "",
    }
    write_text(arguments.output, render(values))


def words(arguments: argparse.Namespace, claims: list[Claim], details: list[dict[str, str]]) -> dict[str, Any]:
    """The question, the three sentences that answer it, and what letters in statistics mean."""
    if arguments.family:
        told = importlib.import_module(f"nepotism.families.{arguments.family}.claims")
        return {
            "question": told.QUESTION,
            "answer": short_sentences(claims, details),
            "notation": told.NOTATION,
            "family": arguments.family,
        }
    # What claims are about, wherever it stands: other arms may end before.
    judged = next((arm for arm in arguments.planned if arm.name == BASELINE_ARM), arguments.planned[0])
    return {
        "question": QUESTION,
        "answer": three_sentences(claims, details, judged.iterations[-1]),
        "notation": " ".join(NOTATION),
        "family": "diffusion",
    }


def shown_config(path: Path) -> str:
    """The configuration as JSON, for everybody: a page is made to be sent."""
    config = json.loads(path.read_text(encoding="utf-8"))
    private = Private(here(Path(__file__).parents[1]), config)
    return json.dumps(private.cleaned(config), indent=2, ensure_ascii=False) + "\n"


def files(arguments: argparse.Namespace) -> Files:
    """The files of pictures and training sets."""
    return Files(arguments.real[0], arguments.samples, arguments.embeddings, arguments.manifests)


def family_figures(arguments: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Name, caption and picture of each figure of a family that has no pictures of its own."""
    if not arguments.family:
        return []
    captions = family_package(arguments.family).FIGURES
    return [(file.stem, captions[file.stem], figure_address(file)) for file in arguments.figures]


if __name__ == "__main__":
    main()
