"""Jobs in an image, by a stand-in for apptainer that says what it was asked, and runs the command here."""

import os
import sys
from pathlib import Path

import pytest

STAND_IN = """#!/bin/sh
if [ "$1" = --version ]; then echo "apptainer version 1.3.6"; exit; fi
echo "$@" >> "$ASKED"
while [ "$1" != -c ]; do shift; done
PATH="$INSIDE:$PATH" exec bash -c "$2"
"""
TARGET = "results/smoke/reference/real.parquet"
ASK = ("--cores", "1", "--sdm", "apptainer")
# After targets, for these options swallow what follows them.
SMOKE = ("--configfile", "resources/experiments/smoke.yaml")


@pytest.fixture
def asked(project, tmp_path, monkeypatch):
    """File that the stand-in writes to."""
    program = tmp_path / "programs" / "apptainer"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("INSIDE", str(Path(sys.executable).parent))
    return tmp_path / "asked"


def test_jobs_run_in_the_image_and_only_where_one_asks_for_it(project, asked):
    image = project.folder / "nepotism.sif"
    image.write_bytes(b"image")
    named = ("--config", "execution={container: nepotism.sif}")
    project.snakemake(TARGET, *ASK, *SMOKE, *named)
    assert (project.folder / TARGET).is_file()
    told = asked.read_text()
    assert f"exec --home {project.folder}" in told.replace("'", "")
    assert f"{image} bash -c" in told
    assert "reference.py" in told
    # The key alone makes nothing anew, and no image is used.
    asked.unlink()
    (project.folder / TARGET).unlink()
    project.snakemake("--cores", "1", TARGET, *SMOKE, *named)
    assert not asked.exists()
    assert project.jobs(TARGET, *SMOKE, *named) == project.jobs(TARGET, *SMOKE) == {}


def test_an_image_that_is_none_is_told_in_one_line(project, asked):
    for words, told in (
        ((), "`execution.container`: name the image that jobs run in with --sdm apptainer"),
        (("--config", "execution={container: no.sif}"), "`execution.container`: there is no file"),
    ):
        done = project.snakemake(TARGET, *ASK, *SMOKE, *words, check=False)
        assert done.returncode
        assert told in done.stdout + done.stderr
