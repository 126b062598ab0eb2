"""Files, captions and groups of a folder of images, as Hugging Face's image folders have them: CSV, JSON lines or Parquet.

Only Parquet needs more than the standard library.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nepotism.data.user_files import check_readable, find, inside, is_metadata, nfc, once, read_bytes, visible
from nepotism.data.user_tables import read_user_csv
from nepotism.runtime.errors import UserError

COLUMNS = ("file_name", "text", "group")
NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


@dataclass(frozen=True)
class Described:
    """What metadata says of one image: where it is, its name inside the folder, caption and group."""

    path: Path
    name: str
    text: str
    group: str


def find_metadata(folder: Path) -> Path | None:
    """The metadata of a folder; None if it has none.

    Raises:
        UserError: if there are several, or one that is called in another way: what is not read must not seem to be.
    """
    alike = [path for path in visible(folder) if is_metadata(path.name) and not path.is_dir()]
    if len(alike) > 1:
        raise UserError(f"{folder}: several metadata files: {', '.join(path.name for path in alike)}; keep one of them")
    if alike and alike[0].name not in NAMES:
        raise UserError(
            f"{alike[0]}: metadata of this name is not read; it is called {', '.join(NAMES[:2])} or {NAMES[2]}"
        )
    return alike[0] if alike else None


def described(folder: Path, metadata: Path) -> tuple[list[Described], list[str], int]:
    """Read the metadata of a folder.

    Returns:
        What it says of each image, a problem for every row that cannot be used, and how many rows say the same again.

    Raises:
        UserError: if it cannot be read at all.
    """
    rows, problems = _READERS[metadata.suffix](metadata)
    found: dict[str, tuple[str, Described]] = {}
    repeated = 0
    for where, row in rows:
        wrong, name = _wrong(row), inside(row["file_name"])
        path = find(folder, name) if name else None
        if name is None:
            wrong.append(f"{row['file_name']} is outside the folder")
        elif row["file_name"] and path is None:
            link = " (it is a link to nothing)" if os.path.islink(folder / name) else ""
            wrong.append(f"there is no file {row['file_name']}{link}")
        problems += [f"{where}: {each}" for each in wrong]
        if wrong or name is None or path is None:
            continue
        entry = Described(path, nfc(name), row["text"], row["group"])
        before, same = found.setdefault(entry.name, (where, entry))
        if same != entry:
            problems.append(f"{where}: {entry.name} has another caption or group in {before}; keep one of them")
        elif before != where:
            repeated += 1
    if not rows and not problems:
        problems.append(f"{metadata.name} lists no images")
    return [entry for _, entry in found.values()], problems, repeated


def _wrong(row: dict[str, str]) -> list[str]:
    wrong = [f"column {column} is empty" for column in COLUMNS if not row[column]]
    if "/" in row["group"] or row["group"] in (".", ".."):
        wrong.append(f"group '{row['group']}' must not contain / nor be a path")
    return wrong


# Where each row stands, and its text by column.
Rows = list[tuple[str, dict[str, str]]]


def _csv(path: Path) -> tuple[Rows, list[str]]:
    lines, problems = read_user_csv(path, COLUMNS)
    return [(f"{path.name} line {number}", row) for number, row in lines], problems


def _json_lines(path: Path) -> tuple[Rows, list[str]]:
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not in UTF-8 ({error}); save it as such") from None
    rows: Rows = []
    problems: list[str] = []
    # A line break inside a text is written as \n in JSON.
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{path.name} line {number}"
        if line.strip():
            try:
                value = json.loads(line, object_pairs_hook=once)
            except ValueError as error:
                problems.append(f"{where}: no JSON object ({error})")
                continue
            _add(where, value, rows, problems)
    return rows, problems


def _parquet(path: Path) -> tuple[Rows, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_readable(path)
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if missing := [column for column in COLUMNS if column not in names]:
                found = ", ".join(names) or "nothing"
                raise UserError(f"{path}: missing columns {', '.join(missing)}; it has: {found}")
            table = file.read(list(COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: no Parquet file that can be read ({error})") from None
    rows: Rows = []
    problems: list[str] = []
    for number, row in enumerate(_values(table)):
        _add(f"{path.name} row {number}", row, rows, problems)
    return rows, problems


def _values(table: Any) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches():
        yield from batch.to_pylist()


def _add(where: str, value: Any, rows: Rows, problems: list[str]) -> None:
    """Take one row whose values have types: texts, or whole numbers as names of groups."""
    if not isinstance(value, dict):
        problems.append(f"{where}: no JSON object")
        return
    wrong = [f"column {column} is missing" for column in COLUMNS if column not in value]
    given = {column: value[column] for column in COLUMNS if column in value}
    if type(given.get("group")) is int:
        given["group"] = str(given["group"])
    texts = {column: "" if text is None else text for column, text in given.items()}
    wrong += [f"column {column} is no text, but {text!r}" for column, text in texts.items() if not _is_text(text)]
    problems += [f"{where}: {each}" for each in wrong]
    if not wrong:
        rows.append((where, {column: nfc(text).strip() for column, text in texts.items()}))


def _is_text(value: Any) -> bool:
    # JSON may hold halves of characters, where a program cut a text.
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


_READERS = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
