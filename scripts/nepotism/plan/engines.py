"""Base models of one experiment beside each other: which arms feed one with another's images, and what each is compared with.

An arm is never compared with another engine's: what retraining did to it is told by the 0 % of its own model and settings.
"""

from typing import Any

from nepotism.plan.arms import Arm
from nepotism.plan.grid import DIFFUSION, Grid

# Settings that arms have in common which are compared.
SETTINGS = ("initial_images", "sample", "finetune")


def beginning(grid: Grid, arm: Arm) -> Arm:
    """The arm that begins at iteration 0 whose chain an arm goes on with: the arm itself, unless it branches."""
    return beginning(grid, grid.arm(arm.goes_on_from)) if arm.goes_on_from else arm


def baseline(grid: Grid, arm: Arm, ratio: str = "0") -> Arm | None:
    """The plain mixture at a ratio, of an arm's own model and settings: of one that branches, of those that its chain began with.

    None where the experiment has none; of several, one whose chains are as long, if there is one.
    """
    begun = beginning(grid, arm)
    plain = [
        each for each in (begun, *grid.arms) if each.is_plain and ratio in each.ratios and _alike(grid, each, begun)
    ]
    return next((each for each in plain if each.last >= begun.last), plain[0] if plain else None)


def _alike(grid: Grid, one: Arm, other: Arm) -> bool:
    names = SETTINGS if grid.family == DIFFUSION else (grid.family,)
    return one.model == other.model and all(grid.block(name, one) == grid.block(name, other) for name in names)


def crossed(grid: Grid) -> list[Arm]:
    """The arms that are retrained on another model's images, and none of their own: what claims on engines are about."""
    return [
        arm
        for arm in grid.arms
        if arm.regime.listens and arm.parameters["share"] == 100 and feeder(grid, arm).model != arm.model
    ]


def feeder(grid: Grid, arm: Arm) -> Arm:
    """The arm whose chain feeds one that listens."""
    return grid.arm(arm.parameters["other"] or arm.name)


def described(grid: Grid, arm: Arm) -> dict[str, Any]:
    """What claims need to know of an arm that is retrained on another model's images."""
    mine, others = (grid.models[each.model] for each in (arm, feeder(grid, arm)))
    ratios = [ratio for ratio in arm.ratios if ratio != "0"]
    return {
        "arm": arm.name,
        "ratios": ratios,
        "plain": {ratio: plain.name for ratio in ("0", *ratios) if (plain := baseline(grid, arm, ratio))},
        "model": _called(mine, others),
        "other": _called(others, mine),
    }


def _called(source: str, beside: str) -> str:
    """What a model is called in sentences: as its folder, or its repository, is, where that tells it from the other."""
    short, other = (each.rstrip("/").rsplit("/", 1)[-1] for each in (source, beside))
    return source if short == other else short


def diagnosed(grid: Grid) -> list[str]:
    """Arms with settings of their own, as name:base, each to be compared with its own 0 %; or, as name:base:arm, with that arm's.

    These are plain mixtures, and whatever retrains another model than the experiment's.
    """
    found = []
    for arm in grid.arms:
        plain = baseline(grid, arm) if arm.model else None
        if plain and "0" not in arm.ratios:
            found.append(f"{arm.name}:{plain.base}:{plain.name}")
        elif arm.model or (arm.is_plain and arm.overrides):
            found.append(f"{arm.name}:{arm.base}")
    return found
