"""What every command line shares."""

import platform
import subprocess
import sys

import pytest
from conftest import ROOT

COUNT_CLEARED_PAGES = """
import argparse, resource
from nepotism import cli

size = 40 * 2**20

def main(_):
    b"x" * size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        b"x" * size
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

cli.run(main, argparse.Namespace(log=None))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told")
def test_memory_that_was_freed_is_used_again_without_being_cleared():
    made = subprocess.run(
        [sys.executable, "-c", COUNT_CLEARED_PAGES], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    # Twenty times 40 MB are 204,800 pages.
    assert int(made.stdout) < 5_000
