"""The conditions that a page shows: arms at a ratio, as the configuration plans them, and the chain of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nepotism.experiment.cells import BASELINE_ARM, Cell


@dataclass(frozen=True)
class PlannedArm:
    """What a page is told of an arm: `nepotism.plan.lines.planned`, as JSON.

    Attributes:
        name: the {control} of paths.
        about: a sentence on what it does.
        ratios: percentages, as paths have them.
        iterations: those that have a cell of their own.
        base: folder of the iteration 0 that it begins at, or that the arm does which it goes on from.
        goes_on_from: the arm that it branches off; empty where it begins at iteration 0.
        anew: whether each of its models starts from the base model, and not from the model before.
        searches: whether it has asked for more ratios than these, between them.
    """

    name: str
    about: str
    ratios: tuple[str, ...]
    iterations: tuple[int, ...]
    base: str
    goes_on_from: str = ""
    anew: bool = False
    searches: bool = False

    def found(self, scores: Sequence[Mapping[str, str]]) -> "PlannedArm":
        """The arm with the ratios that its search has asked for.

        Args:
            scores: tables/metrics.csv.
        """
        scored = {row["ratio"] for row in scores if row["control"] == self.name} if self.searches else set()
        return replace(self, ratios=tuple(sorted({*self.ratios, *scored}, key=float))) if scored else self


@dataclass(frozen=True)
class Condition:
    """An arm at one of its ratios."""

    arm: PlannedArm
    ratio: str

    @property
    def key(self) -> str:
        """A name without spaces."""
        return f"{self.arm.name}-{self.ratio}"

    @property
    def label(self) -> str:
        """What people read."""
        if self.arm.name == BASELINE_ARM:
            return f"{self.ratio} % generated"
        return f"{self.arm.name}, {'after ' if self.arm.goes_on_from else ''}{self.ratio} % generated"

    def cells(self, seed: int) -> list[Cell]:
        """Its own cells of a replicate."""
        return [Cell(self.arm.name, self.ratio, seed, iteration) for iteration in self.arm.iterations]


def conditions(arms: Sequence[PlannedArm]) -> list[Condition]:
    """Every arm at every ratio, in the order of the configuration."""
    return [Condition(arm, ratio) for arm in arms for ratio in arm.ratios]


def chain(arms: Sequence[PlannedArm], condition: Condition, seed: int) -> list[Cell]:
    """All retrainings that end a condition's chain, from the first, also those of the arm that it branches off."""
    own = condition.cells(seed)
    if not condition.arm.goes_on_from:
        return own
    before = next(arm for arm in arms if arm.name == condition.arm.goes_on_from)
    earlier = chain(arms, Condition(before, condition.ratio), seed)
    return [cell for cell in earlier if cell.iteration < own[0].iteration] + own
