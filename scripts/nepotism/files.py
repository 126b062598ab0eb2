"""Files that appear whole or not at all."""

import hashlib
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nepotism.errors import UserError

# Rights that new files do not get. It can only be asked for by setting it, so once, before there are threads.
_UMASK = os.umask(0)
os.umask(_UMASK)

# What a run's part of a log begins with: runs are written one below the other.
RUN_BEGINS = "--- "

# What a clone without Git LFS has in the place of a large file.
_LFS_POINTER = b"version https://git-lfs"

# What `sha256sum -c` reads: its own lines with their mark of text or binary files, and BSD's.
_CHECKSUM = re.compile(r"(?P<digest>[0-9a-fA-F]{64})[ \t][ *]?(?P<name>.+)", re.DOTALL)
_BSD_CHECKSUM = re.compile(r"SHA256 ?\((?P<name>.+)\)[ \t]*=[ \t]*(?P<digest>[0-9a-fA-F]{64})", re.DOTALL)
# A line that begins with a backslash has a name with these in it.
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


@contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name in the folder of ``path``; rename it to ``path`` when the block ends well.

    If the block raises, the temporary file is removed and nothing appears. The suffix is kept, because libraries choose
    their format by it. Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        share(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def share(path: Path) -> None:
    """Give a new file the rights that files usually get: safetensors makes its own readable to their owner only."""
    path.chmod(0o666 & ~_UMASK)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 ``text`` to ``path``, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def mismatches(folder: Path) -> list[str]:
    """Files that ``folder``'s SHA256SUMS lists and that are missing or differ; empty where there is no such list."""
    listed = _checksums(folder).items()
    return [name for name, expected in listed if not (folder / name).is_file() or sha256(folder / name) != expected]


def recorded(path: Path) -> str | None:
    """The checksum of a file by the SHA256SUMS of its folder; None where that has none."""
    return _checksums(path.parent).get(path.name)


def _checksums(folder: Path) -> dict[str, str]:
    """Names, relative to ``folder``, and lower-case checksums of its SHA256SUMS, in every form that `sha256sum -c` reads.

    Raises:
        UserError: if a line is none of these, naming the file and the line.
    """
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        return {}
    listed: dict[str, str] = {}
    # File names may be no UTF-8, and may have any other line break in them.
    lines = sums.read_bytes().decode("utf-8-sig", "surrogateescape").split("\n")
    for number, line in enumerate((each.removesuffix("\r") for each in lines), 1):
        if not line.strip() or line.startswith("#"):
            continue
        content = line.lstrip(" \t")
        escaped, content = content.startswith("\\"), content.removeprefix("\\")
        found = _CHECKSUM.fullmatch(content) or _BSD_CHECKSUM.fullmatch(content)
        if found is None:
            raise UserError(
                f"{sums}, line {number}: {line[:80]!r} is no line of a file of SHA-256 checksums; make the file again with "
                "sha256sum, or delete it"
            )
        name, digest = found["name"], found["digest"].lower()
        if escaped:
            name = re.sub(r"\\[\\nr]", lambda match: _ESCAPES[match[0]], name)
        name = posixpath.normpath(name)
        if listed.setdefault(name, digest) != digest:
            raise UserError(
                f"{sums}, line {number}: {name} is listed twice, with two checksums; delete the one that is old"
            )
    return listed


def is_pointer(head: bytes) -> bool:
    """Whether a file that begins so is what Git leaves in the place of a large one until LFS fetches that."""
    return head.startswith(_LFS_POINTER)


def head_of(path: Path) -> bytes:
    """The first bytes of a file: what tells a pointer from the file itself."""
    with open(path, "rb") as file:
        return file.read(100)


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
