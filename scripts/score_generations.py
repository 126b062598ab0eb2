"""Score a chunk of generations of one cell: their models and what they drew."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
from nepotism.chain import engine
from nepotism.data.tables import write_metrics
from nepotism.experiment.cells import cell_in
from nepotism.families import add_family, family_package, imported_family, settings_given, version_of
from nepotism.families.treatment import manifest_rows
from nepotism.measure.curation import filtering
from nepotism.measure.evaluation import RowKey
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__)
    add_family(parser)
    cli.add_device(parser)
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--cell", required=True, help="folder of the cell inside the experiment, or base/seed-<seed>")
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument(
        "--reference", type=Path, nargs="+", required=True, help="original rows, and what else they were written with"
    )
    parser.add_argument("--first-model", type=Path, required=True, help="model file of generation 0")
    parser.add_argument("--model", type=Path, required=True, help="model file of the chunk")
    parser.add_argument("--samples", type=Path, required=True, help="rows that the chunk's generations drew")
    parser.add_argument(
        "--mix", type=Path, nargs="?", help="manifest of what the generations were fitted to, of an arm that filters it"
    )
    parser.add_argument("--metrics", type=Path, required=True, help="output: scores of every generation (JSON)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    version_of(arguments, "score_generations")
    family: engine.Family = imported_family(arguments).Family(
        settings_given(arguments), arguments.seed, {path.stem: path for path in arguments.reference}
    )
    scores = engine.score(
        family,
        engine.read_models(arguments.model),
        engine.read_drawn(family, arguments.samples),
        engine.read_models(arguments.first_model)[0],
    )
    check_declared(family_package(arguments.family), [score for found in scores.values() for score in found])
    cell = cell_in(arguments.cell)
    control, ratio = (cell.control, cell.ratio) if cell else (arguments.cell.split("/")[0], "")
    rows = engine.metric_rows(arguments.experiment, control, ratio, arguments.seed, scores)
    if arguments.mix:
        for iteration, entries in by_iteration(arguments.mix).items():
            place = RowKey(arguments.experiment, control, ratio, arguments.seed, iteration)
            rows += filtering(place, manifest_rows(entries))
    write_metrics(arguments.metrics, rows)


def by_iteration(manifest: Path) -> dict[int, list[dict[str, Any]]]:
    """The entries of a manifest by generation."""
    found: dict[int, list[dict[str, Any]]] = {}
    for entry in pq.read_table(manifest).to_pylist():
        found.setdefault(entry["iteration"], []).append(entry)
    return found


def check_declared(package: ModuleType, scores: Iterable[engine.Score]) -> None:
    """Metrics and feature spaces of a family must be in its package's METRICS and SPACES.

    Raises:
        ValueError: if one is not.
    """
    spaces = {"", *(space.name for space in package.SPACES)}
    for score in scores:
        if score.metric not in package.METRICS or score.features not in spaces:
            raise ValueError(
                f"{package.__name__}: declare the metric {score.metric!r} (features {score.features!r}) in METRICS and SPACES"
            )


if __name__ == "__main__":
    main()
