"""What the head process has seen of large files, in small ones that jobs and Snakemake read instead. Standard library only.

Snakemake compares inputs of up to a megabyte by content, larger ones by time. So a folder of weights is represented among the
inputs of its rules by a small file of its checksums: other weights make anew what they were used for, however old they are,
and weights that were only touched or copied make nothing anew. Checksums are taken when weights are first seen, and again of
files whose size or time has changed. Only the head process looks; its jobs, which start by the thousand, read what it has seen.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from nepotism.plan.forecast import groups_of_folder
from nepotism.runtime.files import sha256, write_text

# Beside what Snakemake itself remembers. It may be deleted: what is written there anew says the same.
FOLDER = Path(".snakemake") / "nepotism"
# Of a folder of weights, what is loaded from it: weights, configurations and tokenizers.
LOADED = (".safetensors", ".json", ".txt", ".model", ".onnx", ".pt", ".h5")
# Reading this many bytes takes long enough to say so.
LONG = 10**9


def checksums(weights: Path, look: bool) -> list[str]:
    """The small file that stands for a folder of weights, or for one file; nothing if they are not there.

    Args:
        weights: the folder or file.
        look: whether to look at the weights, and to write the small file.
    """
    if not weights.exists():
        return []
    small = _place("weights", weights).with_suffix(".sha256")
    if look:
        _look(weights, small)
    return [str(small)]


def groups(images: Path, look: bool) -> int | None:
    """Number of groups of a folder of the user's images; None where only its table of them tells."""
    small = _place("groups", images)
    if look:
        write_text(small, json.dumps(groups_of_folder(images)))
    count: int | None = json.loads(small.read_text(encoding="utf-8"))
    return count


def _look(weights: Path, small: Path) -> None:
    memory = small.with_suffix(".json")
    before = json.loads(memory.read_text(encoding="utf-8")) if memory.is_file() and small.is_file() else {}
    states = {name: _state(path) for name, path in _files(weights)}
    if before and {name: known["state"] for name, known in before.items()} == states:
        return
    known = {
        name: before[name]["sha256"] for name in states if name in before and before[name]["state"] == states[name]
    }
    new = [(name, path) for name, path in _files(weights) if name not in known]
    if sum(path.stat().st_size for _, path in new) > LONG:
        print(f"reading {weights}: its content is not known yet, or has changed", file=sys.stderr)
    known |= {name: sha256(path) for name, path in new}
    text = "".join(f"{known[name]}  {name}\n" for name in sorted(known))
    if not small.is_file():
        write_text(small, text)
        # As old as the weights: where Snakemake remembers no content, they are compared by time, as any input.
        latest = max([path.stat().st_mtime for _, path in _files(weights)], default=0.0)
        os.utime(small, (latest, latest))
    elif small.read_text(encoding="utf-8") != text:
        write_text(small, text)
    seen = {name: {"state": states[name], "sha256": known[name]} for name in sorted(known)}
    write_text(memory, json.dumps(seen, indent=1) + "\n")


def _files(weights: Path) -> Iterator[tuple[str, Path]]:
    """Names and paths of what is loaded; hidden files and folders, such as a repository's, are no part of the weights."""
    if weights.is_file():
        yield weights.name, weights
        return
    for folder, inner, names in os.walk(weights, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(LOADED) and not name.startswith("."):
                path = Path(folder) / name
                if path.is_file():
                    yield path.relative_to(weights).as_posix(), path


def _state(path: Path) -> list[int]:
    """What changes when a file does: its size and times. Of a copy that keeps its time, the last one still changes."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _place(kind: str, path: Path) -> Path:
    """Where it is written what was seen of ``path``."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", path.name)[:50]
    return FOLDER / f"{kind}-{readable}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
