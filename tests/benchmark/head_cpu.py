"""How much of a core Snakemake's head takes while it only waits, after many jobs have ended.

    python tests/benchmark/head_cpu.py                # 2,000 trivial jobs, then 8 that wait for 2 long ones
    python tests/benchmark/head_cpu.py --jobs 200     # fewer

With and without the cure of nepotism.runtime.scheduler, on 2 cores, by the scheduler that is quicker with that many jobs. The share is that
of the head process alone, over --seconds in which the two long jobs sleep; the cost of a job is what the head took before, by
the jobs that had ended.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Seconds after the long jobs have begun: the head has done what their start takes.
SETTLED = 3
SNAKEFILE = """
import sys

sys.path.insert(0, {scripts!r})

from nepotism.runtime.scheduler import end_idle_wake_ups


rule all:
    input:
        expand("short/{{i}}", i=range({jobs})), expand("long/{{i}}", i=range(2)), expand("late/{{i}}", i=range(8)),


rule short:
    output: touch("short/{{i}}")
    priority: 2
    shell: "true"


rule long:
    output: touch("long/{{i}}")
    priority: 1
    shell: "touch begun-{{wildcards.i}}; sleep {seconds}"


rule late:
    output: touch("late/{{i}}")
    shell: "true"


onstart:
    if config["cure"]:
        end_idle_wake_ups(workflow.scheduler)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000, help="trivial jobs")
    parser.add_argument("--seconds", type=float, default=20, help="that the share is measured over")
    chosen = parser.parse_args()
    print("| head | CPU ms a job | share of a core while it waits |\n| --- | ---: | ---: |", flush=True)
    for cure in (False, True):
        per_job, share = measured(chosen.jobs, chosen.seconds, cure)
        print(f"| {'with' if cure else 'without'} the cure | {1000 * per_job:.1f} | {share:.1%} |", flush=True)


def measured(jobs: int, seconds: float, cure: bool) -> tuple[float, float]:
    """CPU seconds of the head for every trivial job, and its share of a core while two long ones sleep."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long = SETTLED + seconds + 2
        (folder / "Snakefile").write_text(
            SNAKEFILE.format(scripts=str(ROOT / "scripts"), jobs=jobs, seconds=long), encoding="utf-8"
        )
        words = ["--cores", "2", "--scheduler", "greedy", "--quiet", "all", "--config", f"cure={cure}"]
        command = [Path(sys.executable).parent / "snakemake", *words]
        with open(folder / "said", "w", encoding="utf-8") as said:
            head = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
        while head.poll() is None and len(list(folder.glob("begun-*"))) < 2:
            time.sleep(0.2)
        time.sleep(SETTLED)
        before, start = cpu_seconds(head.pid), time.perf_counter()
        time.sleep(seconds)
        after, end = cpu_seconds(head.pid), time.perf_counter()
        if head.wait():
            sys.exit((folder / "said").read_text(encoding="utf-8"))
    return before / jobs, (after - before) / (end - start)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process took itself, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
