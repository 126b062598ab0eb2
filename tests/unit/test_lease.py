"""One writer at a time: who may take a lease over, and who is told to wait for whom."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from nepotism.runtime.errors import UserError
from nepotism.runtime.resume.lease import Lease, LeaseLostError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lease.json"


def held_by(path, age=0.0, **changes):
    """A lease as another job left it, with its last heartbeat ``age`` seconds ago."""
    holder = {
        "host": "node7",
        "processes": "pid:[1]",
        "pid": 4242,
        "slurm_job": "",
        "node": "",
        "token": "theirs",
        **changes,
    }
    path.write_text(json.dumps(holder))
    os.utime(path, (time.time() - age,) * 2)


@contextmanager
def beating(path):
    """Whoever holds the lease is alive."""
    ended = threading.Event()

    def beat():
        while not ended.wait(0.05):
            with suppress(FileNotFoundError):
                os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def dead_process():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_second_job_is_told_which_process_to_wait_for(path):
    first = Lease(path)
    first.acquire()
    with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on .* `kill {os.getpid()}`"):
        Lease(path).acquire()
    first.release()
    Lease(path).acquire()


def test_a_living_job_of_another_machine_is_left_alone_until_its_heartbeat_stops(path):
    held_by(path, age=60)
    with beating(path), pytest.raises(UserError, match="process 4242 on node7"):
        Lease(path, heartbeat=0.2).acquire()
    held_by(path, age=120)
    Lease(path).acquire()


def test_a_job_that_was_killed_on_another_machine_is_waited_out(path):
    """Its last heartbeat may be a moment old: whoever is to go on from its checkpoint must not fail for that."""
    held_by(path)
    start = time.monotonic()
    Lease(path, heartbeat=0.2, stale=1.0).acquire()
    assert 0.9 < time.monotonic() - start < 10


def test_a_lease_that_is_given_back_while_it_is_watched_is_taken(path):
    """Whatever the watcher is just looking at."""
    for trial in range(100):
        held_by(path)
        threading.Timer(0.02 + trial * 1e-5, path.unlink).start()
        lease = Lease(path, heartbeat=0.02)
        lease.acquire()
        lease.release()


def test_a_slurm_job_is_named_with_the_command_that_cancels_it(path):
    held_by(path, slurm_job="77")
    with beating(path), pytest.raises(UserError, match="SLURM job 77 on node7 .*`scancel 77`"):
        Lease(path, heartbeat=0.2).acquire()


def test_a_slurm_job_that_runs_again_elsewhere_takes_over_from_itself_at_once(path, monkeypatch):
    """Even if its first run, on a node that SLURM has lost sight of, is alive."""
    held_by(path, slurm_job="77", node="n1")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    with beating(path):
        Lease(path, heartbeat=0.2).acquire()


def test_a_process_of_this_machine_that_is_no_more_is_taken_over_from_at_once(path):
    lease = Lease(path)
    lease.acquire()
    mine = json.loads(path.read_text())
    held_by(path, host=mine["host"], processes=mine["processes"], pid=dead_process())
    Lease(path).acquire()


def test_in_another_container_the_same_number_says_nothing(path):
    lease = Lease(path)
    lease.acquire()
    mine = json.loads(path.read_text())
    held_by(path, host=mine["host"], processes="pid:[2]", pid=dead_process())
    with beating(path), pytest.raises(UserError, match="in use"):
        Lease(path, heartbeat=0.2).acquire()


def test_a_living_holder_gives_signs_of_life(path):
    lease = Lease(path, heartbeat=0.05)
    lease.acquire()
    os.utime(path, (0, 0))
    time.sleep(0.5)
    assert time.time() - path.stat().st_mtime < 60
    lease.release()
    assert not path.exists()


def test_who_lost_the_lease_writes_no_more_and_leaves_the_new_one(path):
    lease = Lease(path)
    lease.acquire()
    held_by(path)
    with pytest.raises(LeaseLostError, match="taken over by process 4242 on node7"):
        lease.check()
    lease.release()
    assert json.loads(path.read_text())["token"] == "theirs"


def test_what_a_broken_machine_left_empty_is_taken_over(path):
    path.touch()
    os.utime(path, (time.time() - 30,) * 2)
    Lease(path).acquire()


def test_of_many_that_find_a_dead_lease_one_gets_it(path):
    """Threads have one process id, but their own tokens."""
    held_by(path, age=1000)
    leases = [Lease(path) for _ in range(8)]
    start, got = threading.Barrier(8), []

    def contend(lease):
        start.wait()
        try:
            lease.acquire()
            got.append(lease)
        except UserError:
            pass

    threads = [threading.Thread(target=contend, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    still = []
    for lease in got:
        try:
            lease.check()
            still.append(lease)
        except LeaseLostError:
            pass
    assert len(still) == 1
