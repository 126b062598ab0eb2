"""A process that imports what scripts import, once, and then forks itself for every job: seconds of each become milliseconds.

Started by the head process (`nepotism.warm.head`), as ``warm_parent.py SOCKET``, for jobs of its own machine on the CPU. A client
(`nepotism.warm.client`) sends, over a connection of its own:

1. the length of a message (four bytes), with the file descriptors of its standard input, output and error;
2. the message, JSON: ``command`` (script and arguments), ``folder`` and ``environment``;
3. then the number of any signal that it was sent, a byte each.

It is answered ``y`` when the job is taken, ``n`` when it has to run by itself, and at last the exit status (four bytes; negative:
the signal that killed it). A job whose client is gone is killed. When standard input ends, because the head did, no more jobs are
taken, and when the last is done this process ends too.
"""

import array
import ctypes
import gc
import json
import logging
import os
import runpy
import selectors
import shutil
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nepotism.warm.client import READ_AT_LOADING

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15


@dataclass
class Client:
    """A client: who it is, what it wants, and the process of its job."""

    connection: socket.socket
    pid: int
    command: list[str]
    folder: str
    environment: dict[str, str]
    streams: list[int]
    job: int = 0

    def close_streams(self) -> None:
        """Close this process's copies of its standard streams."""
        while self.streams:
            os.close(self.streams.pop())


class Parent:
    """Serves clients until its own head is gone.

    Args:
        listener: where clients connect.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._jobs: dict[int, Client] = {}
        self._scripts: set[str] = set()
        self._events = selectors.DefaultSelector()
        self._head_lives = True
        # A child's end wakes the loop.
        self._ended, wake = socket.socketpair()
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake.fileno())
        self._wake = wake
        for source in (0, self._ended, listener):
            self._events.register(source, selectors.EVENT_READ)

    def serve(self) -> None:
        """Take jobs, pass signals on, and tell how jobs ended."""
        while self._head_lives or self._jobs:
            for event, _ in self._events.select():
                if event.fileobj == 0:
                    if not os.read(0, 1):
                        self._head_lives = False
                        self._events.unregister(0)
                        self._events.unregister(self._listener)
                        self._listener.close()
                elif event.fileobj is self._ended:
                    self._ended.recv(4096)
                    self._reap()
                elif event.fileobj is self._listener and self._head_lives:
                    self._greet()
                elif event.data is not None:
                    self._hear(event.data)

    def _greet(self) -> None:
        connection, _ = self._listener.accept()
        # A client says what it wants at once; one that does not is none of ours.
        connection.settimeout(10)
        try:
            client = received(connection)
        except (OSError, ValueError, KeyError, struct.error):
            connection.close()
            return
        if any(client.environment.get(name) != os.environ.get(name) for name in READ_AT_LOADING):
            self._forget(client, b"n")
            return
        self._import(client.command[0])
        client.job = os.fork()
        if client.job == 0:
            self._become(client)
        self._jobs[client.job] = client
        self._events.register(connection, selectors.EVENT_READ, client)
        try:
            connection.sendall(b"y")
        except OSError:
            os.kill(client.job, signal.SIGKILL)
        client.close_streams()

    def _import(self, script: str) -> None:
        """Import what a script imports, once. What is wrong with it, its own process tells."""
        if script in self._scripts:
            return
        self._scripts.add(script)
        sys.path[0] = str(Path(script).resolve().parent)
        gc.disable()
        try:
            runpy.run_path(script, run_name="nepotism_warm")
        except (Exception, SystemExit):
            logging.getLogger(__name__).debug("%s cannot be imported", script, exc_info=True)
        # Collecting garbage would touch, and so copy, every page that jobs share.
        gc.freeze()

    def _become(self, client: Client) -> NoReturn:
        """In the forked process: be the client's job."""
        try:
            library = ctypes.CDLL(None)
            library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            # Under this name the head finds the process that works for a client, and so measures it.
            library.prctl(PR_SET_NAME, f"for {client.pid}".encode())
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._events.close()
            for other in (self._listener, self._ended, self._wake, client.connection):
                other.close()
            for each in self._jobs.values():
                each.connection.close()
            for target, stream in enumerate(client.streams):
                os.dup2(stream, target)
                os.close(stream)
            os.chdir(client.folder)
            os.environ.clear()
            os.environ.update(client.environment)
            sys.argv[:] = client.command
            sys.path[0] = str(Path(client.command[0]).resolve().parent)
            runpy.run_path(client.command[0], run_name="__main__")
            status = 0
        except SystemExit as done:
            status = done.code if isinstance(done.code, int) else int(done.code is not None)
            if isinstance(done.code, str):
                print(done.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def _hear(self, client: Client) -> None:
        """A signal for a client's job, or the client's end, which is the job's."""
        try:
            numbers = client.connection.recv(64)
        except OSError:
            numbers = b""
        if client.job not in self._jobs:
            return
        if not numbers:
            self._events.unregister(client.connection)
            os.killpg(client.job, signal.SIGKILL)
            return
        for number in numbers:
            os.kill(client.job, number)

    def _reap(self) -> None:
        while self._jobs:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if client := self._jobs.pop(pid, None):
                with suppress(KeyError):
                    self._events.unregister(client.connection)
                self._forget(client, struct.pack("!i", os.waitstatus_to_exitcode(status)))

    def _forget(self, client: Client, answer: bytes) -> None:
        try:
            client.connection.sendall(answer)
        except OSError:
            logging.getLogger(__name__).debug("client %d is gone", client.pid)
        client.connection.close()
        client.close_streams()


def received(connection: socket.socket) -> Client:
    """What a client wants.

    Raises:
        OSError, ValueError, KeyError, struct.error: if it does not say so.
    """
    first, rights, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    streams = array.array("i")
    for _, _, data in rights:
        streams.frombytes(data)
    (length,) = struct.unpack("!I", first)
    message = connection.recv(length, socket.MSG_WAITALL)
    wanted: dict[str, Any] = json.loads(message.decode("utf-8", "surrogateescape"))
    pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Client(connection, pid, wanted["command"], wanted["folder"], wanted["environment"], list(streams))


def main(path: Path) -> None:
    """Serve at a socket in a folder of its own, which is gone afterwards."""
    # Of the head's terminal; what is meant for a job comes by its client.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(256)
        # The head waits for this; then standard output is as any other's.
        os.write(1, b"y")
        os.dup2(2, 1)
        try:
            Parent(listener).serve()
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)
