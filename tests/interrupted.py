"""Jobs that end at random checkpoints, and start again until they are done."""

import random
import signal

from nepotism.runtime.errors import Interrupted
from nepotism.runtime.resume.checkpoints import Checkpoints


def at_random(monkeypatch, seed, every):
    """Have checkpoints end their job, two in ``every``: one before and one after it was written. Returns where that happened."""
    draws, ends = random.Random(seed), []
    original = Checkpoints._write

    def write(self, position, tensors, values):
        place = draws.random() * every
        if place >= 1:
            original(self, position, tensors, values)
        if place < 2:
            ends.append((self._prefix.split("@")[0], position))
            raise Interrupted("killed", signal.SIGKILL)

    monkeypatch.setattr(Checkpoints, "_write", write)
    return ends


def until_done(job):
    """Start a job again until it ends well."""
    while True:
        try:
            return job()
        except Interrupted:
            continue
