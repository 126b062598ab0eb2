"""What the profile of collapse is told of arms: where each begins, and which arm has the same at 0 %. Standard library only."""

from typing import Any

from nepotism.plan import engines
from nepotism.plan.arms import Arm
from nepotism.plan.grid import DIFFUSION, Grid


def described(grid: Grid, arm: Arm) -> dict[str, Any]:
    """An arm, as `nepotism.judge.profiles.Chain` has it; what is as there by default is left out."""
    zero = _at_zero(grid, arm)
    base = engines.beginning(grid, arm).base
    told = {
        "base": base if base != "base" else None,
        "first": arm.first if arm.first != 1 else None,
        "goes_on_from": arm.goes_on_from,
        "zero": zero.name if zero else None,
    }
    return {"arm": arm.name, "ratios": list(arm.ratios)} | {key: value for key, value in told.items() if value}


def _at_zero(grid: Grid, arm: Arm) -> Arm | None:
    """The plain mixture at 0 % of an arm's own settings; None where the experiment has none."""
    if grid.family == DIFFUSION:
        return engines.baseline(grid, arm)
    begun = engines.beginning(grid, arm)
    plain = (each for each in (begun, *grid.arms) if each.is_plain and "0" in each.ratios)
    return next((each for each in plain if grid.family_block(each) == grid.family_block(begun)), None)
