"""Which arms figures of scores draw, and how. Standard library only."""

from nepotism.plan.arms import Arm
from nepotism.plan.grid import Grid


def lines(grid: Grid, figure: str) -> list[str]:
    """The arms that a figure of scores draws, as name:kind, with the folder of an iteration 0 that is not the plain one.

    Figure 3 is the paper's; arms with other settings, the diagnostics, are in figure 7. Of arms that branch, those that
    are only retrained in another way are in figure 3 too: it is a part of their dose.
    """
    third = figure == "figure_3"
    return [
        f"{arm.name}:{_drawn_as(arm)}" + (f":{arm.base}" if arm.base != "base" else "")
        for arm in grid.arms
        if (_is_in_figure_3(arm) if third else not arm.regime.branches)
    ]


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
    return not arm.overrides or (arm.regime.branches and list(arm.overrides) == ["finetune"])
