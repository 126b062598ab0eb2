"""Downloading weights once, before any job needs them, whole and with their checksums; standard library only."""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nepotism.runtime.errors import UserError
from nepotism.runtime.files import sha256, write_text
from nepotism.runtime.resume.lease import Lease

logger = logging.getLogger(__name__)


def stage(source: str, folder: Path, fetch: Callable[[Path], None]) -> None:
    """Fill ``folder``; its SHA256SUMS appears last, when everything else is there.

    Checkouts and users may share the folder above: the download of another process that is alive is left alone.

    Args:
        source: for messages.
        folder: `weights.location` of the source; may exist.
        fetch: fills an empty folder; says itself why it cannot.

    Raises:
        UserError: if another process is filling the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lease = Lease(folder.with_name(f".{folder.name}.lease"))
    try:
        lease.acquire()
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    temporary = folder.with_name(f".{folder.name}.part")
    try:
        # What a killed download left: whoever has the lease is alone with it.
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        fetch(temporary)
        sums = _sums(temporary)
        lease.check()
        folder.mkdir(parents=True, exist_ok=True)
        for name in sums:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary / name, folder / name)
        write_text(folder / "SHA256SUMS", "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
        shutil.rmtree(temporary)
    except BaseException:
        # Another may have taken over from a process that seemed dead.
        lease.check()
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        lease.release()
    logger.info("%s: %d files from %s", folder, len(sums), source)


@contextmanager
def from_network(source: str) -> Iterator[None]:
    """Inside, what a library cannot download becomes one line with advice; a full or closed disk has its own."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise UserError(
            f"{source}: download failed: {error}. Try again where the network is, usually the head node, or give the path "
            "of a copy in the config"
        ) from None


def _sums(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): sha256(file) for file in files}
