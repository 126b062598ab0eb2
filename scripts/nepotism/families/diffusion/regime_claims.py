"""Claims on regimes: does it save the model to keep what was there before, or to bring in what is new?

They are judged where the grid has arms of such regimes, each against the plain mixture of 100 %. F, b, I and delta as in
`nepotism.families.diffusion.claims`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nepotism.judge.contrasts import DELTA, CellKey, Distance, against, base_at, mixing
from nepotism.judge.decisions import Effect, Relation
from nepotism.judge.verdicts import Part

STATEMENTS = {
    13: (
        "accumulating bounds the distance, which replacing does not (from the second to the last iteration)",
        "Gerstgrasser et al., arXiv 2404.01413",
    ),
    14: ("a subsample of what accumulates lies between accumulating and replacing", "Kazdan et al., arXiv 2410.16713"),
    15: ("fresh real images beside the generated ones hold the distance", "Alemohammad et al., arXiv 2307.01850"),
    16: ("all real images beside the generated ones hold the distance", "Bertrand et al., arXiv 2310.00429"),
}
# Regimes that a claim is about, in the order of the claims.
JUDGED = ("accumulate", "accumulate_subsample", "fresh", "augment")

# (claim, feature space, statistic, relation, bound, contrast): see `claims.Judge`.
DistancePart = Callable[[int, str, str, Relation, float, Callable[[Distance, int], Effect]], Part]


def parts(
    space: str, arms: Mapping[str, str], ratios: Callable[[str], list[str]], last: int, part: DistancePart
) -> Iterator[Part]:
    """Every part of every claim in a feature space.

    Args:
        space: of the distance.
        arms: names of the arms by their regime; claims on regimes without one are not run.
        ratios: of an arm.
        last: iteration of the plain mixture.
        part: makes one of a contrast.
    """
    name = {regime: arms.get(regime, regime) for regime in JUDGED}
    end, second = ("none", "100", last), ("none", "100", 2)
    accumulated = {iteration: (name["accumulate"], "100", iteration) for iteration in (2, last)}
    yield part(
        13, space, f"F({name['accumulate']},I) - F({name['accumulate']},2)", "<", DELTA,
        against(accumulated[last], accumulated[2]),
    )  # fmt: skip
    yield part(13, space, "F(none,100,I) - F(none,100,2)", ">", DELTA, against(end, second))
    subsample: CellKey = (name["accumulate_subsample"], "100", last)
    yield part(14, space, f"F(none,100,I) - F({subsample[0]},I)", ">", 0.0, against(end, subsample))
    yield part(
        14, space, f"F({subsample[0]},I) - F({name['accumulate']},I)", ">", 0.0, against(subsample, accumulated[last])
    )
    for claim, regime in ((15, "fresh"), (16, "augment")):
        for ratio in mixing(regime, ratios(name[regime])) or ["r"]:
            cell: CellKey = (name[regime], ratio, last)
            yield part(claim, space, f"F({name[regime]},{ratio},I) - b", "<", DELTA, against(cell, base_at(last)))


def given(arguments: Any) -> dict[str, str]:
    """The arms that the command line names, by their regime."""
    return {regime: name for regime in JUDGED if (name := getattr(arguments, regime, None))}
