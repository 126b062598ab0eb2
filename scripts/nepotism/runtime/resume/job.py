"""What a long job keeps beside its outputs, so that killing it at any moment loses at most one checkpoint interval."""

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from nepotism.runtime.errors import Interrupted
from nepotism.runtime.files import remove_leftovers
from nepotism.runtime.resume.checkpoints import Checkpoints, Framework
from nepotism.runtime.resume.lease import Lease

# Seconds in which a signal that comes again is the same order: whoever ends all processes of a job tells it directly, and again
# through the process that started it.
SAME_ORDER = 1.0


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
        self._output = output
        self._folder = output.with_name(f".{output.stem}.state")
        self._seconds, self.main = seconds, main
        self._lease = Lease(self._folder / "lease.json")
        self._last = time.monotonic()
        self._signal: int | None = None
        self._told = 0.0
        self._deferring = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self.main:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lease.acquire()
            # Whoever has the lease is alone with the output.
            remove_leftovers(self._output)
        for number in (signal.SIGTERM, signal.SIGINT):
            # The others wait for the first process, which ends at a whole step, and then fail for want of it.
            self._handlers[number] = signal.signal(number, self._note if self.main else signal.SIG_IGN)
        self._last = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if not self.main:
            return
        if kind is None:
            # Another job's checkpoints, if this one seemed dead meanwhile.
            self._lease.check()
            shutil.rmtree(self._folder)
        self._lease.release()
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def checkpoints(
        self, name: str, framework: Framework = "torch", parts: bool = False, before: Callable[[], None] = lambda: None,
        **decisive: Any,
    ) -> Checkpoints:  # fmt: skip
        """Checkpoints of a piece of the job's work, of torch's tensors or NumPy's arrays: see `Checkpoints`.

        ``decisive`` is all that decides its result, as JSON can hold it.
        """
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        return Checkpoints(self._folder, name, digest, self, framework, parts, before)

    def check(self) -> None:
        """Make sure that no other job took over; to be called before outputs are written.

        Raises:
            LeaseLostError: if one did.
        """
        if self.main:
            self._lease.check()

    @contextmanager
    def defer_signals(self) -> Iterator[None]:
        """Inside, a signal waits for the next checkpoint; outside, it ends the job at once."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._signal is not None:
            self._stop("the end of a part")

    def told_to_stop(self) -> bool:
        """Whether a signal asked the process to end."""
        return self._signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._signal is not None:
            if now - self._told < SAME_ORDER:
                return
            # Told twice: at once, then.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._signal, self._told = number, now
        if not self._deferring:
            self._stop("once")

    def _stop(self, position: int | str) -> NoReturn:
        assert self._signal is not None
        name = signal.Signals(self._signal).name
        raise Interrupted(f"stopped by {name} at {position}; the same command goes on", self._signal)

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        if self._signal is None and time.monotonic() - self._last < self._seconds:
            return False
        self._lease.check()
        return True

    def saved(self, position: int) -> None:
        """A checkpoint was written, or could not be; if a signal waits for it, this is the end."""
        self._last = time.monotonic()
        if self._signal is not None:
            self._stop(position)
