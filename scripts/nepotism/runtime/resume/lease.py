"""An exclusive lease on a folder, by a heartbeat file, so that two jobs never write the same files.

A file lock would die with its process, but is not to be trusted on the shared file systems of clusters; so a holder writes
who it is into a file and touches that file again and again. Whoever finds a lease takes it over if its holder is known to
be gone: by a SLURM job that runs again under its number on another node, by a process id of this machine that is no more, or
by a heartbeat that stopped; a fresh heartbeat of another machine is watched until it is seen to beat, or does no more.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from nepotism.runtime import processes
from nepotism.runtime.errors import UserError

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 90.0
_EMPTY_SECONDS = 5.0


@dataclass(frozen=True)
class Holder:
    """Who has a lease.

    Attributes:
        host: name of the machine.
        processes: which numbering of processes ``pid`` belongs to: a container has its own.
        pid: process id.
        slurm_job: SLURM's job id; empty outside of it.
        node: SLURM's name of the machine; empty outside of it.
        token: unique to one run of one process.
    """

    host: str
    processes: str
    pid: int
    slurm_job: str
    node: str
    token: str

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        job, node = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURMD_NODENAME", "")
        return cls(socket.gethostname(), processes.space(), os.getpid(), job, node, uuid.uuid4().hex)

    def render(self) -> str:
        """Who it is and how to end it, for messages."""
        if self.slurm_job:
            return f"SLURM job {self.slurm_job} on {self.host} (wait for it, or `scancel {self.slurm_job}`)"
        return f"process {self.pid} on {self.host} (wait for it, or `kill {self.pid}` there)"


class LeaseLostError(RuntimeError):
    """Another job has taken the lease over, because this one seemed dead; it must not write any more."""


class Lease:
    """Hold ``path`` from `acquire` to `release`.

    Args:
        path: the heartbeat file; its folder exists.
        heartbeat: seconds between two signs of life.
        stale: seconds without one after which others may take over.
    """

    def __init__(self, path: Path, heartbeat: float = HEARTBEAT_SECONDS, stale: float = STALE_SECONDS) -> None:
        self._path, self._heartbeat, self._stale = path, heartbeat, stale
        self._me = Holder.here()
        self._ended = threading.Event()
        self._lost = False

    def acquire(self) -> None:
        """Take the lease; of a job that was killed on another machine only when it has been silent for long enough.

        Raises:
            UserError: if another job has it and is alive, naming that job.
        """
        while not self._create():
            found = self._holder()
            if found is None:
                # Just being written, or left behind empty by a machine that broke down.
                if self._age() > _EMPTY_SECONDS:
                    self._set_aside(None)
                else:
                    time.sleep(0.2)
            elif self._is_gone(found):
                self._set_aside(found)
            elif self._is_here(found) or self._beats(found):
                raise UserError(
                    f"{self._path.parent} is in use by {found.render()}. If that job is dead, its claim ends "
                    f"{self._stale:.0f} seconds after its last sign of life: run the same command again then"
                )
        threading.Thread(target=self._beat, daemon=True).start()

    def check(self) -> None:
        """Make sure that the lease is still ours; to be called before something is written.

        Raises:
            LeaseLostError: if it is not.
        """
        found = self._holder()
        # A job that tries to take over a dead lease may have moved ours away, and puts it back at once.
        tries = 0
        while found is None and not self._lost and tries < 10:
            time.sleep(0.1)
            found, tries = self._holder(), tries + 1
        if self._lost or found is None or found.token != self._me.token:
            self._lost = True
            raise LeaseLostError(
                f"{self._path} was taken over by {found.render() if found else 'another job'}: this job had given no sign "
                f"of life for {self._stale:.0f} seconds, so it ends without writing anything"
            )

    def release(self) -> None:
        """Give the lease back, if it is still ours."""
        self._ended.set()
        found = self._holder()
        if found is not None and found.token == self._me.token:
            self._path.unlink(missing_ok=True)

    def _create(self) -> bool:
        try:
            file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            json.dump(asdict(self._me), stream)
        return True

    def _holder(self) -> Holder | None:
        try:
            return Holder(**json.loads(self._path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _age(self) -> float:
        """Seconds since the last heartbeat, by the file system's own clock: those of two machines may differ."""
        probe = self._path.with_name(f".probe.{self._me.token}")
        try:
            probe.touch()
            return probe.stat().st_mtime - self._path.stat().st_mtime
        except FileNotFoundError:
            return 0.0
        finally:
            probe.unlink(missing_ok=True)

    def _is_gone(self, found: Holder) -> bool:
        if self._is_here(found) and not processes.alive(found.pid):
            return True
        # SLURM runs a job again under its number only when it believes the first run to be dead; how often it did so is not
        # told to the steps of a job.
        requeued = found.slurm_job and found.slurm_job == self._me.slurm_job and found.node != self._me.node
        return bool(requeued) or self._age() > self._stale

    def _is_here(self, found: Holder) -> bool:
        """Whether a holder's process id is one of ours."""
        return (found.host, found.processes) == (self._me.host, self._me.processes)

    def _beats(self, found: Holder) -> bool:
        """Watch a holder whose process cannot be asked until it gives a sign of life (true), or has been silent for too long."""
        logger.info("watching whether %s is alive, for %.0f seconds at most", found.render(), self._stale)
        first = 0
        while self._age() <= self._stale:
            beat = self._beat_time()
            # Asked after the time was read: so that was this holder's, or there was no file.
            if self._holder() != found:
                return False
            if beat > first > 0:
                return True
            first = first or beat
            time.sleep(self._heartbeat / 20)
        return False

    def _beat_time(self) -> int:
        """Time of the last heartbeat, in nanoseconds; 0 if there is no file."""
        try:
            return self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _set_aside(self, expected: Holder | None) -> None:
        """Move a dead lease away. Of two jobs that try, one moves it; the other must not move the winner's new one."""
        aside = self._path.with_name(f".lease.{uuid.uuid4().hex}")
        try:
            os.rename(self._path, aside)
        except FileNotFoundError:
            return
        try:
            moved = Holder(**json.loads(aside.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            moved = None
        if moved is not None and moved != expected and not self._path.exists():
            os.rename(aside, self._path)
        else:
            aside.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat):
            try:
                self.check()
                os.utime(self._path)
            except (LeaseLostError, FileNotFoundError):
                self._lost = True
                return
            except OSError:
                # The file system does not answer; if that lasts, others may take over, and `check` will tell.
                continue
