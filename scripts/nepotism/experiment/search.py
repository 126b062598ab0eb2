"""A search for the ratio at which collapse begins: bisection between two ratios, round by round. Standard library only.

A round judges ratios that were run and asks for the next one, half-way between the largest at which there is no collapse and the
least at which there is. What it has found is a file: `ROUNDS` of its arm, ``round-1.json`` and so on.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nepotism.experiment.cells import canonical_ratio

# Folder of the rounds of all arms, inside an experiment's results.
ROUNDS = "tables/search"

# How a search ends.
BETWEEN, ABOVE, BELOW = "between", "above", "below"
SEARCHING = "searching"
# Ratios are rounded to six digits.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Search:
    """What an arm asks for in place of a list of ratios.

    Attributes:
        low, high: ratios in percent, 0 <= low < high <= 100; at 0 there is no collapse by definition.
        until: points of the ratio that may be left between the two ends of what is found.
    """

    low: float
    high: float
    until: float

    @property
    def ends(self) -> tuple[str, str]:
        """The ratios that are run in any case."""
        return canonical_ratio(self.low), canonical_ratio(self.high)

    @property
    def most(self) -> int:
        """How many ratios between its ends it asks for at most: as often as the width can be halved until it is small enough."""
        return max(0, math.ceil(math.log2((self.high - self.low) / self.until) - _ROUNDING))

    def next(self, low: str, high: str) -> str | None:
        """The ratio to run next; None where the two are close enough."""
        if float(high) - float(low) <= self.until + _ROUNDING:
            return None
        return canonical_ratio((float(low) + float(high)) / 2)

    def may_ask(self, ratio: str) -> bool:
        """Whether some course of the search asks for a ratio."""
        low, high = self.ends
        while ratio not in (low, high):
            middle = self.next(low, high)
            if middle is None:
                return False
            low, high = (low, middle) if float(ratio) <= float(middle) else (middle, high)
        return True

    def longest(self) -> tuple[str, ...]:
        """The ratios of a course that takes as many as any: for what may be needed at most."""
        low, high = self.ends
        found: list[str] = []
        while middle := self.next(low, high):
            found.append(middle)
            high = middle
        return tuple(found)


def search_of(ratios: Sequence[float] | Mapping[str, Any]) -> Search | None:
    """The search that an arm's checked `ratios` asks for; None where they are a list."""
    if not isinstance(ratios, Mapping):
        return None
    low, high = ratios["search"]
    return Search(float(low), float(high), float(ratios["until"]))


def certain_ratios(ratios: Sequence[float] | Mapping[str, Any]) -> list[str]:
    """The ratios of an arm that are run whatever is found, as paths have them."""
    if isinstance(ratios, Mapping):
        return [canonical_ratio(end) for end in ratios["search"]]
    return [canonical_ratio(ratio) for ratio in ratios]


@dataclass(frozen=True)
class Round:
    """What is known after a round.

    Attributes:
        low, high: the largest ratio without collapse so far, and the least with it.
        next: the ratio that is asked for; None at the end.
        outcome: ``searching``; ``between`` the two; ``above`` the search's upper end, or ``below`` its lower one.
        tried: each ratio that was judged, with the mean of theta over the seeds.
    """

    low: str
    high: str
    next: str | None
    outcome: str
    tried: tuple[tuple[str, float], ...]


def rounds(folder: Path, arm: str) -> list[Round]:
    """The rounds of an arm that have ended, in order.

    Args:
        folder: an experiment's results.
        arm: its name.
    """
    found: list[Round] = []
    while (file := folder / ROUNDS / arm / f"round-{len(found) + 1}.json").is_file():
        found.append(read_round(file))
        if found[-1].next is None:
            break
    return found


def read_round(file: Path) -> Round:
    """A round that `Round` was written as."""
    known = json.loads(file.read_text(encoding="utf-8"))
    tried = tuple((each["ratio"], each["theta"]) for each in known["tried"])
    return Round(known["low"], known["high"], known["next"], known["outcome"], tried)
