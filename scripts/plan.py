"""Print what would decide the undecided claims of an experiment: how many more seeds, at what cost, the cheapest first.

python scripts/plan.py results/faces                # look only
python scripts/plan.py results/faces --apply 2      # write an experiment file that asks for what two hours decide; run nothing
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from nepotism.data.user_tables import positive
from nepotism.judge.decisions import LEAST_SEEDS
from nepotism.judge.power import WANTED
from nepotism.plan import configfiles
from nepotism.plan.price import price
from nepotism.plan.requests import Budget, Cost, Plan, Request, number, request, told_cost, write_experiment
from nepotism.plan.results import read_grid
from nepotism.plan.undecided import Proposal
from nepotism.runtime import cli

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="an experiment's results, such as results/faces")
    parser.add_argument(
        "--apply",
        type=above_0,
        metavar="HOURS",
        help="write an experiment file that asks for what so many hours decide",
    )
    parser.add_argument("--gigabytes", type=above_0, metavar="GB", help="disk that may be used; without it, any")
    parser.add_argument("--jobs", type=int, default=1, help="jobs at a time, by which hours of work are divided")
    parser.add_argument(
        "--output", type=Path, help="the experiment file; without it, resources/experiments/<experiment>-more.yaml"
    )
    parser.add_argument("--rates", type=Path, default=ROOT / "resources" / "rates.csv", help="measured speeds (CSV)")
    cli.run(run, parser.parse_args())


def above_0(word: str) -> float:
    """A number on the command line."""
    value = positive(word)
    if value is None:
        raise argparse.ArgumentTypeError(f"'{word}' is no number above 0")
    return value


def run(arguments: argparse.Namespace) -> None:
    grid = read_grid(arguments.folder)
    plan = Plan(grid, arguments.folder, price(grid, arguments.folder, arguments.rates), arguments.jobs)
    print("\n".join(rendered(plan)))
    if arguments.apply is not None:
        asked = request(plan, Budget(arguments.apply, arguments.gigabytes))
        file = arguments.output or ROOT / "resources" / "experiments" / f"{grid.experiment}-more.yaml"
        # `cells` too: where Snakemake has no memory of how tables were made, it would leave them as they are.
        command = f"snakemake --cores all all cells --configfile {as_typed(file)}"
        head = f"seeds {span(asked.new)}, for {listed([proposal.claim for proposal in asked.claims])}.\n    {command}"
        write_experiment(file, plan, asked, configfiles.read(ROOT / "workflow_config.yaml"), head)
        print("\n" + "\n".join(rendered_request(plan, asked, as_typed(file), command)))


def rendered(plan: Plan) -> Iterator[str]:
    """The plan as lines of text."""
    tables, reachable, one = plan.tables, plan.reachable, plan.price
    yield (
        f"{plan.grid.experiment}: {len(tables.claims)} claims after {tables.seeds} seeds: {len(plan.proposals)} undecided, "
        f"{len(tables.not_run())} not run"
    )
    hours, size = (None if each is None else each / unit for each, unit in ((one.seconds, 3600), (one.size, 1e9)))
    yield f"one more seed: {one.cells} cells, {number(hours)} hours of work, {number(size)} GB ({one.source})"
    if reachable:
        yield f"\nclaim  seeds  more   cells    hours       GB  power  {'on the way to' if tables.seeds >= LEAST_SEEDS else ''}"
        yield from (row(proposal, seeds, plan.cost(seeds)) for proposal, seeds in reachable)
        yield ""
    for proposal in plan.proposals:
        if not proposal.seeds:
            yield f"no number of seeds decides claim {proposal.claim} ({proposal.statement}): {proposal.why}"
    if tables.not_run():
        yield f"not run: {listed(tables.not_run())}: what decides these is not seeds, but arms or ratios that are not in the grid"
    if reachable and tables.seeds < LEAST_SEEDS:
        yield f"fewer than {LEAST_SEEDS} seeds do not tell how much seeds differ: look again when there are as many"
    elif reachable:
        yield (
            f"power is {WANTED:.0%} or more, at today's effect and spread, by intervals that hold for any number of looks: with "
            "more seeds, all claims are judged by them"
        )
        if unsure := tables.unsure(max(seeds for _, seeds in reachable)):
            yield f"decided by a single look, and perhaps not by those: {listed(unsure)}"
    if plan.refusal:
        yield plan.refusal


def row(proposal: Proposal, seeds: int, cost: Cost) -> str:
    """A line of the table."""
    power = "?" if proposal.power is None else f"{proposal.power:.0%}"
    aim = f"{proposal.toward}: " if proposal.toward else ""
    return (
        f"{proposal.claim:>5}  {seeds:>5}  {f'+{cost.seeds}':>4}  {cost.cells:>6}  {number(cost.hours):>7}  "
        f"{number(cost.gigabytes):>7}  {power:>5}  {aim}{proposal.statement}"
    )


def rendered_request(plan: Plan, asked: Request, file: Path, command: str) -> Iterator[str]:
    """What was written, and what was not, as lines of text."""
    cost = plan.cost(asked.seeds)
    yield (
        f"{file} asks for seeds {span(asked.new)} and nothing else: {cost.cells} cells, {told_cost(cost)}, for "
        f"{listed([proposal.claim for proposal in asked.claims])}"
    )
    for proposal, seeds in asked.beyond:
        yield f"not within the budget: claim {proposal.claim}, which takes {told_cost(plan.cost(seeds))}"
    yield f"nothing was started; run it with: {command}"


def listed(claims: Sequence[int]) -> str:
    """Claims by their numbers."""
    return f"claim{'s' if len(claims) > 1 else ''} {', '.join(map(str, claims))}"


def span(seeds: Sequence[int]) -> str:
    """Seeds that follow each other."""
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])


def as_typed(file: Path) -> Path:
    """A file as one would type it where one is."""
    return file.resolve().relative_to(Path.cwd()) if file.resolve().is_relative_to(Path.cwd()) else file


if __name__ == "__main__":
    main()
