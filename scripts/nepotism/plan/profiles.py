"""What the profile of collapse is told of arms: where each begins, and which arm has the same at 0 %. Standard library only."""

from typing import Any

from nepotism.plan import engines
from nepotism.plan.arms import Arm
from nepotism.plan.grid import Grid


def described(grid: Grid, arm: Arm) -> dict[str, Any]:
    """An arm, as `nepotism.judge.profiles.Chain` has it; what is as there by default is left out."""
    zero = engines.baseline(grid, arm)
    base = engines.beginning(grid, arm).base
    told = {
        "base": base if base != "base" else None,
        "first": arm.first if arm.first != 1 else None,
        "goes_on_from": arm.goes_on_from,
        "zero": zero.name if zero else None,
    }
    return {"arm": arm.name, "ratios": list(arm.ratios)} | {key: value for key, value in told.items() if value}
