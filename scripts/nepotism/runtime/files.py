"""Files that appear whole or not at all."""

import hashlib
import math
import os
import posixpath
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nepotism.runtime import processes
from nepotism.runtime.errors import UserError

# After so long without a sign of life, what is unfinished belongs to nobody.
ABANDONED_SECONDS = 3600

# What a run's part of a log begins with: runs are written one below the other.
RUN_BEGINS = "--- "

# What a clone without Git LFS has in the place of a large file.
_LFS_POINTER = b"version https://git-lfs"
POINTER_ADVICE = "it is a Git LFS pointer, not the file itself; fetch that with `git lfs pull`"

# What `sha256sum -c` reads: its own lines with their mark of text or binary files, and BSD's.
_CHECKSUM = re.compile(r"(?P<digest>[0-9a-fA-F]{64})[ \t][ *]?(?P<name>.+)", re.DOTALL)
_BSD_CHECKSUM = re.compile(r"SHA256 ?\((?P<name>.+)\)[ \t]*=[ \t]*(?P<digest>[0-9a-fA-F]{64})", re.DOTALL)
# A line that begins with a backslash has a name with these in it.
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a name for what will be ``path``, in a folder of `beside`; rename it to ``path`` when the block ends well.

    If the block raises, nothing appears.
    """
    path = Path(path)
    with beside(path) as folder:
        temporary = folder / path.name
        yield temporary
        share(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a new hidden folder in the folder of ``path``, for what is not finished; it is gone when the block ends.

    A folder, because libraries have temporary files of their own. That of a process that was killed stays until the next
    one makes the same output: `remove_leftovers`. Missing parent folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{_here()}-{os.getpid()}")
    # Of a process that had this one's number.
    remove(folder)
    folder.mkdir()
    try:
        remove_leftovers(path, folder.stat().st_mtime)
        yield folder
    finally:
        remove(folder)


def remove_leftovers(path: Path, now: float | None = None) -> None:
    """Remove what killed processes left unfinished beside ``path``.

    That is what belongs to a process of this machine that is no more, or was not written to for an hour: another machine's
    processes cannot be asked.

    Args:
        path: the output.
        now: by the clock of the file system, for those of two machines may differ; None if no other process makes this
            output, so that everything goes.
    """
    name = re.compile(re.escape(f".{path.name}.") + r"(?P<place>[0-9a-f]{8})-(?P<pid>\d+)")
    for leftover, found in [(each, name.fullmatch(each.name)) for each in path.parent.iterdir()]:
        if found is None:
            continue
        dead = found["place"] == _here() and not processes.alive(int(found["pid"]))
        if dead or now is None or now - _newest(leftover) > ABANDONED_SECONDS:
            remove(leftover)


def _here() -> str:
    """What tells this machine's processes from those of others, and a container's from its host's."""
    return hashlib.sha256(f"{socket.gethostname()} {processes.space()}".encode()).hexdigest()[:8]


def _newest(folder: Path) -> float:
    """When something in a folder was last written to."""
    try:
        return max(each.stat().st_mtime for each in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        # It is being finished.
        return math.inf


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def share(path: Path) -> None:
    """Give a file in a new folder the rights that files usually get, which are the folder's but for searching it.

    safetensors makes its own readable to their owner only.
    """
    path.chmod(path.parent.stat().st_mode & 0o666)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 ``text`` to ``path``, whole or not at all."""
    with atomic_write(path) as temporary:
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
