"""What collapse may mean of a score: its aspect, its scale, and the published definition that it stands for. Standard library only.

Families declare with this which of their scores the profile of collapse is made of (`PROFILE`); `nepotism.judge.profiles` makes it.
The names of definitions are those of Schaeffer, Kazdan, Arulandu and Koyejo 2025 (arXiv 2503.03150), who found eight in the
literature. Two of them no row can stand for: that the risk diverges, which is about infinitely many iterations, and that scaling laws
change, which takes several sizes of a training set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# Aspects, in the order of the table.
Aspect = Literal["distance", "fidelity", "diversity", "tails", "memorisation", "alignment", "colour"]


@dataclass(frozen=True)
class Scale:
    """How the change of a kind of score is measured, and how much of it counts.

    Attributes:
        name: of the kind of score.
        unit: of a rate.
        margin: a change over a whole chain that counts; that of the claims on this kind of score.
        worse: 1 where higher is worse, -1 where lower is.
        collapsed: how far the last iteration is beyond 0 % where an arm counts as collapsed, in words.
    """

    name: str
    unit: str
    margin: float
    worse: int
    collapsed: str


DELTA, LOST_DIVERSITY, LOST_SHARE, LOST_CAPTIONS = math.log(1.25), -math.log(0.9), 0.05, 0.25
_PER = " per iteration"

DISTANCE = Scale("distance", "ln" + _PER, DELTA, 1, "twice the excess over the floor")
# Distances whose expectation is 0 where nothing is wrong, or that have no floor in the tables.
EXCESS = Scale("distance without a floor", "ln" + _PER, DELTA, 1, "twice as much")
AMOUNT = Scale("amount", "ln" + _PER, LOST_DIVERSITY, -1, "half as much")
# Amounts whose logarithm the score is already.
LOGARITHM = Scale("logarithm of an amount", "ln" + _PER, LOST_DIVERSITY, -1, "half as much")
SHARE = Scale("share", "score" + _PER, LOST_SHARE, -1, "half as much")
# Shares of what is lost.
LOSS = Scale("share of what is lost", "score" + _PER, LOST_SHARE, 1, "half as much left")
CAPTIONS = Scale("caption score", "sd within groups" + _PER, LOST_CAPTIONS, -1, "one sd less")
# Values that have no better direction, but real images have them: the distance of the means.
GAP = Scale("colour", "sd of real images" + _PER, LOST_CAPTIONS, 1, "one sd farther from real images")


@dataclass(frozen=True)
class Profiled:
    """A score of the profile.

    Attributes:
        metric: its name in metrics.csv.
        aspect: what of collapse it tells.
        scale: how it is measured.
        definition: the published definition of collapse that it stands for.
    """

    metric: str
    aspect: Aspect
    scale: Scale
    definition: str


SCHAEFFER = "Schaeffer et al. 2025 (arXiv 2503.03150)"
RISK = f"population risk increases (any increase; catastrophic where it collapsed): {SCHAEFFER}"
HALLUCINATION = (
    f"hallucinated data appear: {SCHAEFFER}; quality falls (MAD): Alemohammad et al. 2023 (arXiv 2307.01850)"
)
VARIANCE = (
    f"variance collapses: {SCHAEFFER}; late collapse: Shumailov et al. 2023 (arXiv 2305.17493); diversity falls (MAD): Alemohammad et al. "
    "2023 (arXiv 2307.01850)"
)
MODES = f"modes of real data entangle, or go: {SCHAEFFER}"
TAILS = f"tails of real data disappear: {SCHAEFFER}; early collapse: Shumailov et al. 2023 (arXiv 2305.17493)"
MEMORISATION = "generalisation turns into memorisation: Shi et al. 2025 (arXiv 2509.16499)"
CAPTIONS_LOST = "images no longer fit their captions: Bohacek and Farid 2023 (arXiv 2311.12202)"
COLOURS_DRIFT = "colours drift: Bohacek and Farid 2023 (arXiv 2311.12202)"


def profiled(aspect: Aspect, scale: Scale, definition: str, metrics: Sequence[str]) -> list[Profiled]:
    """Scores of one kind."""
    return [Profiled(metric, aspect, scale, definition) for metric in metrics]
