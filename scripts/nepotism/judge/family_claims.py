"""What the claims of families are judged by: scores of one table as effects, and their differences."""

from collections.abc import Mapping, Sequence
from typing import Any

from nepotism.data.tables import Row
from nepotism.judge.contrasts import CellKey, MissingError, Theta, effect_of, mixing
from nepotism.judge.decisions import Effect, Relation, decide
from nepotism.judge.looks import ONCE, Looks
from nepotism.judge.verdicts import Part

# Settings of every arm, with its regime, ratios, last iteration and the {control} of its iteration 0.
Arms = Mapping[str, Mapping[str, Any]]

GERSTGRASSER, KAZDAN = "Gerstgrasser et al., arXiv 2404.01413", "Kazdan et al., arXiv 2410.16713"
ALEMOHAMMAD, BERTRAND = "Alemohammad et al., arXiv 2307.01850", "Bertrand et al., arXiv 2310.00429"

# Of an arm's settings, what it is compared in spite of.
_OWN = ("regime", "ratios", "last", "base", "control", "parameters")


def base_of(arms: Arms, name: str) -> str:
    """The {control} of an arm's iteration 0: the plain one where nothing else is said."""
    base: str = arms[name].get("base", "base")
    return base


def comparable(one: Mapping[str, Any], other: Mapping[str, Any], but: Sequence[str] = ()) -> bool:
    """Whether two arms have the same settings, but for what becomes of earlier data, for how long, and some more keys."""
    apart = {*_OWN, *but}
    return {key: value for key, value in one.items() if key not in apart} == {
        key: value for key, value in other.items() if key not in apart
    }


class FamilyScores:
    """The scores of one table, tables/metrics.csv, and the arms they are of; of several sets, the samples' scores.

    Scores that keep what they are without parts of what they share are compared jointly. Others, such as means over chains, are
    taken as independent within a seed, though arms share random streams: that decides nothing, since verdicts need three seeds.
    """

    def __init__(self, rows: Sequence[Row], arms: Arms, looks: Looks = ONCE) -> None:
        self._arms, self._looks = arms, looks
        self._rows = {
            (row.control, row.ratio, row.seed, row.iteration, row.metric): row for row in rows if row.set == "samples"
        }
        self._seeds = sorted({row.seed for row in rows})

    def value(self, metric: str, place: CellKey, seed: int) -> Effect:
        """A score; iteration 0 is the one that the arm begins with.

        Raises:
            MissingError: if the table does not have it.
        """
        name, ratio, iteration = place
        if iteration == 0:
            name, ratio = base_of(self._arms, name), ""
        row = self._rows.get((name, ratio, seed, iteration, metric))
        if row is None:
            raise MissingError
        return effect_of(row)

    def ends(self, regime: str) -> list[CellKey]:
        """The last cells of every arm of a regime, by ratio: of those that mix original rows with generated ones."""
        return [
            (name, ratio, arm["last"])
            for name, arm in self._arms.items()
            if arm["regime"] == regime
            for ratio in mixing(regime, arm["ratios"])
        ]

    def single(self, metric: str, place: CellKey) -> Theta:
        """A score."""
        return lambda seed: self.value(metric, place, seed)

    def difference(self, metric: str, one: CellKey, other: CellKey, logarithm: bool = False) -> Theta:
        """One score minus another, or the difference of their logarithms."""

        def theta(seed: int) -> Effect:
            values = [self.value(metric, place, seed) for place in (one, other)]
            return values[0].log() - values[1].log() if logarithm else values[0] - values[1]

        return theta

    def part(self, claim: int, statistic: str, relation: Relation, bound: float, theta: Theta) -> Part:
        """A part of a claim, judged; not run where a score is missing."""
        try:
            effects = [theta(seed) for seed in self._seeds]
        except MissingError:
            effects = []
        return Part(claim, "", statistic, relation, bound, decide(effects, relation, bound, self._looks))
