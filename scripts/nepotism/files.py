"""Files that appear whole or not at all."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Rights that new files do not get. It can only be asked for by setting it, so once, before there are threads.
_UMASK = os.umask(0)
os.umask(_UMASK)

# What a run's part of a log begins with: runs are written one below the other.
RUN_BEGINS = "--- "


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
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        return {}
    listed = [line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines()]
    return {name: expected for expected, name in listed}


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
