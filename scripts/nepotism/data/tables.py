"""Tidy tables of scores: one row per value, in JSON beside each cell and in one CSV per experiment.

What a score is without each block of images stands beside the scores in a CSV of its own, a row per block.
"""

import csv
import io
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nepotism.data.jackknife import LeftOut
from nepotism.experiment.stages import STAGE_VERSIONS
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import write_text


@dataclass(frozen=True)
class Row:
    """One value of metrics.csv.

    Iteration 0, and the base model with the noise of other iterations, has an empty ratio and control ``base``, or
    ``base-<the first arm that begins so>``.

    Attributes:
        set: samples | unseen | initial_images | curated (its iteration is the one it feeds) | real (holdout against holdout)
            | vae (real images after as many round trips through the autoencoder as the iteration says).
        features: feature space, such as clip, conv, inception; ``pixels`` for colours, empty for counts.
        metric: its name; a family declares its metrics and feature spaces.
        sd: between images; se, ci_low, ci_high: of the value, at this n.
        n: number of images; of ``accepted_share`` and ``unique_images``, of the slots that a control was given.
        left_out: the value without each block of images, None where it has none. No column of metrics.csv.
    """

    experiment: str
    control: str
    ratio: str
    seed: int
    iteration: int
    set: str
    features: str
    metric: str
    value: float
    sd: float | None
    se: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    left_out: LeftOut | None = None


# The columns of metrics.csv, those that name a value, and the columns of jackknife.csv, a row per value and block.
COLUMNS = tuple(field.name for field in fields(Row) if field.name != "left_out")
NAMING = COLUMNS[: COLUMNS.index("value")]
BLOCK_COLUMNS = (*NAMING, "block", "left_out", "value")


def provenance() -> dict[str, Any]:
    """Source revision, stage versions, library versions and machine, for metrics.json."""
    libraries: dict[str, str | None] = {}
    for name in (
        "numpy",
        "torch",
        "diffusers",
        "transformers",
        "accelerate",
        "clean-fid",
        "torchmetrics",
        "pillow",
        "scipy",
        "scikit-learn",
    ):
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = None
    return {
        "revision": _revision(),
        "stage_versions": STAGE_VERSIONS,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "libraries": libraries,
    }


def _revision() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        # No git, or a copy of the source without history: the revision is then unknown, not wrong.
        return None


def write_metrics(path: Path, rows: Sequence[Row]) -> None:
    """Write one cell's scores with their provenance as JSON."""
    content = {"rows": [asdict(row) for row in rows], "provenance": provenance()}
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_metrics(path: Path) -> list[Row]:
    """The rows of a file that `write_metrics` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [Row(**{**row, "left_out": _left_out(row.get("left_out"))}) for row in rows]


def _left_out(values: dict[str, list[Any]] | None) -> LeftOut | None:
    return LeftOut(tuple(values["images"]), tuple(values["values"])) if values else None


def write_scores(metrics: Path, blocks: Path, rows: Sequence[Row]) -> None:
    """Write tables/metrics.csv, and beside it tables/jackknife.csv."""
    write_csv(metrics, [[getattr(row, name) for name in COLUMNS] for row in rows], COLUMNS)
    table = [
        [*(getattr(row, name) for name in NAMING), block, images, value]
        for row in rows
        if row.left_out
        for block, (images, value) in enumerate(zip(row.left_out.images, row.left_out.values, strict=True))
    ]
    write_csv(blocks, table, BLOCK_COLUMNS)


def write_csv(path: Path, rows: Sequence[Any], columns: Sequence[str] | type) -> None:
    """Write a table with its header, also of no rows; None becomes an empty field.

    Args:
        path: the file.
        rows: of one dataclass, or plain sequences.
        columns: that dataclass, or the names of the columns.
    """
    names = [field.name for field in fields(columns)] if isinstance(columns, type) else columns
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = [getattr(row, name) for name in names] if isinstance(columns, type) else row
        writer.writerow("" if value is None else value for value in values)
    write_text(path, buffer.getvalue())


def read_text_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file that `write_csv` wrote, as text by column. `read_user_csv` reads those of users."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_csv(path: Path, blocks: Path | None = None) -> list[Row]:
    """The rows of tables/metrics.csv.

    Args:
        path: of that table.
        blocks: tables/jackknife.csv; without it, rows know nothing of what they are without a block.

    Raises:
        UserError: if that table is of other scores.
    """
    rows = [_typed(row) for row in read_text_csv(path)]
    if blocks is None:
        return rows
    found: dict[tuple[str, ...], list[tuple[int, float]]] = {}
    for line in read_text_csv(blocks):
        found.setdefault(tuple(line[name] for name in NAMING), []).append((int(line["left_out"]), float(line["value"])))
    if not found:
        return rows
    rows = [replace(row, left_out=_blocks(found.pop(_name(row), []))) for row in rows]
    if found:
        raise UserError(
            f"{blocks}: {', '.join(next(iter(found)))} is no row of {path}; delete both tables to regenerate them"
        )
    return rows


def floors(rows: Sequence[Row]) -> dict[str, float]:
    """The Frechet distance of real images from other real ones, by feature space: what is left of it without any model."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if (row.set, row.metric) == ("real", "fid"):
            found.setdefault(row.features, []).append(row.value)
    return {space: sum(values) / len(values) for space, values in found.items()}


def _name(row: Row) -> tuple[str, ...]:
    return tuple(str(getattr(row, name)) for name in NAMING)


def _blocks(found: Sequence[tuple[int, float]]) -> LeftOut | None:
    return LeftOut(tuple(images for images, _ in found), tuple(value for _, value in found)) if found else None


def _typed(row: dict[str, str]) -> Row:
    optional = {name: float(row[name]) if row[name] else None for name in ("sd", "se", "ci_low", "ci_high")}
    whole = {name: int(row[name]) for name in ("seed", "iteration", "n")}
    return Row(**{**row, **optional, **whole, "value": float(row["value"])})  # type: ignore[arg-type]
