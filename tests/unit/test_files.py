"""Files appear whole or not at all, and of processes that were killed nothing stays."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from nepotism.families.diffusion.pipeline import save_denoiser
from nepotism.runtime import files
from nepotism.runtime.files import atomic_write, beside, write_text
from safetensors.torch import save_file

KILLED = """
import os, signal, sys
from pathlib import Path
from nepotism.runtime import files
path = Path(sys.argv[1])
with files.atomic_write(path) as temporary:
    temporary.write_text("half")
    # As safetensors has one of its own beside what it writes.
    temporary.with_name(".tmpQ7").write_text("half")
    print(os.getpid(), flush=True)
    sys.stdin.read() if sys.argv[2] == "wait" else os.kill(os.getpid(), signal.SIGKILL)
"""


def begin(path, end):
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), end],
        cwd=ROOT / "scripts",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def hidden(folder):
    return [each.name for each in folder.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("name", ["metrics.json", "without", "many.dots.in.it.parquet", "[glob]*.csv"])
def test_what_a_killed_process_left_goes_with_the_next_attempt(tmp_path, name):
    killed = begin(tmp_path / name, "die")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert len(hidden(tmp_path)) == 1
    write_text(tmp_path / "another.json", "x")
    assert len(hidden(tmp_path)) == 1, "another output's is not ours to remove"
    write_text(tmp_path / name, "whole")
    assert hidden(tmp_path) == []
    assert (tmp_path / name).read_text() == "whole"


def test_a_process_that_is_alive_is_left_alone_and_both_end_well(tmp_path):
    other = begin(tmp_path / "x.json", "wait")
    other.stdout.readline()
    write_text(tmp_path / "x.json", "mine")
    assert len(hidden(tmp_path)) == 1
    other.communicate()
    assert other.returncode == 0
    assert (tmp_path / "x.json").read_text() == "half"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(("age", "stays"), [(0, True), (1800, True), (2 * files.ABANDONED_SECONDS, False)])
def test_another_machines_are_left_alone_until_they_are_abandoned(tmp_path, age, stays):
    # A number that is certainly nobody's here says nothing of another machine.
    theirs = tmp_path / f".x.json.00000000-{2**22 + 1}"
    theirs.mkdir()
    (theirs / "x.json").write_text("half")
    for path in (theirs / "x.json", theirs):
        os.utime(path, (time.time() - age,) * 2)
    write_text(tmp_path / "x.json", "whole")
    assert theirs.exists() == stays


def test_what_one_of_the_same_number_left_is_not_taken_for_ours(tmp_path):
    with beside(tmp_path / "model") as folder:
        pass
    folder.mkdir()
    (folder / "stale").write_text("x")
    with beside(tmp_path / "model") as again:
        assert again == folder
        assert list(again.iterdir()) == []


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_have_the_rights_that_files_usually_get(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "x.safetensors") as temporary:
            save_file({"x": torch.zeros(1)}, temporary)
        write_text(tmp_path / "x.txt", "x")
        save_denoiser(torch_module(), tmp_path / "model")
    finally:
        os.umask(before)
    for name in ("x.safetensors", "x.txt", "model/weights.safetensors"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask


def torch_module():
    class Module:
        def save_pretrained(self, folder, **options):
            save_file({"x": torch.zeros(1)}, Path(folder) / "weights.safetensors")

    return Module()
