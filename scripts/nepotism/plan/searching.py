"""Arms that search for a ratio: what contradicts itself, and how far searches have come. Standard library only."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nepotism.experiment.search import ABOVE, BELOW, Round, certain_ratios, rounds
from nepotism.families import FAMILIES, family_package
from nepotism.plan.arms import Arm
from nepotism.plan.grid import Grid


def is_searching(arm: Mapping[str, Any]) -> bool:
    """Whether an entry of `arms` asks for a search."""
    return isinstance(arm["ratios"], Mapping)


def search_contradictions(config: Mapping[str, Any], key: str, arm: Mapping[str, Any]) -> Iterator[str]:
    """Why an arm cannot search for a ratio.

    Args:
        config: of the right shape.
        key: what the arm is called, such as ``arms[2]``.
        arm: the entry of `arms`.
    """
    if not is_searching(arm):
        return
    low, high = arm["ratios"]["search"]
    if low >= high:
        yield f"`{key}.ratios.search`: {low:g} is not below {high:g}; write [low, high]"
    elif arm["ratios"]["until"] >= high - low:
        yield f"`{key}.ratios.until`: {arm['ratios']['until']:g} is not below {high - low:g}, the width of `search`; nothing is to be found"
    regime, control = arm.get("regime", "replace"), arm.get("control", "none")
    if regime != "replace":
        yield f"`{key}.ratios`: only the plain mixture's ratio is searched for, and of {regime} it means something else; write a list"
    elif control != "none":
        yield f"`{key}.ratios`: arms with a control are judged at each of their ratios, and not searched; write a list"
    elif low > 0 and not any(_is_zero_of(arm, other) for other in config["arms"]):
        yield (
            f"`{key}.ratios.search`: collapse is judged against 0 % of the same settings, which no arm has; begin at 0, or give an "
            "arm of these `overrides` the ratio 0"
        )
    family = config["model"]["family"]
    if family in FAMILIES:
        package = family_package(family)
        declared = package.METRICS[package.HEADLINES[0]]
        if declared.better != "lower":
            yield f"`{key}.ratios`: collapse is judged by a distance, and {declared.name} of the family {family} is none; write a list"


def _is_zero_of(arm: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether an entry of `arms` is the plain mixture of another's settings at 0 %."""
    is_plain = (other.get("regime", "replace"), other.get("control", "none")) == ("replace", "none")
    alike = arm.get("overrides", {}) == other.get("overrides", {}) and arm.get("iterations") == other.get("iterations")
    return is_plain and alike and "0" in certain_ratios(other["ratios"])


def follow(grid: Grid, folder: Path) -> Grid:
    """The grid with the ratios that searches have asked for so far.

    Args:
        grid: of an experiment.
        folder: its results.
    """
    for arm in grid.searching():
        grid.found[arm.name] = tuple(each.next for each in rounds(folder, arm.name) if each.next)
    return grid


def at_most(grid: Grid) -> Grid:
    """The grid with as many ratios as searches can come to ask for."""
    for arm in grid.searching():
        grid.found[arm.name] = arm.search.longest() if arm.search else ()
    return grid


def told(arm: Arm, found: list[Round]) -> str:
    """How far an arm's search has come, in words."""
    assert arm.search is not None
    low, high = arm.search.ends
    if not found:
        return f"{arm.name}: searches between {low} and {high} %, which are run first; {arm.search.most} more ratios at most"
    last = found[-1]
    if last.outcome == ABOVE:
        return f"{arm.name}: searched: no collapse up to {high} %"
    if last.outcome == BELOW:
        return f"{arm.name}: searched: collapse at {low} % already"
    where = f"collapse begins between {last.low} and {last.high} %"
    if last.next is None:
        return f"{arm.name}: searched: {where} (mean of seeds)"
    return f"{arm.name}: {where} (mean of seeds so far); {last.next} % is next, ratio {len(found)} of {arm.search.most} at most"
