"""Claims on engines: does a model collapse on images that another model drew, and sooner or later than on its own?

They are judged where an arm is retrained on another model's images only, each against plain mixtures of its own model and settings.
F, I and delta as in `nepotism.families.diffusion.claims`; that another model's images do less harm is judged by the sign, so that
a claim that does not hold says that they do more.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nepotism.judge.contrasts import DELTA, CellKey, Distance, ScoreTable, against
from nepotism.judge.decisions import Effect, Relation
from nepotism.judge.verdicts import Part

PAPER, OURS = "paper", "ours"
# What the paper asks, and leaves open.
ASKED = "asked by Bohacek & Farid, arXiv 2311.12202"

# (claim, feature space, statistic, relation, bound, contrast): see `claims.Judge`.
DistancePart = Callable[[int, str, str, Relation, float, Callable[[Distance, int], Effect]], Part]


@dataclass(frozen=True)
class Fed:
    """An arm that is retrained on another model's images.

    Attributes:
        arm: its name.
        ratios: of it, above 0.
        plain: the plain mixtures of its own model and settings, by ratio; without those that the experiment does not have.
        model, other: what its model is called, and the one whose images it is retrained on.
    """

    arm: str
    ratios: tuple[str, ...]
    plain: Mapping[str, str]
    model: str
    other: str


@dataclass(frozen=True)
class _Question:
    """A claim: which of two cells is farther from real images."""

    statement: str
    source: str
    statistic: str
    bound: float
    worse: CellKey
    better: CellKey
    note: str


def given(words: Sequence[str]) -> list[Fed]:
    """The arms of a command line, which are JSON there."""
    return [Fed(**{**told, "ratios": tuple(told["ratios"])}) for told in map(json.loads, words)]


class EngineClaims:
    """The claims on some arms.

    Args:
        scores: the table of scores.
        arms: that are retrained on another model's images.
        first: number of the first claim.
    """

    def __init__(self, scores: ScoreTable, arms: Sequence[Fed], first: int) -> None:
        asked = (question for fed in arms for ratio in fed.ratios for question in _questions(scores, fed, ratio))
        # Several arms may have a plain mixture in common, which is asked about once.
        self._asked: Mapping[int, _Question] = dict(enumerate(dict.fromkeys(asked), first))

    @property
    def statements(self) -> dict[int, tuple[str, str]]:
        """Statement and source of every claim, by its number."""
        return {number: (asked.statement, asked.source) for number, asked in self._asked.items()}

    @property
    def notes(self) -> dict[int, str]:
        """Why claims are not judged: what they would be compared with is not there."""
        return {number: asked.note for number, asked in self._asked.items() if asked.note}

    def parts(self, space: str, part: DistancePart) -> Iterator[Part]:
        """The part of every claim in a feature space; ``part`` makes one of a contrast."""
        for number, asked in self._asked.items():
            yield part(number, space, asked.statistic, ">", asked.bound, against(asked.worse, asked.better))


def _questions(scores: ScoreTable, fed: Fed, ratio: str) -> Iterator[_Question]:
    """What is asked of an arm at a ratio."""

    def plain(each: str, iteration: int) -> CellKey:
        return fed.plain.get(each, "?"), each, iteration

    last, end = (max(scores.iterations(arm), default=0) for arm in (fed.arm, fed.plain.get(ratio, "?")))
    mine: CellKey = (fed.arm, ratio, last)
    share = "" if ratio == "100" else f" at {ratio} %"

    def asked(statement: str, source: str, bound: float, worse: CellKey, better: CellKey) -> _Question:
        lacking = next((each for name, each, _ in (better, worse) if name == "?"), None)
        note = f"no plain mixture of {fed.model} has {lacking} % at its settings, and another model's does not stand in for it"
        names = [f"F({name},{each},I)" for name, each, _ in (worse, better)]
        return _Question(statement, source, " - ".join(names), bound, worse, better, note if lacking else "")

    yield asked(f"{fed.model} collapses on its own images{share}", PAPER, DELTA, plain(ratio, end), plain("0", end))
    yield asked(
        f"{fed.model} collapses on images of {fed.other}{share} ({fed.arm})", ASKED, DELTA, mine, plain("0", last)
    )
    milder = f"images of {fed.other} do {fed.model} less harm than its own{share} ({fed.arm})"
    yield asked(milder, OURS, 0.0, plain(ratio, last), mine)
