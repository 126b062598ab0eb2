"""Which arms are remedies, and what each costs beside the plain mixture, by the configuration alone. Standard library only."""

from collections.abc import Iterator, Sequence
from typing import Any

from nepotism.experiment.cells import BASELINE_ARM
from nepotism.plan.arms import Arm
from nepotism.plan.forecast import groups, new_draws, passes_of
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.plan.knobs import images_seen

# Arms that numbered claims are about; what else is compared with the plain mixture is a remedy.
JUDGED = ("histogram_match", "sifid_cull", "heal", "accumulate", "accumulate_subsample", "fresh", "augment")


def remedies(grid: Grid) -> list[Arm]:
    """The arms that are compared with the plain mixture and that no numbered claim is about.

    A mixture that draws its images in another way has an iteration 0 and a 0 % of its own, and is a diagnostic.
    """
    if grid.family != DIFFUSION or all(arm.name != BASELINE_ARM for arm in grid.arms):
        return []
    judged = [grid.judged_arm(kind) for kind in JUDGED]
    others = [
        arm
        for arm in grid.arms
        if arm.name != BASELINE_ARM and arm not in judged and (not arm.is_plain or arm.base == "base")
    ]
    # Beside other remedies, healing on all real images is what repairs are measured by.
    return [arm for arm in grid.arms if arm in others or (others and arm.regime.branches)]


def described(grid: Grid, arm: Arm) -> dict[str, Any]:
    """What is told of a remedy: its words, and its costs for a slot."""
    face = arm.control if arm.is_controlled else arm.regime
    chain = list(_chain(grid, arm))
    arms = dict.fromkeys(each.name for each, _ in chain)
    seen = [_trained(grid, each) for each, _ in chain]
    told: dict[str, Any] = {
        "summary": face.summary,
        "source": face.citation if arm.is_controlled or arm.regime.name != "replace" else "ours",
        "drawn": sum(_drawn(each) for each, _ in chain),
        "passes": sum(_drawn(each) * passes_of(grid, each, iteration) for each, iteration in chain),
        "trained": None if None in seen else sum(filter(None, seen)),
        "real": {ratio: _real_of([grid.arm(name) for name in arms], ratio) for ratio in arm.ratios},
    }
    first = chain[0][1]
    # A repair that follows another is compared with what the first of them goes on from.
    return told if first == arm.first else told | {"after": first - 1}


def _chain(grid: Grid, arm: Arm) -> Iterator[tuple[Arm, int]]:
    """All that a remedy costs, as arms and their iterations: its own, after those of the repairs that it goes on from."""
    before = grid.arm(arm.goes_on_from) if arm.goes_on_from else arm
    if before.regime.branches and before is not arm:
        yield from ((each, iteration) for each, iteration in _chain(grid, before) if iteration < arm.first)
    yield from ((arm, iteration) for iteration in range(arm.first, arm.last + 1))


def _drawn(arm: Arm) -> int:
    """Images that are drawn for a slot at an iteration."""
    if arm.control.name == "filter" and arm.parameters["retrained"]:
        return 2
    if arm.control.name == "sifid_cull" and arm.parameters["replacement"] == "regenerate":
        return 1 + int(arm.parameters["tries"])
    return 1 + new_draws(arm)


def _trained(grid: Grid, arm: Arm) -> float | None:
    """Images that one retraining sees for a slot; None where steps are given, and only the images tell how many slots there are."""
    finetune = grid.block("finetune", arm)
    if not finetune["steps"]:
        return float(finetune["epochs"])
    try:
        slots = groups(dict(grid.config)) * int(grid.config["reference"]["images_per_group"])
    except ValueError:
        return None
    return images_seen(finetune, slots) / slots


def _real_of(arms: Sequence[Arm], ratio: str) -> float | None:
    """The largest such share among repairs that follow each other, whose shares lie in each other."""
    shares = [_real(arm, ratio) for arm in arms]
    return None if None in shares else max(share for share in shares if share is not None)


def _real(arm: Arm, ratio: str) -> float | None:
    """Share of the slots whose real image is trained on; None where it is known only afterwards."""
    if arm.filters:
        return None
    if arm.regime.branches:
        return 0.0 if arm.regime.generates else float(arm.parameters["share"]) / 100
    match arm.regime.name:
        case "replace" | "feed":
            return 1 - float(ratio) / 100
        case "fresh":
            return (arm.last - arm.first + 1) * (1 - float(ratio) / 100)
        case _:
            return 1.0
