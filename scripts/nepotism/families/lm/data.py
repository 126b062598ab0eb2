"""Text to train on: the documentation inside Python, or a data set such as WikiText-2 in text or Parquet files."""

import hashlib
import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nepotism.errors import UserError

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
# What WikiText's own archives call them.
_SHORT = {"validation": "valid"}
DOCUMENTATION = "documentation"
# Shares of the documentation that test and validation begin with; the rest is to train on.
_APART = 0.1
# Prose has more than this share of letters.
_PROSE = 0.75


def load(source: str) -> dict[str, str]:
    """The texts of `SPLITS`.

    Args:
        source: ``documentation`` for the English text of Python's language reference (`pydoc_data.topics`), or a folder with
            one or more files of each split, named after it: Parquet with a column ``text`` as the hub stores WikiText, or
            plain text in UTF-8 (``train.txt``, ``wiki.train.tokens``).

    Raises:
        UserError: naming the folder or file, what was found and what was expected.
    """
    if source == DOCUMENTATION:
        return _documentation()
    folder = Path(source)
    if not folder.is_dir():
        raise UserError(
            f"`lm.data`: {source} is neither `{DOCUMENTATION}` nor a folder; give the path of one with text or Parquet"
        )
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".parquet", ".txt", ".tokens", ".raw")]
    texts = {}
    for split in SPLITS:
        names = {split, _SHORT.get(split, split)}
        mine = [path for path in files if names & set(path.name.replace("-", ".").split("."))]
        if not mine:
            raise UserError(
                f"`lm.data`: {folder} has no file of the split {split}; expected one called like {split}-00000-of-00001.parquet, "
                f"{split}.txt or wiki.{_SHORT.get(split, split)}.tokens"
            )
        texts[split] = "".join(itertools.chain.from_iterable(map(_read, mine)))
        if not texts[split].strip():
            raise UserError(f"{mine[0]}: it holds no text")
    return texts


def digest(texts: Mapping[str, str]) -> str:
    """SHA-256 of all texts."""
    return hashlib.sha256("\0".join(texts[split] for split in SPLITS).encode()).hexdigest()


def _documentation() -> dict[str, str]:
    """Python's documentation, every paragraph once: many topics quote each other, and a quote must not end up in a test."""
    from pydoc_data.topics import topics

    names = sorted(topics, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    # Without its line breaks, and without grammars, tables and rulers.
    parts = (" ".join(part.split()) for name in names for part in topics[name].split("\n\n"))
    paragraphs = dict.fromkeys(part for part in parts if _is_prose(part))
    ends = list(itertools.accumulate(map(len, paragraphs)))
    bounds = {"test": (0, _APART), "validation": (_APART, 2 * _APART), "train": (2 * _APART, 1)}
    return {
        split: "\n".join(part for part, end in zip(paragraphs, ends, strict=True) if low < end / ends[-1] <= high)
        + "\n"
        for split, (low, high) in bounds.items()
    }


def _is_prose(paragraph: str) -> bool:
    letters = sum(map(str.isalpha, paragraph.replace(" ", "")))
    return letters > _PROSE * len(paragraph.replace(" ", ""))


def _read(path: Path) -> Iterator[str]:
    """The text of a file, piece by piece."""
    try:
        if path.suffix == ".parquet":
            column = pq.read_table(path, columns=["text"])["text"]
            if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
                raise UserError(f"{path}: its column text is {column.type}; expected text")
            yield from (text for text in column.to_pylist() if text)
        else:
            yield path.read_text(encoding="utf-8")
    except (pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path}: expected a Parquet file with a column text ({error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: it is no text in UTF-8 ({error}); convert it") from None
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error})") from None
