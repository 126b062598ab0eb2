"""What is claimed of recursive autoencoders of digits, judged from the table of scores alone. I is the last iteration."""

import math
from collections.abc import Iterator, Sequence

from nepotism.data.tables import Row
from nepotism.judge.family_claims import (
    ALEMOHAMMAD,
    BERTRAND,
    GERSTGRASSER,
    KAZDAN,
    Arms,
    FamilyScores,
    comparable,
)
from nepotism.judge.looks import ONCE, Looks
from nepotism.judge.verdicts import Claim, Part, verdicts

SHUMAILOV = "Shumailov et al."
STATEMENTS = {
    1: ("samples drift away from real digits", SHUMAILOV),
    2: ("digits lose classes", SHUMAILOV),
    3: ("digits resemble each other: under generation 0's encoder they spread less", SHUMAILOV),
    4: (
        "what is lost first is variety: after the first generation, more of recall is gone than of precision",
        SHUMAILOV,
    ),
    5: ("keeping a tenth of the original digits, they drift less", SHUMAILOV),
    6: ("trained on all digits so far, they drift less than when replaced", GERSTGRASSER),
    7: ("trained on as many of all digits so far, they drift less than when replaced", KAZDAN),
    8: ("new original digits beside generated ones hold the distance", ALEMOHAMMAD),
    9: ("all original digits beside generated ones hold the distance", BERTRAND),
}
QUESTION = "What do handwritten digits become when an autoencoder is trained on its own, again and again?"
NOTATION = (
    "FID is the Frechet distance from held-out digits in the features of a classifier that has digits of its own; a class is lost "
    "if it has less than a tenth of an even share of the samples. I is the last iteration; arms are compared at the last that both "
    "have. Seeds share the original digits and the classifier: what holds between seeds holds given those."
)
# Columns of the table of conditions at their last iterations.
ENDS = ("fid", "precision", "recall", "latent_spread", "lost_classes", "rejected")
# How much of the distance, and of the spread, counts.
MORE, LESS = math.log(1.25), math.log(0.8)


class Judge(FamilyScores):
    """Judges all claims of one table."""

    def parts(self) -> Iterator[Part]:
        """Every part of every claim, about arms with real data beside their own, the plain mixture, and those that accumulate."""
        for claim, regime in ((8, "fresh"), (9, "augment")):
            for name, ratio, last in self.ends(regime):
                rise = self.difference("fid", (name, ratio, last), (name, ratio, 0), logarithm=True)
                yield self.part(claim, f"ln FID({name},{ratio},I) - ln FID({name},0)", "<", MORE, rise)
        plain = self._arms.get("none")
        if plain is None or "100" not in plain["ratios"]:
            return
        end, begin = ("none", "100", plain["last"]), ("none", "100", 0)
        drift = self.difference("fid", end, begin, logarithm=True)
        yield self.part(1, "ln FID(100,I) - ln FID(0)", ">", MORE, drift)
        yield self.part(
            2, "lost classes(100,I) - lost classes(0)", ">", 0.5, self.difference("lost_classes", end, begin)
        )
        narrower = self.difference("latent_spread", end, begin, logarithm=True)
        yield self.part(3, "ln spread(100,I) - ln spread(0)", "<", LESS, narrower)
        first = ("none", "100", 1)
        recall, precision = (self.difference(metric, first, begin) for metric in ("recall", "precision"))
        yield self.part(
            4, "[recall(100,1) - recall(0)] - [precision(100,1) - precision(0)]", "<", 0.0,
            lambda seed: recall(seed) - precision(seed),
        )  # fmt: skip
        if "90" in plain["ratios"]:
            less = self.difference("fid", end, ("none", "90", plain["last"]), logarithm=True)
            yield self.part(5, "ln FID(100,I) - ln FID(90,I)", ">", 0.0, less)
        for name, arm in self._arms.items():
            of_regime = {"accumulate": 6, "accumulate_subsample": 7}.get(arm["regime"])
            if of_regime and comparable(arm, plain):
                last = min(arm["last"], plain["last"])
                less = self.difference("fid", ("none", "100", last), (name, "100", last), logarithm=True)
                yield self.part(of_regime, f"ln FID(100,{last}) - ln FID({name},{last})", ">", 0.0, less)


def judge(rows: Sequence[Row], arms: Arms, looks: Looks = ONCE) -> tuple[list[Claim], list[Part]]:
    """All claims, and their parts.

    Args:
        rows: tables/metrics.csv.
        arms: settings of every arm, with its regime and last iteration.
        looks: whether seeds may be added after a look.
    """
    return verdicts(STATEMENTS, Judge(rows, arms, looks).parts())
