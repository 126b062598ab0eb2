"""Cells and ratios. Standard library only."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

# The plain mixture: what healing arms branch off, and what claims compare with.
BASELINE_ARM = "none"


def canonical_ratio(ratio: float | str) -> str:
    """The only spelling of a ratio that paths use: ``0``, ``3.3``, ``25``."""
    return f"{float(ratio):g}"


def generated_count(ratio: float | str, slots: int) -> int:
    """How many of ``slots`` hold generated images at ``ratio`` percent, rounded half up (3.3 % of 900 is 30)."""
    return int(Fraction(canonical_ratio(ratio)) * slots / 100 + Fraction(1, 2))


def draw_count(ratio: float | str) -> int:
    """How many rows of a slot a ratio takes at most: 1 up to 100 percent, 3 at 250; 0 at ratio 0."""
    return math.ceil(Fraction(canonical_ratio(ratio)) / 100)


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
