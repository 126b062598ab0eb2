"""A process that imports what scripts import, once, and then forks itself for every job: seconds of each become milliseconds.

Started by the head process (`nepotism.runtime.warm.head`), as ``warm_parent.py SOCKET``, for jobs of its own machine on the CPU. A client
(`nepotism.runtime.warm.client`) sends, over a connection of its own:

1. the length of a message (four bytes), with the file descriptors of its standard input, output and error;
2. the message, JSON: ``command`` (script and arguments), ``folder``, ``environment``, and the signals that are ``ignored``;
3. then the number of any signal that it was sent, a byte each.

It is answered ``y`` when the job is taken, ``n`` when it has to run by itself, and at last the exit status (four bytes; negative:
the signal that killed it). A job whose client is gone is killed. When standard input ends, because the head did, no more jobs are
taken, and when the last is done this process ends too. Whatever goes wrong with one client must not end it: that ends all jobs.
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
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nepotism.runtime.warm.client import ENDING, READ_AT_LOADING, STOPPING
from nepotism.runtime.warm.first_use import prepare_for, prepare_libraries

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
SCRIPTS = Path(__file__).resolve().parents[3]

logger = logging.getLogger(__name__)


@dataclass
class Client:
    """A client: who it is, what it wants, and the process of its job."""

    connection: socket.socket
    pid: int
    command: list[str]
    folder: str
    environment: dict[str, str]
    ignored: list[int]
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
        self._imported: set[str] = set()
        # Code as it was imported; and whether every import went well.
        self._code: dict[Path, tuple[int, int]] = {}
        self._sound = True
        self._inherited = set(os.environ)
        self._events = selectors.DefaultSelector()
        self._head_lives = True
        # A child's end wakes the loop.
        self._ended, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake.fileno())
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
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            # The client runs its job itself, when this process is gone or has room again.
            logger.warning("cannot accept a job: %s", error)
            return
        try:
            client = received(connection)
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            logger.warning("not a job: %s", error)
            connection.close()
            return
        if not (self._suits(client) and self._import(client.command[0])):
            self._forget(client, b"n")
            return
        imported = len(sys.modules)
        prepare_for(client.command, Path(client.folder))
        if len(sys.modules) > imported:
            self._remember_code()
        # Collecting garbage would touch, and so copy, every page that jobs share.
        gc.freeze()
        try:
            with held_back(ENDING):
                client.job = os.fork()
                if client.job == 0:
                    self._become(client)
        except OSError as error:
            logger.warning("cannot fork: %s", error)
            self._forget(client, b"n")
            return
        # In both processes, whoever comes first: a signal for the group must find it.
        with suppress(OSError):
            os.setpgid(client.job, client.job)
        self._jobs[client.job] = client
        self._events.register(connection, selectors.EVENT_READ, client)
        client.close_streams()
        try:
            connection.sendall(b"y")
        except OSError:
            signalled(client.job, signal.SIGKILL)

    def _suits(self, client: Client) -> bool:
        """Whether a fork of this process is what the client would start itself."""
        if any(client.environment.get(name) != os.environ.get(name) for name in READ_AT_LOADING):
            return False
        return self._sound and all(_version(file) == version for file, version in self._code.items())

    def _import(self, script: str) -> bool:
        """Import what a script imports, once. If that fails, jobs start by themselves from then on, and tell why."""
        if script in self._imported:
            return True
        sys.path[0] = str(Path(script).resolve().parent)
        gc.disable()
        try:
            runpy.run_path(script, run_name="nepotism_warm")
        except (Exception, SystemExit) as error:
            logger.warning("%s cannot be imported: %s", script, error)
            self._sound = False
            return False
        prepare_libraries()
        self._imported.add(script)
        self._remember_code(Path(script).resolve())
        return True

    def _remember_code(self, *scripts: Path) -> None:
        """Remember the versions of the project's files that have been imported since."""
        files = [Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
        own = {*scripts, *(file for file in files if file.is_relative_to(SCRIPTS))}
        self._code |= {file: _version(file) for file in own - self._code.keys()}

    def _become(self, client: Client) -> NoReturn:
        """In the forked process: be the client's job."""
        status = 1
        try:
            status = self._run(client)
            sys.stdout.flush()
            sys.stderr.flush()
        except KeyboardInterrupt:
            traceback.print_exc()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _run(self, client: Client) -> int:
        parent = os.getppid()
        library = ctypes.CDLL(None)
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return 1
        # Under this name the head finds the process that works for a client, and so measures it.
        library.prctl(PR_SET_NAME, f"for {client.pid}".encode())
        with suppress(OSError):
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *ENDING):
            signal.signal(number, signal.SIG_IGN if number in client.ignored else signal.SIG_DFL)
        if signal.SIGINT not in client.ignored:
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
        # What imports have set stays; what this process was started with goes.
        for name in self._inherited - client.environment.keys():
            os.environ.pop(name, None)
        os.environ.update(client.environment)
        tempfile.tempdir = None
        sys.argv[:] = client.command
        sys.path[0] = str(Path(client.command[0]).resolve().parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        try:
            runpy.run_path(client.command[0], run_name="__main__")
        except SystemExit as done:
            if isinstance(done.code, str):
                print(done.code, file=sys.stderr)
            return done.code if isinstance(done.code, int) else int(done.code is not None)
        return 0

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
            signalled(client.job, signal.SIGKILL, group=True)
            return
        for number in numbers:
            signalled(client.job, number, group=number in (signal.SIGSTOP, *STOPPING))

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
            logger.debug("client %d is gone", client.pid)
        client.connection.close()
        client.close_streams()


def signalled(job: int, number: int, group: bool = False) -> None:
    """Send a signal to a job, or to all processes of it; one that has just ended needs none."""
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(job, number)


@contextmanager
def held_back(numbers: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Signals wait while a process is forked: its child gets its own when it can tell what they mean."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _version(file: Path) -> tuple[int, int]:
    """When a file was written, and its size; zeros where there is none."""
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def received(connection: socket.socket) -> Client:
    """What a client wants.

    Raises:
        OSError, ValueError, KeyError, TypeError, struct.error: if it does not say so at once.
    """
    connection.settimeout(10)
    streams = array.array("i")
    try:
        first, rights, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(3 * streams.itemsize))
        for _, _, data in rights:
            streams.frombytes(data)
        (length,) = struct.unpack("!I", first)
        message = bytearray()
        while len(message) < length:
            part = connection.recv(length - len(message))
            if not part:
                raise ValueError("it was cut off")
            message += part
        wanted: dict[str, Any] = json.loads(message.decode("utf-8", "surrogateescape"))
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return Client(
            connection,
            pid,
            wanted["command"],
            wanted["folder"],
            wanted["environment"],
            wanted["ignored"],
            list(streams),
        )
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        for stream in streams:
            os.close(stream)
        raise


def main(path: Path) -> None:
    """Serve at a socket in a folder of its own, which is gone afterwards."""
    # Of the head's terminal; what is meant for a job comes by its client.
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(256)
            # The head waits for this; then standard output is as any other's.
            os.write(1, b"y")
            os.dup2(2, 1)
            Parent(listener).serve()
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)
    # Python would take apart all that was imported, slowly, and some libraries complain of that.
    os._exit(0)
