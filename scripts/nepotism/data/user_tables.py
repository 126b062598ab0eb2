"""Tables that users bring, read strictly: a line that does not fit is told, never guessed. Standard library only."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from nepotism.data.user_files import listed, nfc, read_bytes
from nepotism.runtime.errors import UserError

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
