"""What is claimed of recursive Gaussian mixtures, judged from the table of scores alone.

L is the mean over the chains of ln det(covariance), relative to the original's: the spread. I is the last iteration.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nepotism.data.tables import Row
from nepotism.families.gmm.theory import log_generalised_variance
from nepotism.judge.contrasts import Theta
from nepotism.judge.decisions import Effect
from nepotism.judge.family_claims import (
    ALEMOHAMMAD,
    BERTRAND,
    GERSTGRASSER,
    KAZDAN,
    Arms,
    CellKey,
    FamilyScores,
    comparable,
)
from nepotism.judge.looks import ONCE, Looks
from nepotism.judge.verdicts import Claim, Part, verdicts

THEORY, SHUMAILOV = "theory (Wishart)", "Shumailov et al."
STATEMENTS = {
    1: ("one Gaussian loses its spread at the rate that theory gives", THEORY),
    2: ("a mixture loses its spread at the same rate, once it has collapsed", THEORY),
    3: ("the models drift away from the original", SHUMAILOV),
    4: ("the fewer samples, the farther", SHUMAILOV),
    5: ("components are lost", SHUMAILOV),
    6: (
        "tails go first: early on, more of them is lost than of the original shape at the same mean and spread",
        SHUMAILOV,
    ),
    7: ("keeping a tenth of the original samples keeps more of the spread", SHUMAILOV),
    8: ("fitting to all data so far, the spread stays", GERSTGRASSER),
    9: ("fitting to as many samples of all data so far, more of the spread is left than by replacing", KAZDAN),
    10: ("fitted to new original samples beside its own, the spread stays", ALEMOHAMMAD),
    11: ("fitted to all original samples beside its own, the spread stays", BERTRAND),
}
QUESTION = "What is left of a distribution that is fitted to its own samples, again and again?"
NOTATION = (
    "L is the mean over the chains of ln det(covariance), the original's taken off: the spread. I is the last iteration. "
    "Distances are medians of the chains. Seeds share the original samples: what holds between seeds holds given those."
)
# Columns of the table of conditions at their last iterations.
ENDS = ("log_spread", "variance", "density_distance", "lost_components")
# The mean over chains is that of its worst one: a density's distance grows without bound as its spread vanishes.
DISTANCE = "density_distance_median"
# Keys that say which generations are shown, and those that may differ between arms of different sizes.
SHOWN = ("snapshots",)
SIZES = (*SHOWN, "samples", "chains")
# How near an observed rate must be to that of theory, and how much spread counts.
RATE, SPREAD = 0.1, 0.25
# By LATE * M / 2 generations a mixture of M samples has collapsed; beyond LATE * M, the axes of what is left
# differ by more than double precision holds.
LATE = 10


class Judge(FamilyScores):
    """Judges all claims of one table."""

    def __init__(self, rows: Sequence[Row], arms: Arms, looks: Looks = ONCE) -> None:
        super().__init__(rows, arms, looks)
        self._dimensions = len(next(iter(arms.values()))["original"][0]["mean"])

    def parts(self) -> Iterator[Part]:
        """Every part of every claim."""
        replacing = {
            name: arm for name, arm in self._arms.items() if arm["regime"] == "replace" and "100" in arm["ratios"]
        }
        mixtures = {name: arm for name, arm in replacing.items() if arm["n_components"] > 1}
        # Of different sizes, and fitted alike.
        like = mixtures.get("none") or next(iter(mixtures.values()), {})
        of_size = {arm["samples"]: name for name, arm in reversed(mixtures.items()) if comparable(arm, like, but=SIZES)}
        by_size = [of_size[samples] for samples in sorted(of_size)]
        for name, arm in replacing.items():
            late = LATE * arm["samples"]
            if arm["n_components"] == 1:
                yield self._rate(1, name, 0, min(late, arm["last"]))
            elif arm["last"] >= late:
                yield self._rate(2, name, late // 2, late)
        for name, arm in mixtures.items():
            drift = self.difference(DISTANCE, (name, "100", arm["last"]), (name, "100", 0), logarithm=True)
            yield self.part(3, f"ln distance({name},I) - ln distance({name},0)", ">", math.log(1.25), drift)
        for small, large in itertools.pairwise(by_size):
            last = min(mixtures[small]["last"], mixtures[large]["last"])
            gap = self.difference(DISTANCE, (small, "100", last), (large, "100", last), logarithm=True)
            yield self.part(4, f"ln distance({small},I) - ln distance({large},I)", ">", 0.0, gap)
        for name in by_size[:1]:
            lost = self.single("lost_components", (name, "100", mixtures[name]["last"]))
            yield self.part(5, f"lost components({name},I)", ">", 0.25, lost)
        for name, arm in mixtures.items():
            if early := _early(arm):
                statistic = f"ln tail share({name},{early}) - ln that of the original shape"
                yield self.part(6, statistic, "<", 0.0, self._tails((name, "100", early)))
        if "none" in mixtures and "90" in mixtures["none"]["ratios"]:
            last = mixtures["none"]["last"]
            kept = self.difference("log_spread", ("none", "90", last), ("none", "100", last))
            yield self.part(7, "L(none,90,I) - L(none,100,I)", ">", SPREAD, kept)
        yield from self._accumulating(replacing)

        for claim, regime in ((10, "fresh"), (11, "augment")):
            for name, ratio, last in self.ends(regime):
                stays = self.difference("log_spread", (name, ratio, last), (name, ratio, 0))
                yield self.part(claim, f"L({name},{ratio},I) - L({name},0)", "abs <", SPREAD, stays)

    def _accumulating(self, replacing: Arms) -> Iterator[Part]:
        for name, arm in self._arms.items():
            end = (name, "100", arm["last"])
            if arm["regime"] == "accumulate":
                stays = self.difference("log_spread", end, (name, "100", 0))
                yield self.part(8, f"L({name},I) - L({name},0)", "abs <", SPREAD, stays)
            if arm["regime"] == "accumulate_subsample":
                for other, same in replacing.items():
                    if comparable(same, arm, but=SHOWN) and same["last"] >= arm["last"]:
                        more = self.difference("log_spread", end, (other, "100", arm["last"]))
                        yield self.part(9, f"L({name},I) - L({other},I)", ">", SPREAD, more)

    def _rate(self, claim: int, name: str, first: int, last: int) -> Part:
        law = log_generalised_variance(self._arms[name]["samples"], last - first, self._dimensions)
        loss = self.difference("log_spread", (name, "100", last), (name, "100", first))

        def theta(seed: int) -> Effect:
            return loss(seed) / law - Effect(1.0, 0.0)

        return self.part(claim, f"(L({name},{last}) - L({name},{first})) / law - 1", "abs <", RATE, theta)

    def _tails(self, place: CellKey) -> Theta:
        def theta(seed: int) -> Effect:
            share, expected = (self.value(metric, place, seed) for metric in ("tail_share", "tail_share_of_spread"))
            return share.log() - expected.log()

        return theta


def _early(arm: Mapping[str, Any]) -> int | None:
    """The first snapshot by which a tenth of the variance is lost, by the law that it shrinks by 1/M a generation."""
    shown = (snapshot for snapshot in sorted(arm["snapshots"]) if snapshot <= arm["last"])
    return next((snapshot for snapshot in shown if 10 * snapshot >= arm["samples"]), None)


def judge(rows: Sequence[Row], arms: Arms, looks: Looks = ONCE) -> tuple[list[Claim], list[Part]]:
    """All claims, and their parts.

    Args:
        rows: tables/metrics.csv.
        arms: settings of every arm, with its regime and last iteration.
        looks: whether seeds may be added after a look.
    """
    return verdicts(STATEMENTS, Judge(rows, arms, looks).parts())
