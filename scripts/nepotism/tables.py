"""Tidy tables of scores: one row per value, in JSON beside each cell and in one CSV per experiment."""

import csv
import io
import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nepotism.errors import UserError
from nepotism.files import write_text
from nepotism.stages import STAGE_VERSIONS
from nepotism.user_files import listed, nfc, read_bytes


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


def write_csv(path: Path, rows: Sequence[Any], columns: Sequence[str] | None = None) -> None:
    """Write dataclass rows (or, with ``columns``, plain sequences) as CSV; None becomes an empty field."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns or [field.name for field in fields(rows[0])])
    for row in rows:
        values = row if columns else [getattr(row, field.name) for field in fields(row)]
        writer.writerow("" if value is None else value for value in values)
    write_text(path, buffer.getvalue())


def read_text_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file that `write_csv` wrote, as text by column. `read_user_csv` reads those of users."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# One row of a user's table: the number of its line, and its values by column.
Line = tuple[int, dict[str, str]]


def read_user_csv(path: Path, columns: Sequence[str], advice: str = "") -> tuple[list[Line], list[str]]:
    """Read a table that a user brings, in UTF-8 with commas, and trust nothing of it.

    Values and names of columns come without spaces around them and with composed letters (`user_files.nfc`); empty lines
    are skipped. A value that contains a comma stands in quotes; one that contains a line break is refused, for it cannot be
    told from a quote that someone forgot to close.

    Args:
        path: the table.
        columns: those it must have; it may have others.
        advice: what to do where one is missing.

    Returns:
        The lines that fit the first one, and a problem, with its number, for each that does not.

    Raises:
        UserError: if it cannot be read, is not in UTF-8, or its first line is no list of columns that has these.
    """
    lines = enumerate(_user_lines(path), 1)
    number, header = next(((number, line) for number, line in lines if line.strip()), (1, ""))
    names = _fields(header)
    if isinstance(names, str):
        raise UserError(f"{path} line {number}: {names}")
    if separator := next((name for sign, name in _SEPARATORS.items() if sign in header), None):
        raise UserError(f"{path} line {number}: its columns are separated by {separator}; save it with commas")
    if missing := [column for column in columns if column not in names]:
        found = ", ".join(names) or "nothing"
        raise UserError(
            f"{path}: missing columns {', '.join(missing)}; its first line has: {found}"
            + (f". {advice}" if advice else "")
        )
    if twice := sorted({name for name in names if names.count(name) > 1 and name}):
        raise UserError(f"{path} line {number}: columns that stand there twice: {', '.join(twice)}; keep one of each")
    if "" in names:
        raise UserError(f"{path} line {number}: column {names.index('') + 1} has no name; name it or take it out")
    rows: list[Line] = []
    problems: list[str] = []
    for number, line in lines:
        if not line.strip():
            continue
        fields = _fields(line)
        if isinstance(fields, str):
            problems.append(f"{path.name} line {number}: {fields}")
        elif len(fields) != len(names):
            hint = "; a text with a comma stands in quotes" if len(fields) > len(names) else ""
            problems.append(f"{path.name} line {number}: {len(fields)} values for {len(names)} columns{hint}")
        else:
            rows.append((number, dict(zip(names, fields, strict=True))))
    return rows, problems


_SEPARATORS = {";": "semicolons", "\t": "tabs"}


def _user_lines(path: Path) -> list[str]:
    data = read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: not a CSV file in UTF-8 (line {number}: {error.reason} {data[error.start]:#04x}); save it as such"
        ) from None
    # Not str.splitlines, which takes rare characters inside texts for ends of lines too.
    return re.split(r"\r\n|\r|\n", text)


def _fields(line: str) -> list[str] | str:
    """The values of one line, or what is wrong with it."""
    if "\0" in line:
        return "it has NUL characters, so it is no text in UTF-8"
    try:
        (fields,) = csv.reader([line], strict=True, skipinitialspace=True) if line else [[]]
    except csv.Error as error:
        if "unexpected end" in str(error):
            return "a quote is opened and not closed on the same line; line breaks inside of values are not read"
        return f"quotes that do not enclose a whole value ({error}); write two of them for one inside of a quoted value"
    return [nfc(field).strip() for field in fields]


def refuse(where: str, problems: Sequence[str]) -> None:
    """Tell what is wrong with a user's table or folder, if anything is.

    Raises:
        UserError: listing the problems; of many, the first.
    """
    if problems:
        raise UserError(f"{where} cannot be used:\n" + listed(problems))


_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def positive(text: str) -> float | None:
    """A positive number as users write it in tables; None for any other text, also for such that Python would take."""
    value = float(text) if _NUMBER.fullmatch(text) else 0.0
    return value if 0 < value < float("inf") else None


def read_csv(path: Path) -> list[Row]:
    """The rows of tables/metrics.csv."""
    return [_typed(row) for row in read_text_csv(path)]


def _typed(row: dict[str, str]) -> Row:
    optional = {name: float(row[name]) if row[name] else None for name in ("sd", "se", "ci_low", "ci_high")}
    whole = {name: int(row[name]) for name in ("seed", "iteration", "n")}
    return Row(**{**row, **optional, **whole, "value": float(row["value"])})  # type: ignore[arg-type]
