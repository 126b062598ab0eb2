"""The head process, and the fault of Snakemake that it cures."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from nepotism.runtime.scheduler import USUAL_LIMIT, end_idle_wake_ups

# Eight jobs end; then one takes three seconds, and one waits for its core. How often the scheduler set a timer to wake itself.
SNAKEFILE = f"""
import sys

sys.path.insert(0, {str(ROOT / "scripts")!r})

from nepotism.runtime.scheduler import end_idle_wake_ups

asked = []


rule all:
    input:
        expand("short/{{i}}", i=range(8)), "long", "late",


rule short:
    output: touch("short/{{i}}")
    priority: 2
    shell: "true"


rule long:
    output: touch("long")
    priority: 1
    shell: "sleep 3"


rule late:
    output: touch("late")
    shell: "true"


onstart:
    if config["cure"]:
        end_idle_wake_ups(workflow.scheduler)
    schedule = workflow.scheduler._schedule_reevalutation
    workflow.scheduler._schedule_reevalutation = lambda delay: (asked.append(delay), schedule(delay))


onsuccess:
    open("timers", "w").write(str(len(asked)))
"""


def timers(folder, cure):
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE)
    command = [Path(sys.executable).parent / "snakemake", "--cores", "1", "--quiet", "all", "--config", f"cure={cure}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return int((folder / "timers").read_text())


def test_the_head_sleeps_until_a_job_ends_and_snakemake_alone_would_not(tmp_path):
    assert timers(tmp_path / "with", True) == 0
    # A timer after every look of the scheduler: one for each job, and then again and again while the long one runs.
    assert timers(tmp_path / "without", False) > 16, (
        "Snakemake has mended its scheduler: delete nepotism.runtime.scheduler, its call in the Snakefile and tests/benchmark/head_cpu.py"
    )


@pytest.mark.parametrize("limit", [(10, 1), (100, 60)])
def test_a_limit_that_the_user_asked_for_stays(limit):
    limiter = SimpleNamespace(max_jobs=limit[0], timespan=limit[1])
    scheduler = SimpleNamespace(job_rate_limiter=limiter)
    end_idle_wake_ups(scheduler)
    assert scheduler.job_rate_limiter is limiter
    usual = SimpleNamespace(job_rate_limiter=SimpleNamespace(max_jobs=USUAL_LIMIT[0], timespan=USUAL_LIMIT[1]))
    end_idle_wake_ups(usual)
    assert usual.job_rate_limiter is None
    end_idle_wake_ups(usual)
