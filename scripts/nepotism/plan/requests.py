"""The experiment file that asks for more seeds: for as many as a budget decides claims with, and for nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nepotism.chain.regimes import REGIMES
from nepotism.controls import CONTROLS
from nepotism.judge.decisions import LEAST_SEEDS
from nepotism.judge.looks import ONCE, REPEATED, Looks
from nepotism.plan.config import ConfigError, checked
from nepotism.plan.configfiles import laid_over
from nepotism.plan.contradictions import DEFAULTS
from nepotism.plan.grid import Config, Grid
from nepotism.plan.price import Price
from nepotism.plan.undecided import Proposal, Tables
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import write_text

# How a file begins that may be written anew.
OURS = "# Written by scripts/plan.py:"
# What no value is equal to.
_ABSENT = object()


@dataclass(frozen=True)
class Cost:
    """What a number of seeds takes that is not there yet.

    Attributes:
        seeds: more than today.
        cells: that are not there.
        hours, gigabytes: None where that is not known.
    """

    seeds: int
    cells: int
    hours: float | None
    gigabytes: float | None


@dataclass(frozen=True)
class Budget:
    """What more seeds may take: hours, and disk in GB, None where any will do."""

    hours: float
    gigabytes: float | None

    def __str__(self) -> str:
        return f"{self.hours:g} hours" + ("" if self.gigabytes is None else f" and {self.gigabytes:g} GB")

    def allows(self, cost: Cost) -> bool:
        """Whether a cost is known, and within the budget."""
        if self.gigabytes is not None and (cost.gigabytes is None or cost.gigabytes > self.gigabytes):
            return False
        return cost.hours is not None and cost.hours <= self.hours


class Plan:
    """What would decide the undecided claims of an experiment, and what it costs.

    Args:
        grid: of the experiment.
        folder: its results.
        one_seed: what one more seed takes.
        jobs: at a time, by which hours of work are divided.

    Raises:
        UserError: if the tables of claims are not there.
    """

    def __init__(self, grid: Grid, folder: Path, one_seed: Price, jobs: int = 1) -> None:
        self.grid, self.folder, self.price = grid, folder, one_seed
        self.tables = Tables(folder)
        self.proposals = self.tables.proposals()
        self._jobs = max(1, jobs)
        # Seeds that were asked for and are not in the tables yet.
        asked = set(grid.seeds[self.tables.seeds :])
        self._left = sum(
            not (folder / cell.path / "metrics.json").is_file() for cell in grid.cells() if cell.seed in asked
        )

    @property
    def reachable(self) -> list[tuple[Proposal, int]]:
        """Claims that some number of seeds decides, each with that number, the cheapest first."""
        return [(proposal, proposal.seeds) for proposal in self.proposals if proposal.seeds]

    def cost(self, seeds: int) -> Cost:
        """Of all cells that are not there, for a number of seeds in all."""
        cells = self._left + max(0, seeds - len(self.grid.seeds)) * self.price.cells
        share = cells / self.price.cells
        hours = None if self.price.seconds is None else share * self.price.seconds / 3600 / self._jobs
        size = None if self.price.size is None else share * self.price.size / 1e9
        return Cost(seeds - self.tables.seeds, cells, hours, size)

    @property
    def refusal(self) -> str | None:
        """Why seeds cannot be added without changing cells that there are; None if they can."""
        for arm in self.grid.arms:
            if arm.regime.listens and arm.parameters["seed"] == "next":
                return (
                    f"the arm '{arm.name}' feeds each seed from the next (`parameters.seed`): another seed changes chains that "
                    "have run, so seeds are not added"
                )
            if arm.search:
                return (
                    f"the arm '{arm.name}' searches for its ratio by the mean over seeds: with another seed it may ask for others; to "
                    f"add seeds, write the ratios that it has found as a list: ratios: [{', '.join(self.grid.ratios_of(arm))}]"
                )
        return None


@dataclass(frozen=True)
class Request:
    """What a budget decides.

    Attributes:
        claims: that it decides.
        beyond: those that it does not, with the seeds that would.
        seeds: how many in all.
        new: those that are asked for.
    """

    claims: list[Proposal]
    beyond: list[tuple[Proposal, int]]
    seeds: int
    new: list[int]


def request(plan: Plan, budget: Budget) -> Request:
    """Choose the seeds that decide as many claims as the budget allows, the cheapest first.

    Raises:
        UserError: if there is nothing to ask for, and why.
    """
    if told := plan.refusal:
        raise UserError(f"{plan.folder / 'config.json'}: {told}")
    if not plan.reachable:
        raise UserError(f"{plan.folder}: no number of seeds decides what is undecided; nothing written")
    if plan.price.seconds is None:
        raise UserError(f"{plan.folder}: the time of a seed is {plan.price.source}; run one first")
    within = [(proposal, seeds) for proposal, seeds in plan.reachable if budget.allows(plan.cost(seeds))]
    if not within:
        proposal, seeds = plan.reachable[0]
        raise UserError(
            f"{plan.folder}: no claim can be decided within {budget}: the cheapest, claim {proposal.claim}, takes "
            f"{told_cost(plan.cost(seeds))}; nothing written"
        )
    target = max(seeds for _, seeds in within)
    known = plan.grid.seeds
    if target <= len(known):
        raise UserError(f"{plan.folder}: its {len(known)} seeds are asked for already; let Snakemake finish them")
    beyond = [each for each in plan.reachable if each not in within]
    return Request([proposal for proposal, _ in within], beyond, target, extended(known, target)[len(known) :])


def told_cost(cost: Cost) -> str:
    """Hours and disk, in words."""
    return f"{number(cost.hours)} hours and {number(cost.gigabytes)} GB"


def number(value: float | None) -> str:
    """A number as people read it, or that it is not known."""
    return "?" if value is None else f"{value:.3g}"


def extended(seeds: Sequence[int], count: int) -> list[int]:
    """As many seeds, those that there are first: their cells are as they were."""
    return [*seeds, *range(max(seeds) + 1, max(seeds) + 1 + count - len(seeds))]


def write_experiment(file: Path, plan: Plan, asked: Request, defaults: Config, head: str) -> None:
    """Write the experiment file; never over one that somebody has written.

    Args:
        file: where to.
        plan: of the experiment.
        asked: the seeds.
        defaults: workflow_config.yaml, which the file will be laid over.
        head: what the file's first lines say.

    Raises:
        UserError: naming the file that cannot be written, or the configuration that is of another version of the project.
    """
    if file.exists() and not file.read_text(encoding="utf-8").startswith(OURS):
        raise UserError(f"{file} was not written by this script; give another with --output")
    if not file.parent.is_dir():
        raise UserError(f"there is no folder {file.parent}; give another file with --output")
    config = plan.grid.config
    # Fewer than three seeds decide nothing: who looked at them has seen no verdict yet.
    looks: Looks = REPEATED if plan.tables.seeds >= LEAST_SEEDS else config.get("looks", ONCE)
    try:
        named = experiment_with(config, asked.seeds, looks, defaults)
    except (ConfigError, KeyError) as error:
        raise UserError(f"{plan.folder / 'config.json'} is of another version of the project: {error}") from None
    lines = "".join(f"# {line}\n" for line in head.splitlines())
    write_text(
        file,
        OURS
        + lines[1:]
        + yaml.safe_dump(named, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None),
    )


def experiment_with(config: Config, count: int, looks: Looks, defaults: Config) -> dict[str, Any]:
    """An experiment file's keys: the same experiment with more seeds, and nothing else.

    Args:
        config: of the experiment, resolved.
        count: number of seeds in all.
        looks: whether claims are judged by intervals for any number of looks from now on.
        defaults: workflow_config.yaml.

    Raises:
        ConfigError: if the configuration is none of this version of the project.
    """
    wanted = {**config, "seeds": extended(config["seeds"], count), "looks": looks}
    named = {"experiment": wanted["experiment"], **_difference(checked(defaults), wanted)}
    if "arms" in named:
        named["arms"] = [_as_written(arm) for arm in named["arms"]]
    found = checked(laid_over(dict(defaults), named))
    # What is new in this version is at its default.
    if laid_over(found, wanted) != found:
        raise ConfigError("start Snakemake once, which writes it anew")
    return named


def _as_written(arm: Mapping[str, Any]) -> dict[str, Any]:
    """An arm without what is at its default, which it was filled up with: some of that must not be given."""
    schemas = {**REGIMES[arm["regime"]].parameters, **CONTROLS[arm["control"]].parameters}
    kept = {key: value for key, value in arm["parameters"].items() if schemas[key].get("default", _ABSENT) != value}
    faces = {key: arm[key] for key in ("regime", "control") if arm[key] not in DEFAULTS}
    others = {key: value for key, value in arm.items() if key not in ("name", "regime", "control", "parameters")}
    return {"name": arm["name"], **faces, **others, **({"parameters": kept} if kept else {})}


def _difference(below: Config, above: Config) -> dict[str, Any]:
    """What laid over ``below`` makes ``above``."""
    found: dict[str, Any] = {}
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping):
            if inner := _difference(below[key], value):
                found[key] = inner
        elif key not in below or below[key] != value:
            found[key] = value
    return found
