"""How long Snakemake plans grids of growing size, and how much memory that takes.

    python tests/benchmark/dag_speed.py                    # up to 3,000 cells: 20 ratios, 10 iterations, 3 controls, 5 seeds
    python tests/benchmark/dag_speed.py --ratios 1 5       # smaller grids only

A plan is `snakemake -n --quiet host`, which lists every job (`-q` lists none and takes a sixth less); reading the
Snakefile is `snakemake --list-rules`. Both with the start of Snakemake.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratios", type=int, nargs="+", default=[1, 5, 20], help="numbers of ratios")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    seconds, _, _ = timed("--list-rules")
    start, _, _ = timed("--version")
    print(f"reading the Snakefile: {seconds - start:.2f} s, and {start:.2f} s to start Snakemake\n")
    print("| cells | jobs | seconds | ms a job | peak MB |\n| ---: | ---: | ---: | ---: | ---: |")
    for ratios in chosen.ratios:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(grid(ratios, chosen.iterations, chosen.seeds), file)
            file.flush()
            seconds, megabytes, output = timed("-n", "--quiet", "host", "--configfile", file.name)
        jobs = int(re.search(r"^total +(\d+)", output, re.MULTILINE)[1])
        cells = 3 * ratios * chosen.iterations * chosen.seeds
        print(f"| {cells:,} | {jobs:,} | {seconds:.1f} | {1000 * seconds / jobs:.2f} | {megabytes:.0f} |", flush=True)


def grid(ratios: int, iterations: int, seeds: int) -> dict:
    """Three controls at ``ratios`` ratios."""
    levels = [round(100 * (index + 1) / ratios, 1) for index in range(ratios)]
    arms = [{"name": kind, "control": kind, "ratios": levels} for kind in ("none", "histogram_match", "sifid_cull")]
    return {"experiment": "many", "iterations": iterations, "seeds": list(range(seeds)), "arms": arms}


def timed(*arguments: str) -> tuple[float, float, str]:
    """Wall-clock seconds and peak megabytes of a snakemake command, and what it printed."""
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "snakemake"), *arguments],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read()
    if status:
        sys.exit(text)
    return seconds, usage.ru_maxrss / 1000, text


if __name__ == "__main__":
    main()
