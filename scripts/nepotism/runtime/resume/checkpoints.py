"""Checkpoints of long work: written whole, found again by the digest of inputs and settings."""

import importlib
import json
import logging
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from safetensors import SafetensorError

from nepotism.runtime.files import atomic_write, remove, write_text

logger = logging.getLogger(__name__)

# Torch's tensors or NumPy's arrays. Torch is not imported here: it takes seconds, which work without it need not wait for.
Tensors = Mapping[str, Any]
Framework = Literal["torch", "numpy"]


@dataclass(frozen=True)
class Checkpoint:
    """Work up to ``position`` (steps, or images): named tensors, and values that JSON can hold."""

    position: int
    tensors: dict[str, Any]
    values: dict[str, Any]


class Store(Protocol):
    """What a piece of work needs of its checkpoints."""

    def newest(self) -> Checkpoint | None:
        """What to go on from."""

    def offer(self, position: int, content: Callable[[], tuple[Tensors, Mapping[str, Any]]]) -> bool:
        """Save, if it is time."""

    def told_to_stop(self) -> bool:
        """Whether a signal asked the process to end: the next offer is the last."""


class Nowhere:
    """The `Store` of work that keeps nothing."""

    def newest(self) -> None:
        """Nothing."""

    def offer(self, position: int, content: Callable[[], tuple[Tensors, Mapping[str, Any]]]) -> bool:
        """Save nothing."""
        return False

    def told_to_stop(self) -> bool:
        """Never: a signal ends such work at once."""
        return False


NOWHERE = Nowhere()


class Keeper(Protocol):
    """What `Checkpoints` need of the job that they belong to."""

    main: bool
    """Whether this process writes and removes files; others only read."""

    def due(self) -> bool:
        """Whether it is time to save."""

    def saved(self, position: int) -> None:
        """A checkpoint was written, or could not be."""

    def told_to_stop(self) -> bool:
        """Whether a signal asked the process to end."""

    def defer_signals(self) -> AbstractContextManager[None]:
        """Inside, a signal waits for the next checkpoint; outside, it ends the job at once."""


class Checkpoints:
    """The checkpoints of one piece of work.

    A checkpoint is a safetensors file and, written after it, a small JSON file with its size and checksum: without a
    JSON file that fits, it does not count. Nothing else in the folder is touched but files of the same name with another
    digest, which no job can use any more.

    Args:
        folder: where they are; exists.
        name: of the work, part of file names.
        digest: of everything that decides the result.
        keeper: the job.
        framework: whose tensors they hold.
        parts: whether each holds only what was done since the one before, so that all are needed; else the newest is all
            that counts, and at most two are on disk.
        before: saves what these checkpoints go on from, whenever one of them is due.
    """

    def __init__(
        self, folder: Path, name: str, digest: str, keeper: Keeper, framework: Framework = "torch", parts: bool = False,
        before: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._files = importlib.import_module(f"safetensors.{framework}")
        self._parts, self._before = parts, before
        self._folder, self._prefix, self._keeper = folder, f"{name}@{digest[:16]}@", keeper
        if keeper.main:
            # Of other settings, or half written by a process that was killed.
            for file in [*folder.glob(f"{name}@*"), *folder.glob(f".{name}@*")]:
                if not file.name.startswith(self._prefix):
                    remove(file)
        self.told_to_stop, self.defer_signals = keeper.told_to_stop, keeper.defer_signals

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is intact, or None; what is damaged is told in the log and removed."""
        for path in reversed(self._described()):
            try:
                return self._read(path)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                logger.warning("warning: checkpoint %s is damaged (%s); falling back", path.stem, error)
                self._remove(path)
        return None

    def every(self) -> list[Checkpoint]:
        """All parts in their order, up to the first that is damaged: what follows that one is removed with it."""
        found: list[Checkpoint] = []
        described = self._described()
        for index, path in enumerate(described):
            try:
                found.append(self._read(path))
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                logger.warning("warning: checkpoint %s is damaged (%s); going on from before it", path.stem, error)
                for later in described[index:]:
                    self._remove(later)
                break
        return found

    def offer(self, position: int, content: Callable[[], tuple[Tensors, Mapping[str, Any]]]) -> bool:
        """Save what ``content`` returns, if it is time, and tell whether that was done; a signal ends the job then."""
        if not self._keeper.main or not self._keeper.due():
            return False
        self._before()
        written = self.save(position, content)
        self._keeper.saved(position)
        return written

    def save(self, position: int, content: Callable[[], tuple[Tensors, Mapping[str, Any]]]) -> bool:
        """Save what ``content`` returns, now, and tell whether that was done.

        A full disk costs this checkpoint, not the work: the last one stays and the next one is tried when due.
        """
        tensors, values = content()
        try:
            self._write(position, tensors, values)
        except (OSError, SafetensorError) as error:
            logger.warning("warning: no checkpoint at %d (%s); the one before stays", position, error)
            return False
        return True

    def _described(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._prefix}*.json"))

    def _read(self, path: Path) -> Checkpoint:
        description = json.loads(path.read_text(encoding="utf-8"))
        data = path.with_suffix(".safetensors")
        size, checksum = data.stat().st_size, _checksum(data)
        if (size, checksum) != (description["size"], description["crc32"]):
            raise ValueError(f"{data.name}: size or checksum differ")
        return Checkpoint(description["position"], self._files.load_file(data), description["values"])

    def _write(self, position: int, tensors: Tensors, values: Mapping[str, Any]) -> None:
        started = time.monotonic()
        # At most two at any time: the newest, and the one being written.
        for path in [] if self._parts else self._described()[:-1]:
            self._remove(path)
        path = self._folder / f"{self._prefix}{position:09d}.safetensors"
        with atomic_write(path) as temporary:
            self._files.save_file(dict(tensors), temporary)
            description = {
                "position": position,
                "size": temporary.stat().st_size,
                "crc32": _checksum(temporary),
                "values": dict(values),
            }
        write_text(path.with_suffix(".json"), json.dumps(description))
        logger.info("checkpoint at %d, written in %.1f s", position, time.monotonic() - started)

    def _remove(self, description: Path) -> None:
        if not self._keeper.main:
            return
        description.unlink(missing_ok=True)
        description.with_suffix(".safetensors").unlink(missing_ok=True)


def _checksum(path: Path) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 24):
            checksum = zlib.crc32(block, checksum)
    return checksum
