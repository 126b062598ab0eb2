"""Checkpoints of long work: written whole, at most two on disk, found again by the digest of inputs and settings."""

import json
import logging
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nepotism.files import whole, write_text

logger = logging.getLogger(__name__)

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Work up to ``position`` (steps, or images): named tensors, and values that JSON can hold."""

    position: int
    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]


class Checkpoints:
    """The checkpoints of one piece of work.

    A checkpoint is a safetensors file and, written after it, a small JSON file with its size and checksum: without a
    JSON file that fits, it does not count. Nothing else in the folder is touched but files of the same name with another
    digest, which no job can use any more.

    Args:
        folder: where they are; exists.
        name: of the work, part of file names.
        digest: of everything that decides the result.
        main: whether this process writes and removes files; others only read.
        due: whether it is time to save.
        saved: called with the position after each save.
    """

    def __init__(
        self, folder: Path, name: str, digest: str, main: bool, due: Callable[[], bool], saved: Callable[[int], None]
    ) -> None:
        self._folder, self._prefix, self._main = folder, f"{name}@{digest[:16]}@", main
        self._due, self._saved = due, saved
        for file in folder.glob(f"{name}@*"):
            if main and not file.name.startswith(self._prefix):
                file.unlink()

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is intact, or None; what is damaged is told in the log and removed."""
        for path in reversed(self._described()):
            try:
                return self._read(path)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                logger.warning("warning: checkpoint %s is damaged (%s); falling back", path.stem, error)
                self._remove(path)
        return None

    def offer(self, position: int, content: Callable[[], tuple[Tensors, Mapping[str, Any]]]) -> None:
        """Save what ``content`` returns, if it is time.

        A full disk costs this checkpoint, not the work: the last one stays and the next one is tried when due.
        """
        if not self._main or not self._due():
            return
        tensors, values = content()
        try:
            self._write(position, tensors, values)
        except (OSError, SafetensorError) as error:
            logger.warning("warning: no checkpoint at %d (%s); the one before stays", position, error)
        self._saved(position)

    def _described(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._prefix}*.json"))

    def _read(self, path: Path) -> Checkpoint:
        description = json.loads(path.read_text(encoding="utf-8"))
        data = path.with_suffix(".safetensors")
        size, checksum = data.stat().st_size, _checksum(data)
        if (size, checksum) != (description["size"], description["crc32"]):
            raise ValueError(f"{data.name}: size or checksum differ")
        return Checkpoint(description["position"], load_file(data), description["values"])

    def _write(self, position: int, tensors: Tensors, values: Mapping[str, Any]) -> None:
        started = time.monotonic()
        # At most two at any time: the newest, and the one being written.
        for path in self._described()[:-1]:
            self._remove(path)
        path = self._folder / f"{self._prefix}{position:09d}.safetensors"
        with whole(path) as temporary:
            save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary)
            description = {
                "position": position,
                "size": temporary.stat().st_size,
                "crc32": _checksum(temporary),
                "values": dict(values),
            }
        write_text(path.with_suffix(".json"), json.dumps(description))
        logger.info("checkpoint at %d, %.1f s", position, time.monotonic() - started)

    def _remove(self, description: Path) -> None:
        if not self._main:
            return
        description.unlink(missing_ok=True)
        description.with_suffix(".safetensors").unlink(missing_ok=True)


def _checksum(path: Path) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 24):
            checksum = zlib.crc32(block, checksum)
    return checksum
