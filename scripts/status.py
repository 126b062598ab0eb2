"""Print where an experiment stands: its grid, what runs, what failed and where the log is, and how long the rest takes."""

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from nepotism.families import family_package
from nepotism.plan.arms import Arm
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.plan.status import Standing, headline, left, standings
from nepotism.runtime import cli
from nepotism.runtime.errors import UserError

WIDTH = 13


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("folder", type=Path, help="an experiment's results, such as results/faces")
    parser.add_argument("--jobs", type=int, help="jobs at a time, for the time left; without it, as many as run now")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    file = arguments.folder / "config.json"
    if not file.is_file():
        raise UserError(
            f"there is no {file}; give an experiment's results, such as results/faces, after its first run has started"
        )
    grid = Grid(json.loads(file.read_text(encoding="utf-8")))
    found = standings(grid, arguments.folder)
    counts = Counter(standing.state for standing in found)
    shown = ", ".join(
        f"{counts[state]} {state}" for state in ("running", "failed", "paused", "waiting") if counts[state]
    )
    print(f"{grid.experiment}: {counts['done']} of {len(found)} cells done{', ' + shown if shown else ''}")
    print(numbers(grid))
    for arm in grid.arms:
        print(
            f"\n{matrix(arm, grid.iterations_of(arm), [standing for standing in found if standing.cell.control == arm.name])}"
        )
    for state in ("running", "failed", "paused"):
        lines = [told(standing) for standing in found if standing.state == state]
        print("".join(f"\n{line}" for line in [f"{state}:", *lines]) if lines else "", end="\n" if lines else "")
    if counts["done"] < len(found):
        print("\n" + time_left(found, arguments.folder, arguments.jobs or max(1, counts["running"])))


def numbers(grid: Grid) -> str:
    """What the numbers in the grid are."""
    metric, features = headline(grid)
    if grid.family == DIFFUSION:
        return f"numbers are Fréchet distances in the features `{features}`; lower is better"
    declared = family_package(grid.family).METRICS[metric]
    return "; ".join(filter(None, (f"numbers are the metric {metric}: {declared.definition}", declared.direction)))


def matrix(arm: Arm, iterations: Iterable[int], found: Iterable[Standing]) -> str:
    """An arm's cells: a line for every ratio and seed, a column for every iteration."""
    rows: dict[tuple[str, int], dict[int, Standing]] = {}
    for standing in found:
        cell = standing.cell
        rows.setdefault((cell.ratio, cell.seed), {})[cell.iteration] = standing
    seeds = len({seed for _, seed in rows}) > 1
    lines = [f"{arm.name:<24}" + "".join(f"{iteration:>{WIDTH}}" for iteration in iterations)]
    for (ratio, seed), cells in rows.items():
        name = f"  {ratio} %" + (f", seed {seed}" if seeds else "")
        lines.append(f"{name:<24}" + "".join(f"{entry(cells[iteration]):>{WIDTH}}" for iteration in iterations))
    return "\n".join(lines)


def entry(standing: Standing) -> str:
    """What the grid shows for a cell."""
    if standing.state == "done":
        return "done" if standing.distance is None else f"{standing.distance:.4g}"
    if standing.state == "waiting":
        return "." if standing.stage in ("mix", "generations") else f"to {standing.stage}"
    return standing.state


def told(standing: Standing) -> str:
    """A line about a cell that is neither done nor waiting."""
    where = f" (log: {standing.log})" if standing.state == "failed" else ""
    return f"  {standing.cell.path}: {standing.stage}: {standing.told}{where}"


def time_left(found: Iterable[Standing], folder: Path, jobs: int) -> str:
    """A sentence on how long the rest takes."""
    rest = left(found, folder)
    text = (
        f"left: {duration(rest.work)} of work, {duration(rest.chain)} in its longest chain: "
        f"{duration(rest.wall(jobs))} or more with {jobs} job{'s' if jobs > 1 else ''} at a time"
    )
    if rest.unmeasured:
        text += f"; without {', '.join(rest.unmeasured)}, of which no job has ended yet"
    return text


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


if __name__ == "__main__":
    main()
