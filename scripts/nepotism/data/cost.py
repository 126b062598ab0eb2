"""What an experiment cost: time and memory of its jobs, from Snakemake's benchmark files."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """All jobs of one rule: a row of tables/cost.csv. Seconds are summed over the jobs; memory is that of the largest."""

    rule: str
    jobs: int
    seconds: float
    cpu_seconds: float
    peak_memory_mib: float


def costs(folder: Path) -> list[Cost]:
    """One row per rule that has benchmarks, the most expensive first.

    Memory is the resident set: what a job needs by itself, also of what it shares with others. Jobs too short to be measured count
    with what is known of them.
    """
    jobs: dict[str, list[dict[str, str]]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        # What is made once for each base model ends in the name of an arm; names of rules have no dash.
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv").partition("-")[0]
        with open(path, newline="", encoding="utf-8") as file:
            jobs.setdefault(rule, []).extend(csv.DictReader(file, delimiter="\t"))
    rows = [
        Cost(
            rule,
            len(mine),
            sum(_numbers(mine, "s")),
            sum(_numbers(mine, "cpu_time")),
            max(_numbers(mine, "max_rss"), default=0.0),
        )
        for rule, mine in jobs.items()
        if mine
    ]
    return sorted(rows, key=lambda cost: -cost.seconds)


def _numbers(rows: Iterable[dict[str, str]], column: str) -> list[float]:
    """The column's values; Snakemake writes NA or - where it could not measure, and a job that was killed half a line."""
    return [float(row[column]) for row in rows if row.get(column) not in (None, "NA", "-", "")]
