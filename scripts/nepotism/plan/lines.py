"""Which arms figures of scores draw, and how, and what a page is told of every arm. Standard library only."""

from typing import Any

from nepotism.experiment.cells import BASELINE_ARM
from nepotism.plan.arms import Arm
from nepotism.plan.engines import beginning
from nepotism.plan.grid import DIFFUSION, Grid


def lines(grid: Grid, figure: str) -> list[str]:
    """The arms that a figure of scores draws, as name:kind, with what its lines begin at, where that is not the plain one.

    Figure 3 is the paper's; arms with other settings, the diagnostics, are in figure 7. Of arms that branch, those that
    are only retrained in another way are in figure 3 too: it is a part of their dose. So are all that retrain another model.
    """
    third = figure == "figure_3"
    return [
        f"{arm.name}:{_drawn_as(arm)}" + (f":{start}" if (start := _start(arm)) else "")
        for arm in grid.arms
        if (_is_in_figure_3(arm) if third else not arm.regime.branches)
    ]


def _start(arm: Arm) -> str:
    """The folder of its iteration 0, or the arm that it goes on from; nothing where that is the plain one."""
    if arm.goes_on_from is not None:
        return "" if arm.goes_on_from == BASELINE_ARM else arm.goes_on_from
    return "" if arm.base == "base" else arm.base


def _drawn_as(arm: Arm) -> str:
    """What kind of line stands for an arm in figures."""
    if arm.is_plain:
        return "mixture"
    if arm.is_controlled:
        return "control"
    if arm.regime.branches:
        return "repair" if arm.regime.generates else "heal"
    return "regime"


def _is_in_figure_3(arm: Arm) -> bool:
    return not arm.overrides or bool(arm.model) or (arm.regime.branches and list(arm.overrides) == ["finetune"])


def planned(grid: Grid, arm: Arm) -> dict[str, Any]:
    """What a page is told of an arm: see `nepotism.page.conditions.PlannedArm`."""
    # Of a control, what it does to the usual mixture.
    usual = arm.is_controlled and arm.regime.name == "replace"
    faces = [arm.control.summary] * arm.is_controlled + [arm.regime.summary] * (not usual)
    overridden = ", ".join(f"{block}.{key}" for block, keys in arm.overrides.items() for key in keys)
    return {
        "name": arm.name,
        "about": " ".join(faces) + (f" With settings of its own: {overridden}." if overridden else ""),
        "ratios": list(arm.ratios),
        "iterations": list(grid.iterations_of(arm)),
        "base": beginning(grid, arm).base,
        "goes_on_from": arm.goes_on_from or "",
        **({"anew": True} if _starts_anew(grid, arm) else {}),
        # What a search asks for is not known when its page is planned.
        **({"searches": True} if arm.search else {}),
    }


def _starts_anew(grid: Grid, arm: Arm) -> bool:
    """Whether each retraining of an arm of images starts from the base model."""
    return grid.family == DIFFUSION and grid.block("finetune", arm)["start_from"] == "base"
