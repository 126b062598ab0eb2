"""Of which arms it is told from which ratio on collapse begins, and by which score. Standard library only."""

from nepotism.plan.arms import Arm
from nepotism.plan.engines import baseline
from nepotism.plan.grid import Grid
from nepotism.plan.status import headline


def mapped(grid: Grid) -> list[tuple[Arm, Arm]]:
    """Arms with two ratios or more above 0, or that search for them, each with the plain mixture of its own settings at 0 %.

    Of regimes that go on from finished cells, take from other chains, or add to all original rows, the ratio is another axis.
    """
    found = []
    for arm in grid.arms:
        regime = arm.regime
        is_axis = regime.takes_ratio and not (regime.branches or regime.listens or regime.adds or regime.accumulates)
        plain = (
            baseline(grid, arm) if is_axis and (arm.search or sum(ratio != "0" for ratio in arm.ratios) > 1) else None
        )
        if plain is not None:
            found.append((arm, plain))
    return found


def threshold_settings(grid: Grid) -> dict[str, object]:
    """What tables and figures of thresholds are made by: the score, and the arms with those that they depart from."""
    return {"metric": headline(grid)[0], "arms": [f"{arm.name}:{plain.name}" for arm, plain in mapped(grid)]}


def search_settings(grid: Grid, arm: Arm) -> dict[str, object]:
    """What a round of an arm's search is decided by."""
    assert arm.search is not None
    metric, features = headline(grid)
    ends = {"low": arm.search.low, "high": arm.search.high, "until": arm.search.until}
    return {**ends, "metric": metric, "features": features, "iteration": arm.last}
