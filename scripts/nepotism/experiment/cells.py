"""Cells, the arms they belong to, and ratios. Standard library only."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

# Types of arms that leave the generated images as they are. Every other type has a rule of its own name, which turns
# them into `curated.parquet` before they are mixed in.
PLAIN_TYPES = ("none", "heal", "accumulate", "accumulate_subsample")

# Types whose training sets hold what all generations so far have drawn.
ACCUMULATING_TYPES = ("accumulate", "accumulate_subsample")

# The plain mixture: what healing arms branch off, and what claims compare with.
BRANCHED_ARM = "none"


def canonical_ratio(ratio: float | str) -> str:
    """The only spelling of a ratio that paths use: ``0``, ``3.3``, ``25``."""
    return f"{float(ratio):g}"


def generated_count(ratio: float | str, slots: int) -> int:
    """How many of ``slots`` hold generated images at ``ratio`` percent, rounded half up (3.3 % of 900 is 30)."""
    return int(Fraction(canonical_ratio(ratio)) * slots / 100 + Fraction(1, 2))


@dataclass(frozen=True)
class Cell:
    """One (control, ratio, seed, iteration); iteration counts retrainings, so it is at least 1."""

    control: str
    ratio: str
    seed: int
    iteration: int

    @property
    def path(self) -> str:
        """Folder of the cell inside the experiment's results."""
        return f"{self.control}/ratio-{self.ratio}/seed-{self.seed}/iteration-{self.iteration}"


_CELL_PATH = re.compile(r"([^/]+)/ratio-([^/]+)/seed-(\d+)/iteration-(\d+)(?:/|$)")


def cell_in(path: str) -> Cell | None:
    """The cell that a path lies in; None outside the cells, such as in ``base/``."""
    found = _CELL_PATH.search(path)
    return Cell(found[1], found[2], int(found[3]), int(found[4])) if found else None


@dataclass(frozen=True)
class Arm:
    """A named condition: a type of control with its parameters, the ratios it runs at and the settings it overrides.

    Attributes:
        name: the {control} of paths.
        type: what happens to generated images, or ``heal``.
        ratios: percentages of generated images; for ``heal`` those of the branches it goes on from.
        first: its first iteration: 1, or the one after a healing arm's branching point.
        last: its last iteration.
        parameters: of the type.
        overrides: settings that differ from the config's, by block (`seed_images`, `sample`, `finetune`, or a family's).
        base: folder of its iteration 0, which it shares with all arms that begin in the same way.
    """

    name: str
    type: str
    ratios: tuple[str, ...]
    first: int
    last: int
    parameters: Mapping[str, Any]
    overrides: Mapping[str, Mapping[str, Any]]
    base: str = "base"

    @property
    def curates(self) -> bool:
        """Whether generated images are changed before they are mixed in."""
        return self.type not in PLAIN_TYPES


def arm_of(entry: Mapping[str, Any], iterations: int) -> Arm:
    """The arm that an entry of the config's `arms` describes, in chains of so many ``iterations``; the grid knows its base."""
    parameters = entry.get("parameters", {})
    first, last = 1, entry.get("iterations", iterations)
    if entry["type"] == "heal":
        first, last = parameters["after"] + 1, parameters["after"] + parameters["iterations"]
    ratios = tuple(canonical_ratio(ratio) for ratio in entry["ratios"])
    return Arm(entry["name"], entry["type"], ratios, first, last, parameters, entry.get("overrides", {}))
