"""The novels of Jane Austen: read from Debian's package of the R package janeaustenr, and cut into what trains and what tests."""

import gzip
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import atomic_write

# What experiments take for the original text; the other five novels train the model that they begin with.
ORIGINAL = "prideprejudice"
# Of its chapters, which are tested and which validated: every tenth, half way between each other, so that all of the plot is in each.
EVERY, TEST, VALIDATION = 10, 5, 0
# Types of R's serialisation that a data set of text is made of (R Internals, "Serialization Formats").
_SYMBOL, _PAIRLIST, _CHARACTERS, _LOGICAL, _INTEGER, _STRINGS, _LIST, _REFERENCE, _NOTHING = (
    1,
    2,
    9,
    10,
    13,
    16,
    19,
    255,
    254,
)
_CHAPTER = re.compile(r"chapter [ivxl\d]+\.?", re.IGNORECASE)


def read_package(folder: Path) -> dict[str, list[str]]:
    """The lines of every novel, by the name that the package gives it.

    Args:
        folder: ``…/janeaustenr/data`` with ``Rdata.rdb`` and its index ``Rdata.rdx``: R's lazy-load database.

    Raises:
        UserError: if they are not there, or hold something else than text.
    """
    try:
        content, index = (folder / "Rdata.rdb").read_bytes(), gzip.decompress((folder / "Rdata.rdx").read_bytes())
        places = _named(_Stream(index).value())["variables"]
        return {name: _lines(content[at : at + length]) for name, (at, length) in _named(places).items()}
    except OSError as error:
        raise UserError(f"{folder}: expected Rdata.rdb and Rdata.rdx of the R package janeaustenr ({error})") from None
    except (ValueError, KeyError, TypeError, struct.error, zlib.error) as error:
        raise UserError(f"{folder}: Rdata.rdb is no database of text as R 4 writes it ({error})") from None


def paragraphs(lines: Sequence[str]) -> list[str]:
    """The paragraphs of a novel, each in one line: without line breaks, double spaces and the marks of italics."""
    joined = "\n".join(lines).replace("_", "")
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", joined) if part.strip()]


def chapters(text: Sequence[str]) -> list[list[str]]:
    """Paragraphs by chapter; a title page belongs to the first."""
    found: list[list[str]] = [[]]
    for part in text:
        if _CHAPTER.fullmatch(part) and any(map(_CHAPTER.fullmatch, found[-1])):
            found.append([])
        found[-1].append(part)
    return found


def splits(text: Sequence[str]) -> dict[str, list[str]]:
    """A novel's paragraphs as splits ``train``, ``validation`` and ``test``, by chapters."""
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for number, chapter in enumerate(chapters(text)):
        place = {TEST: "test", VALIDATION: "validation"}.get(number % EVERY, "train")
        # The first chapter begins as everybody knows, and is there to be seen.
        parts["train" if number == 0 else place] += chapter
    return parts


def write(path: Path, text: Sequence[str]) -> None:
    """Paragraphs as a Parquet file with a column ``text``, as the hub stores texts."""
    with atomic_write(path) as temporary:
        pq.write_table(pa.table({"text": list(text)}), temporary, compression="zstd", compression_level=19)


def read(path: Path) -> str:
    """The text of such a file, a paragraph a line."""
    return "".join(part + "\n" for part in pq.read_table(path)["text"].to_pylist())


def _lines(stored: bytes) -> list[str]:
    # Four bytes of length, then a stream of zlib.
    content = zlib.decompress(stored[4:])
    lines = _Stream(content).value()
    if len(content) != int.from_bytes(stored[:4], "big") or not all(isinstance(line, str) for line in lines):
        raise ValueError("an object is not what its index says")
    return list(lines)


def _named(value: tuple[list, Mapping]) -> dict:
    items, attributes = value
    return dict(zip(attributes["names"], items, strict=True))


class _Stream:
    """R's serialisation in XDR: a value is its type and flags, then its content; with attributes it is a pair."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 2
        self._symbols: list = []
        if content[:2] != b"X\n":
            raise ValueError("it is not in XDR")
        version, _, _ = (self._integer() for _ in range(3))
        if version == 3:
            self._take(self._integer())

    def _take(self, length: int) -> bytes:
        self._at += length
        return self._content[self._at - length : self._at]

    def _integer(self) -> int:
        return int(struct.unpack(">i", self._take(4))[0])

    def value(self) -> Any:
        """The next value: a list, a text, None, a mapping of attributes, or a value and its attributes."""
        flags = self._integer()
        kind, has_attributes, has_tag = flags & 0xFF, flags & 0x200, flags & 0x400
        if kind == _NOTHING:
            return None
        if kind == _REFERENCE:
            return self._symbols[(flags >> 8) - 1]
        if kind == _SYMBOL:
            self._symbols.append(self.value())
            return self._symbols[-1]
        if kind == _CHARACTERS:
            length = self._integer()
            return None if length < 0 else self._take(length).decode("utf-8")
        if kind == _PAIRLIST:
            name = self.value() if has_tag else None
            found = self.value()
            return {name: found, **(self.value() or {})}
        if kind in (_LOGICAL, _INTEGER):
            items = [self._integer() for _ in range(self._integer())]
        elif kind in (_STRINGS, _LIST):
            items = [self.value() for _ in range(self._integer())]
        else:
            raise ValueError(f"type {kind} is not expected")
        return (items, self.value()) if has_attributes else items
