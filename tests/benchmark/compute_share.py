"""How much of an experiment's time its models computed, rather than starting, loading, writing and waiting.

    python tests/benchmark/compute_share.py results/faces --wall 300 --cores 2

Read from the logs (time in loops of training, sampling, encoding and embedding) and the benchmarks (time of the heavy
jobs). With --wall, the seconds that the whole run took, also as a share of all that its cores could have done.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

LOOP = re.compile(r"(?:finetune|sample|initial_images|encoding|embedding).*: \d+ (?:steps|images) in ([0-9.]+) s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results of an experiment that has run")
    parser.add_argument("--wall", type=float, help="wall-clock seconds of the whole run")
    parser.add_argument("--cores", type=int, default=2, help="cores that the run had, each for one job at a time")
    arguments = parser.parse_args()
    results: Path = arguments.results
    jobs: dict[str, list[float]] = defaultdict(list)
    for file in sorted((results / "benchmarks").rglob("*.tsv")):
        header, values = (line.split("\t") for line in file.read_text().splitlines()[:2])
        rule = file.relative_to(results / "benchmarks").parts[0].removesuffix(".tsv")
        jobs[rule].append(float(dict(zip(header, values, strict=True))["s"]))
    loops: dict[str, float] = defaultdict(float)
    for file in sorted((results / "logs").rglob("*.log")):
        rule = file.relative_to(results / "logs").parts[0].removesuffix(".log")
        loops[rule] += sum(float(seconds) for seconds in LOOP.findall(file.read_text()))
    print(f"{'rule':>16} {'jobs':>5} {'s/job':>7} {'models':>7}")
    for rule, times in sorted(jobs.items(), key=lambda item: -sum(item[1])):
        print(f"{rule:>16} {len(times):>5} {sum(times) / len(times):>7.1f} {loops[rule] / sum(times):>7.0%}")
    total = sum(map(sum, jobs.values()))
    computing = sum(loops[rule] for rule in jobs)
    print(f"heavy jobs: {total:.0f} s, of which models computed {computing / total:.0%}")
    if arguments.wall:
        print(f"the whole run: models computed {computing / (arguments.wall * arguments.cores):.0%} of its cores' time")


if __name__ == "__main__":
    main()
