"""What a classifier, or a table of labels, says of every face of a data set."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nepotism.data.user_files import inside
from nepotism.data.user_tables import read_user_csv, refuse
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import atomic_write

# 23, 23.5, 70+, and 20-29 with a hyphen or an en dash: years, or the lower end of a range of years.
_AGE = re.compile(r"(?P<low>[0-9]+(?:\.[0-9]+)?)(?:\+| ?[-\u2013] ?(?P<high>[0-9]+(?:\.[0-9]+)?))?")
# A larger number is something else, such as the day that a spreadsheet made of a range.
_OLDEST = 150
_NUMBER = re.compile(r"[0-9]+")
# As a spreadsheet or pandas may write a number: no name of a file.
_LIKE_A_NUMBER = re.compile(r"[+-]?[0-9.,]+([eE][+-]?[0-9]+)?")


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
    with atomic_write(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(label) for label in labels], _SCHEMA), temporary)


def read_labels(path: Path) -> list[Label]:
    """Read one shard."""
    return [Label(**row) for row in pq.read_table(path).to_pylist()]


def read_table(path: Path, columns: dict[str, str | None]) -> list[Label]:
    """Read a table of labels in CSV, such as FFHQ-Aging's.

    Args:
        path: the table.
        columns: its column for each of ``file``, ``age``, ``gender`` and ``race``; None where it has none. Files may be
            numbers of FFHQ; ages may be ranges such as ``20-29`` or ``70+``, of which the lower end counts. A face that
            stands there twice with the same labels counts once.

    Raises:
        UserError: if a column is missing, or listing the lines whose values cannot be read.
    """
    if not path.is_file():
        raise UserError(f"`reference.ffhq.labels`: there is no file {path}")
    needed = [name for name in columns.values() if name]
    rows, problems = read_user_csv(path, needed, "Name its columns in `reference.ffhq.columns`")
    labels: dict[str, Label] = {}
    lines: dict[str, int] = {}
    for number, row in rows:
        label, wrong = _from_row(row, columns)
        if not wrong and labels.setdefault(label.file, label) != label:
            wrong = [f"{label.file} has other labels in line {lines[label.file]}; keep one of them"]
        lines.setdefault(label.file, number)
        problems += [f"{path.name} line {number}: {each}" for each in wrong]
    refuse(f"`reference.ffhq.labels`: {path}", problems)
    return list(labels.values())


def _from_row(row: dict[str, str], columns: dict[str, str | None]) -> tuple[Label, list[str]]:
    """The label of a row, and what is wrong with it."""

    def value(key: str) -> str:
        name = columns[key]
        return row[name] if name else ""

    file, age = value("file"), value("age")
    wrong = []
    named = official_name(int(file)) if _NUMBER.fullmatch(file) else inside(file)
    if not file:
        wrong.append(f"column {columns['file']} is empty")
    elif named is None:
        wrong.append(f"column {columns['file']} has {file}, which is outside the folder")
    elif not _NUMBER.fullmatch(file) and _LIKE_A_NUMBER.fullmatch(file):
        wrong.append(
            f"column {columns['file']} has {file}, which is neither a number such as 42 nor the path of an image"
        )
    years = _years(age)
    if age and years is None:
        wrong.append(f"column {columns['age']} has '{age}', which is neither years nor a range such as 20-29 or 70+")
    return Label(named or "", years, value("gender"), value("race")), wrong


def _years(age: str) -> float | None:
    """The years that a text says, or the lower end of its range; None if it says neither."""
    found = _AGE.fullmatch(age)
    if found is None:
        return None
    low, high = float(found["low"]), float(found["high"] or found["low"])
    return low if low <= high <= _OLDEST else None
