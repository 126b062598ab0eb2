"""Has the warm parent run a script: ``client.py SOCKET SCRIPT …`` does what ``python SCRIPT …`` does, seconds sooner.

Runs as ``python -I -S`` and imports little, because every job starts with it. Where the parent cannot serve, this process becomes
``python SCRIPT …``. The protocol is in `nepotism.warm.parent`.
"""

import array
import json
import os
import signal
import socket
import struct
import sys
from types import FrameType
from typing import NoReturn

# What numeric libraries read when they are loaded, which the parent has done for everyone.
READ_AT_LOADING = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH", "VIRTUAL_ENV")
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(path: str, command: list[str]) -> NoReturn:
    if not command or command[0].startswith("-"):
        by_itself(command)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        request = {"command": command, "folder": os.getcwd(), "environment": dict(os.environ)}
        try:
            connection.connect(path)
            message = json.dumps(request).encode("utf-8", "surrogateescape")
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
            connection.sendmsg([struct.pack("!I", len(message))], [rights])
            connection.sendall(message)
            for number in FORWARDED:
                signal.signal(number, lambda number, frame: pass_on(connection, number, frame))
            taken = connection.recv(1)
        except OSError:
            taken = b""
        if taken != b"y":
            by_itself(command)
        try:
            answer = connection.recv(4, socket.MSG_WAITALL)
        except OSError:
            answer = b""
    if len(answer) < 4:
        print(f"{command[0]}: the process that ran this job is gone; run it again", file=sys.stderr)
        end(1)
    end(struct.unpack("!i", answer)[0])


def by_itself(command: list[str]) -> NoReturn:
    """Become the job."""
    for number in FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606


def pass_on(connection: socket.socket, number: int, frame: FrameType | None) -> None:
    """Give the job a signal that was meant for it."""
    try:
        connection.send(bytes([number]))
    except OSError:
        end(128 + number)


def end(status: int) -> NoReturn:
    """End as the job did: by its exit status, or, if that is negative, by the signal that killed it."""
    if status < 0:
        if -status in FORWARDED:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
