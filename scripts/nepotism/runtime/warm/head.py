"""The head's side of the warm parent: starting it, sending jobs to it, measuring them. Standard library only.

Python, torch and diffusers take 4 to 5 s to start, and a cell has three such jobs. Where jobs run on the CPU of the head's own
machine, they are forked from one process that has imported all that already (`nepotism.runtime.warm.parent`). Without it, jobs start by
themselves, and everything else is the same.
"""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# A socket's path has at most 107 letters.
LONGEST_FOLDER = 80
# Between measurements of a job's memory: at first, as Snakemake has it, and later.
FIRST_SECONDS, LATER_SECONDS = 0.5, 2.0


class WarmParent:
    """The process; it ends when this one does.

    Args:
        threads: of every job.
        environment: of every job, but for what Snakemake adds.

    Raises:
        OSError: if it cannot be started.
    """

    def __init__(self, threads: int, environment: Mapping[str, str]) -> None:
        temporary = tempfile.gettempdir()
        folder = tempfile.mkdtemp(prefix="nepotism-", dir=temporary if len(temporary) < LONGEST_FOLDER else "/tmp")  # noqa: S108
        self._socket = Path(folder) / "socket"
        counts = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
        # Its standard input ends with this process, however that ends.
        self._process = subprocess.Popen(
            [sys.executable, HERE.parents[2] / "warm_parent.py", self._socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, **counts},
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if not self._process.stdout.read(1):
            raise OSError("the process that jobs are forked from did not start")

    def take_jobs_of(self, shell: Any) -> None:
        """Have the commands of Snakemake's ``shell`` find their ``python`` here, and their benchmarks see it."""
        # After Snakemake's own prefix, by which a command ends at its first mistake. Braces it takes for its own.
        usual = shell._get_process_prefix(shell.get_executable()) or ""
        shell.prefix((usual + self.shell_prefix()).replace("{", "{{").replace("}", "}}"))
        self._be_measured()

    def shell_prefix(self) -> str:
        """A definition for the shell, by which ``python SCRIPT …`` runs in a fork of the parent."""
        client = shlex.join([sys.executable, "-I", "-S", str(HERE / "client.py"), str(self._socket)])
        return f'python() {{ {client} "$@"; }}; '

    def _be_measured(self) -> None:
        """Have Snakemake's benchmarks count a fork among the descendants of the process that it works for."""
        # Comes with Snakemake, and is used by its benchmarks only.
        import psutil
        from snakemake import benchmark

        benchmark.ScheduledPeriodicTimer._schedule = _measure_again
        children = psutil.Process.children

        def works_for(fork: psutil.Process, clients: set[str]) -> bool:
            try:
                return fork.name() in clients
            except psutil.Error:
                return False

        def with_forks(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
            own = children(process, recursive=recursive)
            clients = {f"for {each.pid}" for each in (process, *own)}
            try:
                forks = [each for each in children(psutil.Process(self._process.pid)) if works_for(each, clients)]
                return own + [every for fork in forks for every in (fork, *children(fork, recursive=True))]
            except psutil.Error:
                return own

        psutil.Process.children = with_forks


def _measure_again(timer: Any) -> None:
    """Snakemake's plan of its measurements, with growing intervals: two jobs that are looked at twice a second, for as long as most
    last, lose a seventh of a core by it."""
    from snakemake import benchmark

    if timer._times_called > timer._interval:
        seconds = float(timer._interval)
    else:
        seconds = min(LATER_SECONDS, FIRST_SECONDS * max(1, timer._times_called - 1))
    timer._timer = benchmark.DaemonTimer(seconds, timer._action)
    timer._timer.start()
