"""Print where an experiment stands: its grid, what runs, what failed and where the log is, and how long the rest takes."""

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from nepotism.experiment.search import rounds
from nepotism.families import family_package
from nepotism.plan.arms import Arm
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.plan.results import read_grid
from nepotism.plan.searching import told
from nepotism.plan.status import CellStatus, cell_statuses, headline, remaining_work
from nepotism.runtime import cli

# Characters of a column at least, and of a line's name.
WIDTH, NAME = 13, 24
LEGEND = "'.' has not begun; 'to score' has that job next"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("folder", type=Path, help="an experiment's results, such as results/faces")
    parser.add_argument("--jobs", type=int, help="jobs at a time, for the time left; without it, as many as run now")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    grid = read_grid(arguments.folder)
    found = cell_statuses(grid, arguments.folder)
    counts = Counter(cell_status.state for cell_status in found)
    shown = ", ".join(
        f"{counts[state]} {state}" for state in ("running", "failed", "paused", "waiting") if counts[state]
    )
    print(f"{grid.experiment}: {counts['done']} of {len(found)} cells done{', ' + shown if shown else ''}")
    print(numbers(grid))
    if counts["waiting"]:
        print(LEGEND)
    for arm in grid.searching():
        print(told(arm, rounds(arguments.folder, arm.name)))
    for arm in grid.arms:
        print(
            f"\n{matrix(arm, grid.iterations_of(arm), [cell_status for cell_status in found if cell_status.cell.control == arm.name])}"
        )
    for state in ("running", "failed", "paused"):
        lines = [render_status(cell_status) for cell_status in found if cell_status.state == state]
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


def matrix(arm: Arm, iterations: Iterable[int], found: Iterable[CellStatus]) -> str:
    """An arm's cells: a line for every ratio and seed, a column for every iteration."""
    rows: dict[tuple[str, int], dict[int, CellStatus]] = {}
    for cell_status in found:
        cell = cell_status.cell
        rows.setdefault((cell.ratio, cell.seed), {})[cell.iteration] = cell_status
    seeds = len({seed for _, seed in rows}) > 1
    iterations = list(iterations)
    table = {
        f"  {ratio} %" + (f", seed {seed}" if seeds else ""): [entry(cells[iteration]) for iteration in iterations]
        for (ratio, seed), cells in rows.items()
    }
    width = max([WIDTH, *(len(shown) + 2 for line in table.values() for shown in line)])
    lines = {arm.name: [str(iteration) for iteration in iterations], **table}
    name = max(NAME, *map(len, lines))
    return "\n".join(f"{first:<{name}}" + "".join(f"{each:>{width}}" for each in line) for first, line in lines.items())


def entry(cell_status: CellStatus) -> str:
    """What the grid shows for a cell."""
    if cell_status.state == "done":
        return "done" if cell_status.distance is None else f"{cell_status.distance:.4g}"
    if cell_status.state == "waiting":
        return f"to {cell_status.stage}" if cell_status.begun else "."
    return cell_status.state


def render_status(cell_status: CellStatus) -> str:
    """A line about a cell that is neither done nor waiting."""
    where = f" (log: {cell_status.log})" if cell_status.state == "failed" else ""
    return f"  {cell_status.cell.path}: {cell_status.stage}: {cell_status.message or 'has started'}{where}"


def time_left(found: Iterable[CellStatus], folder: Path, jobs: int) -> str:
    """A sentence on how long the rest takes."""
    rest = remaining_work(found, folder)
    if rest.unmeasured and not rest.work:
        return f"time left: not known, for no job of {', '.join(rest.unmeasured)} has ended yet"
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
