"""Has the warm parent run a script: ``client.py SOCKET SCRIPT …`` does what ``python SCRIPT …`` does, seconds sooner.

Runs as ``python -I -S`` and imports little, because every job starts with it. Where the parent cannot serve, this process becomes
``python SCRIPT …``. The protocol is in `nepotism.runtime.warm.parent`.
"""

import array
import ctypes
import json
import os
import signal
import socket
import struct
import sys
from typing import NoReturn

# What numeric libraries read when they are loaded, which the parent has done for everyone.
READ_AT_LOADING = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH", "VIRTUAL_ENV")
PR_SET_PDEATHSIG = 1
# What a job is told through its client: to end, to stop for a while, to go on.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPING = (signal.SIGTSTP, signal.SIGCONT)


class Client:
    """One job, as seen from the process that Snakemake started for it.

    Args:
        command: the script and its arguments.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._told: list[int] = []
        # What was ignored before, such as SIGHUP under nohup, stays so, for the job as well.
        self._ignored = [number for number in ENDING if signal.getsignal(number) == signal.SIG_IGN]

    def run(self, path: str) -> NoReturn:
        """Have the parent that listens at ``path`` run it, or run it here."""
        # A shell becomes its last command, but not by a function: whoever ends the shell means the job, wherever it runs.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        is_script = bool(self._command) and not self._command[0].startswith("-")
        if not (is_script and self._is_taken(path)):
            self._run_here()
        answer = b""
        while len(answer) < 4:
            try:
                part = self._connection.recv(4 - len(answer))
            except OSError:
                part = b""
            if not part:
                print(f"{self._command[0]}: the process that ran this job is gone; run it again", file=sys.stderr)
                end(1)
            answer += part
        end(struct.unpack("!i", answer)[0])

    def _is_taken(self, path: str) -> bool:
        request = {
            "command": self._command,
            "folder": os.getcwd(),
            "environment": dict(os.environ),
            "ignored": [int(number) for number in self._ignored],
        }
        try:
            self._connection.connect(path)
            message = json.dumps(request).encode("utf-8", "surrogateescape")
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
            self._connection.sendmsg([struct.pack("!I", len(message))], [rights])
            self._connection.sendall(message)
            for number in (*ENDING, *STOPPING):
                if number not in self._ignored:
                    signal.signal(number, lambda number, frame: self._pass_on(number))
            return self._connection.recv(1) == b"y"
        except OSError:
            return False

    def _pass_on(self, number: int) -> None:
        """Give the job a signal that was meant for it."""
        if number in ENDING:
            self._told.append(number)
        try:
            self._connection.send(bytes([signal.SIGSTOP if number == signal.SIGTSTP else number]))
        except OSError:
            if number in ENDING:
                end(-number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    def _run_here(self) -> NoReturn:
        """Become the job; what this process was told meanwhile, the job is told."""
        for number in (*ENDING, *STOPPING):
            if number not in self._ignored:
                signal.signal(number, signal.SIG_DFL)
        for told in self._told:
            os.kill(os.getpid(), told)
        os.execv(sys.executable, [sys.executable, *self._command])  # noqa: S606


def end(status: int) -> NoReturn:
    """End as the job did: by its exit status, or, if that is negative, by the signal that killed it."""
    if status < 0:
        if -status in (*ENDING, *STOPPING):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    Client(sys.argv[2:]).run(sys.argv[1])
