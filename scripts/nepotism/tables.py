"""Tidy tables of scores: one row per value, in JSON beside each cell and in one CSV per experiment."""

import csv
import io
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nepotism.files import write_text
from nepotism.stages import STAGE_VERSIONS


@dataclass(frozen=True)
class Metric:
    """What a metric is: its definition, range, and which direction is better."""

    definition: str
    range: str
    better: str


METRICS = {
    "fid": Metric("Frechet distance between the feature Gaussians of generated and real images", "[0, inf)", "lower"),
    "kid": Metric("unbiased squared MMD, cubic polynomial kernel, on all images", "(-inf, inf), 0 when equal", "lower"),
    "clip_score": Metric("mean of 100 x cosine of CLIP embeddings of image and caption", "[-100, 100]", "higher"),
    "clip_score_within_group_sd": Metric("root mean variance of the CLIP score inside groups", "[0, 200]", "neither"),
    "precision": Metric("share of generated images near a real one (k = 5)", "[0, 1]", "higher"),
    "recall": Metric("share of real images near a generated one (k = 5)", "[0, 1]", "higher"),
    "density": Metric("real neighbourhoods that a generated image lies in, over k", "[0, inf), 1 expected", "higher"),
    "coverage": Metric("share of real images whose neighbourhood holds a generated one", "[0, 1]", "higher"),
    "memorization": Metric(
        "share of images nearer to a real image of the training split than to as many of the holdout",
        "[0, 1], 0.5 expected",
        "lower",
    ),
    "within_group_distance": Metric("mean feature distance of two images of one group", "[0, inf)", "higher"),
    "saturation": Metric("mean HSV saturation", "[0, 1]", "neither"),
    "contrast": Metric("standard deviation of luma inside an image", "[0, 0.5]", "neither"),
    "accepted_share": Metric("share of images that a control kept", "[0, 1]", "higher"),
    "unique_images": Metric("number of different images after a control", "[0, n]", "higher"),
}


@dataclass(frozen=True)
class Row:
    """One value of metrics.csv. Iteration 0 has control ``base`` (or ``base-<control>``) and an empty ratio.

    Attributes:
        set: samples | unseen | seed_images | curated (its iteration is the one it feeds) | real (holdout against holdout)
            | vae (real images after as many round trips through the autoencoder as the iteration says).
        features: feature space, such as clip, conv, inception; ``pixels`` for colours, empty for counts.
        metric: a key of `METRICS`.
        sd: between images; se, ci_low, ci_high: of the value, at this n.
        n: number of images.
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
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


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
    """The rows of any CSV file, as text by column."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_csv(path: Path) -> list[Row]:
    """The rows of tables/metrics.csv."""
    return [_typed(row) for row in read_text_csv(path)]


def _typed(row: dict[str, str]) -> Row:
    optional = {name: float(row[name]) if row[name] else None for name in ("sd", "se", "ci_low", "ci_high")}
    whole = {name: int(row[name]) for name in ("seed", "iteration", "n")}
    return Row(**{**row, **optional, **whole, "value": float(row["value"])})  # type: ignore[arg-type]
