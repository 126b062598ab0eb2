"""What one more seed takes: cells, hours and disk, by the first seed's jobs and files, or else by measured speeds."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nepotism.experiment.cells import Cell
from nepotism.plan.forecast import forecast, groups, groups_of_folder
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.plan.rates import fitting_rates, read_rates
from nepotism.weights.locations import in_project

# Of longer experiments, the files of so many cells are looked at, spread evenly.
LOOKED_AT = 200


@dataclass(frozen=True)
class Price:
    """What one more seed takes.

    Attributes:
        cells: number of cells.
        seconds: of its jobs, one after the other; None where no job, and no speed, was measured.
        size: bytes of disk; None where that is not known.
        source: where these numbers come from.
    """

    cells: int
    seconds: float | None
    size: float | None
    source: str


def price(grid: Grid, folder: Path, rates: Path) -> Price:
    """What one more seed of an experiment takes.

    Args:
        grid: of the experiment.
        folder: its results.
        rates: measured speeds, for where no job of a seed was measured.

    Raises:
        UserError: if that file has mistakes.
    """
    seed = grid.seeds[0]
    cells = [cell for cell in grid.cells() if cell.seed == seed]
    seconds = [_seconds(path) for path in _of_seed(folder / "benchmarks", f"seed-{seed}")]
    if any(seconds):
        return Price(len(cells), sum(seconds), _bytes(grid, folder, cells), f"measured: the jobs of seed {seed}")
    return _forecast(grid, cells, rates)


def _of_seed(folder: Path, name: str) -> Iterator[Path]:
    """Benchmarks of the jobs of one seed. Those of other seeds are not looked at: there may be tens of thousands."""
    if not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("seed-"):
            if entry.name == f"{name}.tsv":
                yield Path(entry.path)
            elif entry.name == name:
                yield from sorted(Path(entry.path).rglob("*.tsv"))
        elif entry.is_dir():
            yield from _of_seed(Path(entry.path), name)


def _seconds(path: Path) -> float:
    """Of one job; 0 where Snakemake could not measure, or was killed in half a line."""
    with open(path, newline="", encoding="utf-8") as file:
        found = [row["s"] for row in csv.DictReader(file, delimiter="\t") if row.get("s") not in (None, "NA", "-", "")]
    return sum(map(float, found))


def _bytes(grid: Grid, folder: Path, cells: list[Cell]) -> float:
    """Disk of a seed: of its iteration 0 and of its cells, models and images included."""
    chosen = cells[:: -(-len(cells) // LOOKED_AT)]
    of_cells = sum(_size(folder / cell.path) for cell in chosen) * len(cells) / len(chosen)
    return of_cells + sum(_size(folder / base / f"seed-{cells[0].seed}") for base in grid.bases)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _forecast(grid: Grid, cells: list[Cell], rates: Path) -> Price:
    """By a measured speed of such a model, if there is one."""
    if grid.family != DIFFUSION:
        return Price(len(cells), None, None, "not known: no job of a seed has a benchmark")
    one = Grid({**grid.config, "seeds": grid.seeds[:1]})
    count = _groups(one)
    if count is None:
        return Price(
            len(cells), None, None, "not known: no job of a seed has a benchmark, and groups cannot be counted"
        )
    expected = forecast(one, count)
    if expected.denoiser is None:
        return Price(
            len(cells), None, None, "not known: no job of a seed has a benchmark, and its model is not on disk"
        )
    fitting = fitting_rates(grid, read_rates(rates), expected.denoiser.parameters / 1e6)
    if not fitting:
        return Price(len(cells), None, expected.final_bytes, f"not known: {rates.name} has no speed of such a model")
    slowest = max(fitting, key=expected.hours)
    return Price(
        len(cells),
        expected.hours(slowest) * 3600,
        expected.final_bytes,
        f"forecast: {slowest.device}, {slowest.measured}",
    )


def _groups(grid: Grid) -> int | None:
    reference = grid.config["reference"]
    if reference["source"] == "folder":
        return groups_of_folder(Path(in_project(reference["folder"]["path"])))
    try:
        return groups(dict(grid.config))
    except ValueError:
        return None
