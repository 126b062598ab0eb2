"""Which arms are remedies, and what each costs beside the plain mixture, by the configuration alone. Standard library only."""

from collections.abc import Iterator
from typing import Any

from nepotism.experiment.cells import BASELINE_ARM, Cell
from nepotism.plan.arms import Arm
from nepotism.plan.engines import crossed
from nepotism.plan.forecast import groups, new_draws, passes_of, passes_of_treated, share_of_slots
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.plan.knobs import images_seen

# Arms that numbered claims are about; what else is compared with the plain mixture is a remedy.
JUDGED = ("histogram_match", "sifid_cull", "heal", "accumulate", "accumulate_subsample", "fresh", "augment")


def remedies(grid: Grid) -> list[Arm]:
    """The arms that are compared with the plain mixture and that no numbered claim is about.

    An arm of another model, or one that draws its images in another way, but for their mark, has to be compared with a 0 % of its own,
    and so has a plain mixture whose images are marked: they are diagnostics. Claims on engines are about those that another
    model feeds.
    """
    if grid.family != DIFFUSION or all(arm.name != BASELINE_ARM for arm in grid.arms):
        return []
    judged = [*(grid.judged_arm(kind) for kind in JUDGED), *crossed(grid)]
    others = [
        arm
        for arm in grid.arms
        if arm.name != BASELINE_ARM
        and arm not in judged
        and not (_draws_otherwise(arm) or (arm.is_plain and _draws(arm)))
    ]
    # Beside other remedies, healing on all real images is what repairs are measured by.
    return [arm for arm in grid.arms if arm in others or (others and arm in judged and arm.regime.branches)]


def _draws(arm: Arm) -> set[str]:
    """The keys of sampling that an arm overrides."""
    return {key for block in ("initial_images", "sample") for key in arm.overrides.get(block, {})}


def _draws_otherwise(arm: Arm) -> bool:
    return bool(arm.model or _draws(arm) - {"watermark"})


def described(grid: Grid, arm: Arm) -> dict[str, Any]:
    """What is told of a remedy: where it comes from, and its costs for a slot, by ratio."""
    face = arm.control if arm.is_controlled else arm.regime
    chain = list(_chain(grid, arm))
    told: dict[str, Any] = {
        "arm": arm.name,
        "source": face.source_of(arm.parameters) if arm.is_controlled or arm.regime.name != "replace" else "ours",
        "costs": [{"ratio": ratio} | _costs(grid, chain, ratio) for ratio in arm.ratios],
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


def _costs(grid: Grid, chain: list[tuple[Arm, int]], ratio: str) -> dict[str, float | None]:
    """Of all iterations together, for a slot: images drawn, network passes for them, images trained on; and the share of the
    slots whose real image is trained on. None where only the images, or a filter, tell."""
    drawn = passes = 0.0
    trained: list[float | None] = []
    for arm, iteration in chain:
        for count, each in _drawings(grid, arm, ratio, iteration):
            drawn += count
            passes += count * each
        trained.append(_trained(grid, arm, ratio, iteration))
    real = [_real(arm, ratio) for arm, _ in chain]
    return {
        "drawn": round(drawn, 3),
        "passes": round(passes, 3),
        "trained": None if None in trained else round(sum(filter(None, trained)), 3),
        # Of repairs that follow each other, shares lie in each other.
        "real": None if None in real else max(share for share in real if share is not None),
    }


def _drawings(grid: Grid, arm: Arm, ratio: str, iteration: int) -> Iterator[tuple[float, int]]:
    """How many images are drawn for a slot at an iteration, and the network passes of each, by purpose."""
    yield 1.0, passes_of(grid, arm, iteration)
    again = passes_of_treated(grid, arm, iteration)
    # Of the slots that a control treats.
    share = min(1.0, float(ratio) / 100)
    yield share * new_draws(arm), again
    if arm.control.name == "sifid_cull" and arm.parameters["replacement"] == "regenerate":
        # At most: of images that are dropped.
        yield share * int(arm.parameters["tries"]), again
    if arm in grid.detectors() and (iteration == 1 or arm.parameters.get("retrained")):
        yield 1.0, again


def _trained(grid: Grid, arm: Arm, ratio: str, iteration: int) -> float | None:
    """Images that a retraining sees for a slot."""
    finetune = grid.block("finetune", arm)
    if arm.filters and finetune["budget"] == "epochs":
        return None
    share = share_of_slots(grid, Cell(arm.name, ratio, grid.seeds[0], iteration))
    if not finetune["steps"]:
        return float(finetune["epochs"]) * share
    try:
        slots = groups(dict(grid.config)) * int(grid.config["reference"]["images_per_group"])
    except ValueError:
        return None
    return images_seen(finetune, round(slots * share)) / slots


def _real(arm: Arm, ratio: str) -> float | None:
    """Share of the slots whose real image is trained on, those that a detector is trained on left out."""
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
