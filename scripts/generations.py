"""Fit, sample and score a chunk of generations of one cell."""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from nepotism import cli, generations, streams
from nepotism.cells import cell_in
from nepotism.families import imported_family
from nepotism.files import sha256
from nepotism.images import Record
from nepotism.resume.job import Job
from nepotism.rows import write_rows
from nepotism.tables import write_metrics


def main() -> None:
    parser = cli.parser(__doc__, stage="generations")
    cli.add_device(parser)
    cli.add_resume(parser)
    parser.add_argument("--family", required=True, help="kind of model: a package of nepotism.families")
    parser.add_argument("--settings", required=True, help="what decides the result, of the family's block, as JSON")
    parser.add_argument("--execution", default="{}", help="the block's keys that only say how, as JSON")
    parser.add_argument(
        "--regime", choices=["replace", "accumulate", "accumulate_subsample"], default="replace",
        help="what becomes of the data of earlier generations",
    )  # fmt: skip
    parser.add_argument("--ratio", default="0", help="percent of generated rows, for the regime that replaces")
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--cell", required=True, help="folder of the cell inside the experiment, or base/seed-<seed>")
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument("--first", type=int, required=True, help="first generation of the chunk; 0 is the base model")
    parser.add_argument("--last", type=int, required=True, help="its last generation")
    parser.add_argument(
        "--reference", type=Path, nargs="+", required=True, help="original rows, and what else they were written with"
    )
    parser.add_argument(
        "--models", type=Path, nargs="*", default=[], help="model files of generation 0 and other chunks before"
    )
    parser.add_argument("--drawn", type=Path, nargs="*", default=[], help="rows that these models drew")
    parser.add_argument(
        "--mix", type=Path, required=True, help="output: manifest of what each generation was fitted to"
    )
    parser.add_argument("--model", type=Path, required=True, help="output: the models of all generations")
    parser.add_argument("--samples", type=Path, required=True, help="output: rows of the last and of shown generations")
    parser.add_argument("--metrics", type=Path, required=True, help="output: scores of every generation (JSON)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    family: generations.Family = imported_family(arguments).Family(
        json.loads(arguments.execution) | json.loads(arguments.settings),
        arguments.seed,
        {path.stem: path for path in arguments.reference},
    )
    models: dict[int, generations.Arrays] = {}
    for path in arguments.models:
        models |= generations.read_models(path)
    drawn: dict[int, generations.Rows] = {}
    for path in arguments.drawn:
        drawn |= generations.read_drawn(family, path)
    inputs = [*arguments.reference, *arguments.models, *arguments.drawn]
    with Job(arguments.metrics, arguments.checkpoint_seconds) as job:
        made = generations.run(
            family, job, models, drawn, arguments.first, arguments.last, arguments.regime, arguments.ratio, arguments.seed,
            label=f"generations {arguments.cell}", family_name=arguments.family, settings=arguments.settings,
            version=arguments.stage_version, inputs=" ".join(map(sha256, inputs)),
        )  # fmt: skip
        tables = [family.table(rows, _records(arguments, iteration, made)) for iteration, rows in made.rows.items()]
        cell = cell_in(arguments.cell)
        control, ratio = (cell.control, cell.ratio) if cell else (arguments.cell.split("/")[0], "")
        job.check()
        generations.write_plans(arguments.mix, made.plans, len(family.originals()))
        generations.write_models(arguments.model, made.models)
        write_rows(arguments.samples, pa.concat_tables(tables))
        write_metrics(
            arguments.metrics,
            generations.metric_rows(arguments.experiment, control, ratio, arguments.seed, made.scores),
        )


def _records(arguments: argparse.Namespace, iteration: int, made: generations.Made) -> list[Record]:
    """Provenance of what a generation drew, one per slot."""
    model = made.models[iteration]
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(model[name]).tobytes() for name in sorted(model))).hexdigest()
    # Not after the chunk: where a chain is cut does not change what is drawn.
    chain = arguments.cell.split("/iteration-")[0]
    stream = streams.name((arguments.seed, iteration, "sample"))
    return [
        Record(
            f"{chain}/generation-{iteration}/{slot:05d}", "", "", f"{slot:05d}", "generated", iteration,
            model=digest, rng=stream,
        )
        for slot in range(len(made.rows[iteration]))
    ]  # fmt: skip


if __name__ == "__main__":
    main()
