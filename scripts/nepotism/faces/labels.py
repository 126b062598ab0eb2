"""What a classifier, or a table of labels, says of every face of a data set."""

import csv
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nepotism.errors import UserError
from nepotism.files import whole


@dataclass(frozen=True)
class Label:
    """One face: a row of a shard, and of a table of labels.

    Attributes:
        file: path of the image inside the data set.
        age: years, or the lower end of a range of years; None if unknown.
        gender, race: as the classifier or the table names them; empty if unknown.
        gender_score, race_score: the classifier's share for them, in [0, 1]; None from a table.
        face_confidence: of the detector, on its own scale; None from a table.
        error: why there is no label; empty if there is one.
    """

    file: str
    age: float | None = None
    gender: str = ""
    race: str = ""
    gender_score: float | None = None
    race_score: float | None = None
    face_confidence: float | None = None
    error: str = ""


_SCHEMA = pa.schema(
    [pa.field(field.name, pa.string() if field.type is str else pa.float64()) for field in fields(Label)]
)


def official_name(number: int) -> str:
    """Path of an image in FFHQ's tree, such as ``00000/00042.png``."""
    return f"{number // 1000 * 1000:05d}/{number:05d}.png"


def images_folder(path: Path) -> Path:
    """The folder of the numbered folders: ``images1024x1024`` in FFHQ's own tree, or ``path`` itself."""
    inside = path / "images1024x1024"
    return inside if inside.is_dir() else path


def write_labels(path: Path, labels: Sequence[Label]) -> None:
    """Write one shard, whole or not at all."""
    with whole(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(label) for label in labels], _SCHEMA), temporary)


def read_labels(path: Path) -> list[Label]:
    """Read one shard."""
    return [Label(**row) for row in pq.read_table(path).to_pylist()]


def read_table(path: Path, columns: dict[str, str | None]) -> list[Label]:
    """Read a table of labels in CSV, such as FFHQ-Aging's.

    Args:
        path: the table.
        columns: its column for each of ``file``, ``age``, ``gender`` and ``race``; None where it has none. Files may be
            numbers of FFHQ; ages may be ranges such as ``20-29``.

    Raises:
        UserError: if a column is missing or a value cannot be read, naming column, line and what was found.
    """
    if not path.is_file():
        raise UserError(f"`reference.ffhq.labels`: there is no file {path}")
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        header = reader.fieldnames or []
        if missing := [name for name in columns.values() if name and name not in header]:
            raise UserError(
                f"{path}: no column {', '.join(missing)}; its first line has: {', '.join(header) or 'nothing'}. "
                "Name its columns in `reference.ffhq.columns`"
            )
        return [_from_row(row, columns, f"{path} line {reader.line_num}") for row in reader]


def _from_row(row: dict[str, str], columns: dict[str, str | None], where: str) -> Label:
    def value(key: str) -> str:
        name = columns[key]
        return (row[name] or "").strip() if name else ""

    file = value("file")
    if not file:
        raise UserError(f"{where}: column {columns['file']} is empty")
    age = value("age")
    years = re.match(r"\d+(\.\d+)?", age)
    if age and not years:
        raise UserError(
            f"{where}: column {columns['age']} has '{age}', which is neither years nor a range such as 20-29"
        )
    named = official_name(int(file)) if file.isdigit() else file
    return Label(named, float(years[0]) if years else None, value("gender"), value("race"))
