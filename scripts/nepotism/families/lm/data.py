"""Text to train on: a data set such as WikiText-2 in text or Parquet files."""

import hashlib
import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nepotism.data.user_files import by_split, check_readable, first_names, visible_files
from nepotism.runtime.errors import UserError

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
_SUFFIXES = (".parquet", ".txt", ".tokens", ".raw")
# What some editors write before text.
_BOM = "\ufeff"


def read_texts(source: str) -> dict[str, str]:
    """The texts of `SPLITS`.

    Args:
        source: a folder with one file of each split, or all parts of one, as `user_files.by_split` knows them: Parquet with a
            column ``text`` as the hub stores WikiText, or plain text in UTF-8 (``train.txt``, ``wiki.valid.tokens``). Empty
            lines are left out.

    Raises:
        UserError: naming the folder or file, what was found and what was expected.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise UserError(f"`lm.data`: there is no folder {source}; give the path of one with text or Parquet")
    there = visible_files(folder)
    found = by_split(folder, [path for path in there if path.suffix in _SUFFIXES], "`lm.data`")
    texts = {}
    if others := found.get(""):
        logger.warning(
            "warning: the names of %d files of %s tell no split; they are left out: %s",
            len(others), folder, first_names(others, folder),
        )  # fmt: skip
    for split in SPLITS:
        if split not in found:
            raise UserError(
                f"`lm.data`: {folder} has no file of the split {split}; expected one called like {split}-00000-of-00001.parquet, "
                f"{split}.txt or wiki.{split}.tokens; it holds {first_names(there, folder) or 'nothing'}"
            )
        texts[split] = "".join(itertools.chain.from_iterable(map(_read, found[split])))
        if not texts[split].strip():
            raise UserError(f"{found[split][0]}: it holds no text")
    return texts


def digest(texts: Mapping[str, str]) -> str:
    """SHA-256 of all texts."""
    return hashlib.sha256("\0".join(texts[split] for split in SPLITS).encode()).hexdigest()


def _read(path: Path) -> Iterator[str]:
    """The lines of a file that hold anything, each with its end: WikiText as text has empty ones where Parquet has none."""
    for piece in _pieces(path):
        if "\0" in piece:
            raise UserError(f"{path}: it holds characters of zero, as UTF-16 does without a mark; convert it to UTF-8")
        # Rows of Parquet keep the ends that lines had elsewhere; a file that is read as text has lost them.
        plain = piece.replace("\r\n", "\n").replace("\r", "\n")
        yield from (line + "\n" for line in plain.split("\n") if line.strip())


def _pieces(path: Path) -> Iterator[str]:
    check_readable(path)
    try:
        if path.suffix == ".parquet":
            # Of this file alone: read_table takes names of folders, such as split=1, for columns.
            with pq.ParquetFile(path) as file:
                column = file.read(columns=["text"])["text"]
            if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
                raise UserError(f"{path}: its column text is {column.type}; expected text")
            yield from (text.removeprefix(_BOM) for text in column.to_pylist() if text)
        else:
            yield path.read_text(encoding="utf-8-sig")
    except (pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path}: expected a Parquet file with a column text ({error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: it is no text in UTF-8 ({error}); convert it") from None
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error})") from None
