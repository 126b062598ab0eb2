"""What the cells of an experiment say of how they were made: source revision, versions of stages and libraries, machine."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nepotism.runtime.errors import UserError

# The last key of metrics.json, which for thousands of generations is a large file.
_BEGINS = b'"provenance": {'
_TAIL_BYTES = 8192

# How many cells say what, by nested key: {"libraries.torch": {"2.15.0": 40}}.
Versions = dict[str, Counter[str]]


def metrics_files(folder: Path) -> list[Path]:
    """metrics.json of every cell of an experiment that is there, and of every iteration 0.

    Args:
        folder: results of the experiment.
    """
    # Of each arm, seeds and iterations: the folders' names are known, so that those of models need no look.
    patterns = ("base*/seed-*/metrics.json", "base*/seed-*/iteration-*/metrics.json")
    cells = (folder.glob(pattern) for pattern in (*patterns, "*/ratio-*/seed-*/iteration-*/metrics.json"))
    return sorted(path for found in cells for path in found)


def versions(paths: Iterable[Path]) -> Versions:
    """How many cells say what of each key.

    Raises:
        UserError: if a file has no provenance.
    """
    found: Versions = {}
    # Most cells say the same.
    for end, alike in _by_end(paths).items():
        for key, value in flat(_parsed(end, alike[0])):
            found.setdefault(key, Counter())[str(value)] += len(alike)
    return found


def _by_end(paths: Iterable[Path]) -> dict[bytes, list[Path]]:
    """Files by what they end in: the provenance, and of a file with more of it than that, nothing."""
    found: dict[bytes, list[Path]] = {}
    for path in paths:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            _, begins, end = file.read().rpartition(_BEGINS)
        found.setdefault(begins + end if begins else os.fsencode(path), []).append(path)
    return found


def _parsed(end: bytes, path: Path) -> dict[str, Any]:
    """The provenance in a cell's metrics.json, of which only the end is looked at where that is enough."""
    try:
        found: dict[str, Any] = (
            json.loads(b"{" + end.rstrip())["provenance"]
            if end.startswith(_BEGINS)
            else json.loads(path.read_bytes())["provenance"]
        )
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: no scores with their provenance; delete the file to make it again") from None
    return found


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Nested keys with their values, as `finetune.epochs`; of a list of named entries, by their names: `arms.heal.ratios`."""
    if isinstance(value, list) and value and all(isinstance(each, dict) and "name" in each for each in value):
        value = {each["name"]: {inner: each[inner] for inner in each if inner != "name"} for each in value}
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value
