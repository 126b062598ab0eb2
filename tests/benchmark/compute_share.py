"""How much of an experiment's job time its models computed, rather than starting, loading and writing.

    python tests/benchmark/compute_share.py results/faces

Read from the logs (time in loops of training, sampling, encoding and embedding) and the benchmarks (time of jobs).
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

LOOP = re.compile(r"(?:finetune|sample|seed_images|encoding|embedding).*: \d+ (?:steps|images) in ([0-9.]+) s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results of an experiment that has run")
    results: Path = parser.parse_args().results
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
    print(f"all jobs: {total:.0f} s, of which models computed {sum(loops[rule] for rule in jobs) / total:.0%}")


if __name__ == "__main__":
    main()
