"""What is claimed of recursive language models, judged from the table of scores alone. I is the last iteration."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nepotism.data.tables import Row
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

SHUMAILOV, DRAYSON = "Shumailov et al.", "Drayson et al., arXiv 2502.15654"
ZHU, HOLTZMAN = "Zhu et al., arXiv 2412.14689", "Holtzman et al., arXiv 1904.09751"
STATEMENTS = {
    1: ("perplexity of original text rises by generation", SHUMAILOV),
    2: ("it rises less with a tenth of the original text kept", SHUMAILOV),
    3: ("what is written becomes likelier under generation 0", SHUMAILOV),
    4: ("and the least likely of it becomes less likely: a longer tail", SHUMAILOV),
    5: ("what is written repeats itself more", SHUMAILOV),
    6: ("rare tokens are lost", SHUMAILOV),
    7: ("trained on all text so far, perplexity rises less than when it is replaced", GERSTGRASSER),
    8: ("trained on as much of all text so far, perplexity rises less than when it is replaced", KAZDAN),
    9: ("new original text beside its own holds the perplexity", ALEMOHAMMAD),
    10: ("all original text beside its own holds the perplexity", BERTRAND),
    11: ("filtered by a detector, perplexity rises less than without a filter", DRAYSON),
    12: ("trained on original text whose likely tokens it draws anew, perplexity rises less than on its own text", ZHU),
    13: ("what is written repeats itself more by greedy or beam search than by draws", HOLTZMAN),
}
QUESTION = "What becomes of a language model that is trained on its own text, again and again?"
NOTATION = (
    "Perplexity is that of held-out original text; the median and the tail (99th percentile) are of the blocks that each "
    "generation writes, under generation 0. I is the last iteration; arms are compared at the last that both have. Seeds share "
    "the text: what holds between seeds holds given that."
)
# Columns of the table of conditions at their last iterations.
ENDS = ("perplexity", "sample_perplexity", "sample_perplexity_p99", "repeated_4grams", "rare_tokens_lost")
# Settings of how text is written.
DECODING = ("do_sample", "num_beams", "temperature", "top_k", "top_p", "repetition_penalty")
# How much of the perplexity counts.
MORE = math.log(1.05)


class Judge(FamilyScores):
    """Judges all claims of one table."""

    def parts(self) -> Iterator[Part]:
        """Every part of every claim: on arms with original text beside their own, the plain mixture, and what accumulates as it does."""
        for claim, regime in ((9, "fresh"), (10, "augment")):
            for name, ratio, last in self.ends(regime):
                rise = self.difference("perplexity", (name, ratio, last), (name, ratio, 0), logarithm=True)
                yield self.part(claim, f"ln perplexity({name},{ratio},I) - ln perplexity({name},0)", "<", MORE, rise)
        plain = self._arms.get("none")
        if plain is None or "100" not in plain["ratios"]:
            return
        end, begin = ("none", "100", plain["last"]), ("none", "100", 0)
        rise = self.difference("perplexity", end, begin, logarithm=True)
        yield self.part(1, "ln perplexity(100,I) - ln perplexity(0)", ">", MORE, rise)
        if "90" in plain["ratios"]:
            yield self._less(2, ("none", "90", plain["last"]), "90")
        likelier = self.difference("sample_perplexity", end, begin, logarithm=True)
        yield self.part(3, "ln median(100,I) - ln median(0)", "<", 0.0, likelier)
        tail = self.difference("sample_perplexity_p99", end, begin, logarithm=True)
        yield self.part(4, "ln tail(100,I) - ln tail(0)", ">", 0.0, tail)
        yield self.part(5, "repeated(100,I) - repeated(0)", ">", 0.0, self.difference("repeated_4grams", end, begin))
        yield self.part(6, "rare lost(100,I) - rare lost(0)", ">", 0.0, self.difference("rare_tokens_lost", end, begin))
        for name, arm in self._arms.items():
            if judged := claim_of(arm):
                for ratio in (
                    [each for each in arm["ratios"] if each in plain["ratios"]] if comparable(arm, plain) else ()
                ):
                    yield self._less(judged, (name, ratio, arm["last"]), f"{name},{ratio}", ratio)
            elif is_searched(arm, plain) and "100" in arm["ratios"]:
                last = min(arm["last"], plain["last"])
                more = self.difference("repeated_4grams", (name, "100", last), ("none", "100", last))
                yield self.part(13, f"repeated({name},{last}) - repeated(100,{last})", ">", 0.0, more)

    def _less(self, claim: int, place: CellKey, name: str, ratio: str = "100") -> Part:
        """That the perplexity of a cell is below that of the plain mixture at a ratio."""
        last = min(place[2], self._arms["none"]["last"])
        gap = self.difference("perplexity", ("none", ratio, last), (*place[:2], last), logarithm=True)
        return self.part(claim, f"ln perplexity({ratio},{last}) - ln perplexity({name},{last})", ">", 0.0, gap)


def claim_of(arm: Mapping[str, Any]) -> int | None:
    """The claim that an arm's perplexity rises less than that of the plain mixture at 100 %; None if none is made."""
    if arm.get("control") == "filter":
        return 11 if arm["regime"] == "replace" and arm["parameters"]["source"] == "detector" else None
    if arm.get("control") == "toedit":
        return 12 if arm["regime"] == "replace" else None
    return {"accumulate": 7, "accumulate_subsample": 8}.get(arm["regime"])


def is_searched(arm: Mapping[str, Any], plain: Mapping[str, Any]) -> bool:
    """Whether what an arm's models write is the likeliest continuation that is found, but for which it is like ``plain``, whose
    text is drawn."""
    searched = not arm.get("do_sample", False) and plain.get("do_sample", False)
    return bool(searched and arm["regime"] == plain["regime"] and comparable(arm, plain, DECODING))


def judge(rows: Sequence[Row], arms: Arms, looks: Looks = ONCE) -> tuple[list[Claim], list[Part]]:
    """All claims, and their parts.

    Args:
        rows: tables/metrics.csv.
        arms: settings of every arm, with its regime and last iteration.
        looks: whether seeds may be added after a look.
    """
    return verdicts(STATEMENTS, Judge(rows, arms, looks).parts())
