"""Fit and sample a chunk of generations of one cell."""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from nepotism.chain import engine
from nepotism.chain.manifest import write_plans
from nepotism.chain.regimes import REGIMES
from nepotism.controls import CONTROLS
from nepotism.data.images import Record
from nepotism.data.rows import write_rows
from nepotism.families import add_family, imported_family, settings_given, version_of
from nepotism.families.treatment import Treatment
from nepotism.runtime import cli, streams
from nepotism.runtime.files import sha256
from nepotism.runtime.resume.job import Job


def main() -> None:
    parser = cli.parser(__doc__)
    add_family(parser)
    cli.add_device(parser)
    cli.add_resume(parser)
    parser.add_argument(
        "--regime",
        choices=list(REGIMES),
        default="replace",
        help="what training sets are made of, from generation 1 on",
    )
    parser.add_argument("--regime-parameters", default="{}", help="its parameters, as JSON")
    parser.add_argument("--control", choices=list(CONTROLS), default="none", help="what happens to training sets")
    parser.add_argument("--control-parameters", default="{}", help="its parameters, as JSON")
    parser.add_argument("--ratio", default="0", help="percent of generated rows")
    parser.add_argument("--cell", required=True, help="folder of the cell inside the experiment, or base/seed-<seed>")
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument("--first", type=int, required=True, help="first generation of the chunk; 0 is the base model")
    parser.add_argument("--last", type=int, required=True, help="its last generation")
    parser.add_argument(
        "--reference", type=Path, nargs="+", required=True, help="original rows, and what else they were written with"
    )
    parser.add_argument(
        "--models", type=Path, nargs="*", default=[], help="model files of earlier generations that are read"
    )
    parser.add_argument("--drawn", type=Path, nargs="*", default=[], help="rows that earlier generations drew")
    parser.add_argument(
        "--mix", type=Path, required=True, help="output: manifest of what each generation was fitted to"
    )
    parser.add_argument("--model", type=Path, required=True, help="output: the models of all generations")
    parser.add_argument("--samples", type=Path, required=True, help="output: rows of the last and of shown generations")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    version, regime = version_of(arguments, "generations"), REGIMES[arguments.regime]
    control, parameters = CONTROLS[arguments.control], json.loads(arguments.control_parameters)
    family: engine.Family = imported_family(arguments).Family(
        settings_given(arguments), arguments.seed, {path.stem: path for path in arguments.reference}
    )
    models: dict[int, engine.Arrays] = {}
    for path in arguments.models:
        models |= engine.read_models(path)
    drawn: dict[int, engine.Rows] = {}
    for path in arguments.drawn:
        drawn |= engine.read_drawn(family, path)
    # Of an arm without a control, nothing is said of one.
    controlled = {} if control.name == "none" else {"control": control.name, "treated": arguments.control_parameters}
    inputs = [*arguments.reference, *arguments.models, *arguments.drawn]
    with Job(arguments.samples, arguments.checkpoint_seconds) as job:
        made = engine.run(
            family, job, models, drawn, arguments.first, arguments.last, regime,
            regime.filled(json.loads(arguments.regime_parameters)), arguments.ratio, arguments.seed,
            label=f"generations {arguments.cell}",
            treatment=Treatment(family, control, parameters, arguments.seed) if controlled else None,  # type: ignore[arg-type]
            family_name=arguments.family, settings=arguments.settings, version=version,
            inputs=" ".join(map(sha256, inputs)), **controlled,
        )  # fmt: skip
        tables = [
            family.table(rows, _records(arguments, family, iteration, made)) for iteration, rows in made.rows.items()
        ]
        job.check()
        write_plans(arguments.mix, made.plans, len(family.originals()), made.verdicts)
        engine.write_models(arguments.model, made.models)
        write_rows(arguments.samples, pa.concat_tables(tables))


def _records(
    arguments: argparse.Namespace, family: engine.Family, iteration: int, made: engine.ChunkResult
) -> list[Record]:
    """Provenance of what a generation drew, one per slot."""
    model = made.models[iteration]
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(model[name]).tobytes() for name in sorted(model))).hexdigest()
    # Not after the chunk: where a chain is cut does not change what is drawn.
    chain = arguments.cell.split("/iteration-")[0]
    stream = family.stream(iteration)
    return [
        Record(
            f"{chain}/generation-{iteration}/{slot:05d}", "", "", f"{slot:05d}", "generated", iteration,
            model=digest, rng=streams.name(stream) if stream else "",
        )
        for slot in range(len(made.rows[iteration]))
    ]  # fmt: skip


if __name__ == "__main__":
    main()
