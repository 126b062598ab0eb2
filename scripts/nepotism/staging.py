"""Downloading weights once, before any job needs them, whole and with their checksums; standard library only."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from nepotism.errors import UserError
from nepotism.files import sha256, write_text

logger = logging.getLogger(__name__)


def stage(source: str, folder: Path, fetch: Callable[[Path], None]) -> None:
    """Download into ``folder``; its SHA256SUMS appears last, when everything else is there.

    Args:
        source: for messages.
        folder: `weights.location` of the source; may exist.
        fetch: fills an empty folder.

    Raises:
        UserError: if the download is not possible or not safe, naming the source and what to do.
    """
    # What a killed download left goes first; Snakemake never runs two of the same.
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        try:
            fetch(temporary)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{source}: it could not be had: {error}. Try again where the network is, usually the head node, or give the path "
                "of a copy in the config"
            ) from None
        sums = _sums(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in sums:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary / name, folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_text(folder / "SHA256SUMS", "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    logger.info("%s: %d files from %s", folder, len(sums), source)


def _sums(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): sha256(file) for file in files}
