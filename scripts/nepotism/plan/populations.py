"""Chains that feed others: which one an arm listens to, and what of it contradicts the configuration. Standard library only."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nepotism.experiment.cells import Cell
from nepotism.experiment.search import certain_ratios
from nepotism.plan.arms import Arm


def feeding(arm: Arm, cell: Cell, seeds: Sequence[int]) -> Cell | None:
    """The cell at the same iteration of the chain that feeds an arm's; None if the arm listens to no other.

    Args:
        arm: of the cell.
        cell: whose chain is fed.
        seeds: of the experiment.
    """
    if not arm.regime.listens:
        return None
    position = seeds.index(cell.seed) + (arm.parameters["seed"] == "next")
    return Cell(arm.parameters["other"] or arm.name, cell.ratio, seeds[position % len(seeds)], cell.iteration)


def feed_contradictions(
    config: Mapping[str, Any], key: str, arm: Mapping[str, Any], ratios: Sequence[str]
) -> Iterator[str]:
    """What is wrong with an arm of a regime that also takes what another chain drew.

    Args:
        config: of the right shape.
        key: what the arm is called, such as ``arms[2]``.
        arm: the entry of `arms`.
        ratios: of the arm, as paths have them.
    """
    parameters = arm["parameters"]
    follows = parameters.get("seed", "same") == "next"
    name = parameters["other"] or arm["name"]
    if arm.get("control", "none") != "none":
        yield f"`{key}.control`: the images of the other chain are trained on as they were drawn; leave `control` out"
    if follows and len(config["seeds"]) == 1:
        yield f"`{key}.parameters.seed`: next, but `seeds` has only one; give more"
    if name == arm["name"]:
        if not follows:
            yield f"`{key}.parameters.other`: the chain would be fed from itself; write seed: next, or name another arm"
        return
    named = [each for each in config["arms"] if each["name"] == name]
    if not named:
        names = ", ".join(each["name"] for each in config["arms"])
        yield f"`{key}.parameters.other`: no arm is called '{name}'; there are: {names}"
        return
    other = named[0]
    # Of an arm that goes on from a cell of another.
    first = other.get("parameters", {}).get("after", 0) + 1
    if first > 1:
        yield f"`{key}.parameters.other`: the arm '{name}' begins at iteration {first}; name one that begins at 1"
        return
    last, end = (each.get("iterations", config["iterations"]) for each in (arm, other))
    if end < last:
        yield (
            f"`{key}.parameters.other`: the arm '{name}' ends at iteration {end}, and this one at {last}; give `iterations` of "
            "one of them"
        )
    there = certain_ratios(other["ratios"])
    for ratio in ratios:
        if ratio not in there:
            yield f"`{key}.ratios`: {ratio}, but the arm '{name}' that feeds it has only: {', '.join(there)}"
