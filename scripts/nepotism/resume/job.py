"""What a long job keeps beside its outputs, so that killing it at any moment loses at most one checkpoint interval."""

import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from nepotism.errors import Interrupted
from nepotism.resume.checkpoints import Checkpoints
from nepotism.resume.lease import Lease


class Job:
    """The state of one job: its lease, its checkpoints, and what happens at SIGTERM and SIGINT.

    Snakemake deletes declared outputs before it runs a job again, so the state is in a hidden folder beside the output,
    which no rule declares. It is removed when the block ends well, and stays when it does not.

    Args:
        output: file or folder that the job makes.
        seconds: least time between two checkpoints.
        main: whether this process keeps the state; of several that train together, only the first does.
    """

    def __init__(self, output: Path, seconds: float, main: bool = True) -> None:
        self._folder = output.with_name(f".{output.stem}.state")
        self._seconds, self._main = seconds, main
        self._lease = Lease(self._folder / "lease.json")
        self._last = time.monotonic()
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self._main:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lease.acquire()
        for number in (signal.SIGTERM, signal.SIGINT):
            # The others wait for the first process, which ends at a whole step, and then fail for want of it.
            self._handlers[number] = signal.signal(number, self._note if self._main else signal.SIG_IGN)
        self._last = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if not self._main:
            return
        if kind is None:
            shutil.rmtree(self._folder)
        self._lease.release()

    def checkpoints(self, name: str, **decisive: Any) -> Checkpoints:
        """Checkpoints of a piece of the job's work; ``decisive`` is all that decides its result, as JSON can hold it."""
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        return Checkpoints(self._folder, name, digest, self._main, self._due, self._saved)

    def check(self) -> None:
        """Make sure that no other job took over; to be called before outputs are written.

        Raises:
            LeaseLostError: if one did.
        """
        if self._main:
            self._lease.check()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            # Told twice: at once, then.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._signal = number

    def _due(self) -> bool:
        if self._signal is None and time.monotonic() - self._last < self._seconds:
            return False
        self._lease.check()
        return True

    def _saved(self, position: int) -> None:
        self._last = time.monotonic()
        if self._signal is not None:
            name = signal.Signals(self._signal).name
            raise Interrupted(f"stopped by {name} at {position}; the same command goes on", self._signal)
