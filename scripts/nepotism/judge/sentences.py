"""Sentences of the report: what the tables of claims and of their parts say, in words."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from nepotism.data.tables import Row, floors
from nepotism.judge.decisions import FAILS, HOLDS, LEAST_SEEDS, NOT_RUN
from nepotism.judge.verdicts import CAPTIONS, NOT_DEFINED, Claim, count

NAMES = {"clip": "in CLIP features", "conv": "in random convolutions", "inception": "(FID)"}

# Columns of an effect and its interval in the tables of parts: of the distance, and of its excess over the floor.
OWN, EXCESS = ("value", "ci90_low", "ci90_high"), ("excess", "excess_low", "excess_high")

# The part of claim 2 that compares the distance of a ratio with that of 0 %.
_DEGRADES = re.compile(r"F\(([0-9.]+),I\) - F\(0,I\)$")

# Rows of a table of parts, as text.
Details = Sequence[Mapping[str, str]]


def answer(claims: Sequence[Claim], details: Details) -> str:
    """One paragraph; every number is an effect of the table of claims."""
    sentences = [*_collapse(details), *_mild(details), *_healed(claims, details)]
    return " ".join([*sentences, counted(claims)])


def counted(claims: Sequence[Claim]) -> str:
    several = {HOLDS: "hold", FAILS: "do not hold"}
    counted = {kind: number for kind, number in count(claims).items() if number}
    kinds = ", ".join(
        f"{number} {kind if number == 1 else several.get(kind, kind)}" for kind, number in counted.items()
    )
    return f"Of the {len(claims)} claims: {kinds}."


def _parts(details: Details, claim: int, start: str) -> list[Mapping[str, str]]:
    return [
        part for part in details
        if part["claim"] == str(claim) and part["statistic"].startswith(start) and part["value"]
    ]  # fmt: skip


def floors_of(rows: Sequence[Row]) -> str:
    return " and ".join(f"{value:.3g} {NAMES.get(space, space)}" for space, value in floors(rows).items())


def _factors(parts: Details, keys: Sequence[str] = EXCESS) -> str:
    """Differences of logarithms as factors, one per feature space, with their intervals."""
    return " and ".join(f"{_multiple(part, keys)} {_space(part)}" for part in parts)


def _multiple(part: Mapping[str, str], keys: Sequence[str] = EXCESS, word: str = "") -> str:
    """A difference of logarithms as a factor with its interval; ``word`` follows the factor, as in "2.00 times"."""
    value, low, high = (_factor(part[key]) for key in keys)
    if not 0 < value < math.inf:
        return f"an undefined number of{word}" if word else "not defined"
    return f"{value:.2f}{word}" + (f" ({low:.2f} to {high:.2f})" if low < high else "")


def _measured(space: str) -> str:
    return "by FID" if space == "inception" else NAMES.get(space, f"in {space} features")


def _space(part: Mapping[str, str]) -> str:
    return NAMES.get(part["features"], part["features"])


def _factor(logarithm: str) -> float:
    """Not a number where there is none; what is beyond all reason, such as the end of a useless interval, is infinite."""
    if not logarithm:
        return math.nan
    return math.exp(float(logarithm)) if float(logarithm) < 20 else math.inf


def _distances(parts: Details) -> str:
    """The distances' own factors, beside those of their excess."""
    return f"(the distances themselves: {_factors(parts, OWN)})"


def _collapse(details: Details) -> Iterator[str]:
    worst = _parts(details, 2, "F(100,I)")
    if worst:
        yield (
            "Retrained on its own images only, the model ends at a Fréchet distance from real images whose excess over that of real "
            "images among themselves is this multiple of the excess of the same model retrained on real images: "
            f"{_factors(worst)} {_distances(worst)}."
        )
    captions = _parts(details, 2, "(C(0,I) - C(100,I))")
    if captions:
        shift = float(captions[0]["value"])
        yield f"Its CLIP score is {abs(shift):.2f} standard deviations {'lower' if shift > 0 else 'higher'}."
    flat = _parts(details, 1, "F(0,I)")
    if flat:
        yield f"On real images, the excess ends at this multiple of the base model's: {_factors(flat)}."


def _mild(details: Details) -> Iterator[str]:
    for ratio in ("25", "10", "3.3"):
        parts = _parts(details, 2, f"F({ratio},I)")
        if parts:
            yield (
                f"With {ratio} % of its own images, the excess is this multiple of that of 0 %: {_factors(parts)} "
                f"{_distances(parts)}."
            )


def _healed(claims: Sequence[Claim], details: Details) -> Iterator[str]:
    healed = _parts(details, 9, "F(heal,")
    if healed:
        # F(heal,25,end) - b
        ratio = healed[0]["statistic"].split(",")[1]
        claim = next(claim for claim in claims if claim.claim == 9)
        verdict = "" if claim.verdict == HOLDS else f" (the verdict on claim 9 is “{claim.verdict}”)"
        yield (
            f"The model of {ratio} %, healed by further retraining on real images only, ends at this multiple of the base "
            f"model's excess: {_factors(healed)}{verdict}."
        )


def diagnosis(diagnostics: Details) -> Iterator[str]:
    """A sentence for each arm of other settings and each of its ratios, against 0 % of the same settings."""
    for statistic in dict.fromkeys(part["statistic"] for part in diagnostics):
        parts = [part for part in diagnostics if part["statistic"] == statistic]
        if parts[0]["verdict"] == NOT_RUN:
            yield f"{statistic}: not run; it needs an arm of the same settings at 0 %."
        elif not parts[0]["value"]:
            yield f"{statistic}: {NOT_DEFINED}."
        elif parts[0]["features"] != CAPTIONS:
            yield f"{statistic}: the excess is this multiple of that of its own 0 %: {_factors(parts)} {_distances(parts)}."
        else:
            value, low, high = (parts[0][key] and f"{float(parts[0][key]):.2f}" for key in OWN)
            yield f"{statistic} = {value}" + (f" ({low} to {high})." if low else ".")


def three_sentences(claims: Sequence[Claim], details: Details, last: int) -> list[str]:
    """The answer for a page: what the largest ratio does, what is milder or healed, and how much of it is decided.

    Args:
        claims: tables/claims.csv.
        details: tables/claim_details.csv, as text.
        last: number of retrainings that claims are about.
    """
    ratios = sorted({found[1] for part in details if (found := _DEGRADES.match(part["statistic"]))}, key=float)
    told = [(ratio, parts) for ratio in ratios if (parts := _parts(details, 2, f"F({ratio},I)"))]
    times = f"{last} times" if last > 1 else "once"
    if told:
        ratio, parts = told[-1]
        whose = "its own images only" if ratio == "100" else f"{ratio} % of its own images"
        near, *others = [(_multiple(part, word=" times"), _measured(part["features"])) for part in parts]
        first = (
            f"Retrained {times} on {whose}, the model ends {near[0]} as far from real images, beyond what these are from each "
            f"other, as one retrained on real images only, measured {near[1]}"
            f"{''.join(f', and {each} {space}' for each, space in others)}."
        )
    else:
        first = "No mixture with generated images could be compared with one of real images only."
    milder = [f"with {ratio} % of its own images the multiple is {_factors(parts)}" for ratio, parts in told[:-1][-1:]]
    milder += [sentence[0].lower() + sentence[1:-1] for sentence in _healed(claims, details)]
    flat = _parts(details, 1, "F(0,I)")
    if not milder and flat:
        milder = [
            "on real images only, it ends at this multiple of what the base model's distance is beyond that of real images from each "
            f"other: {_factors(flat)}"
        ]
    second = "; ".join(milder) or "nothing milder, and no healing, was compared"
    return [first, f"{second[0].upper()}{second[1:]}.", decided(claims, details)]


def decided(claims: Sequence[Claim], details: Details) -> str:
    """How many claims got each verdict, and what the intervals are between."""
    seeds = max((int(part["seeds"]) for part in details if part.get("seeds")), default=0)
    few = f"fewer than {LEAST_SEEDS} seeds decide nothing, and intervals are within one run"
    between = few if seeds < LEAST_SEEDS else f"intervals are of 90 %, between {seeds} seeds"
    return f"{counted(claims).removesuffix('.')}; {between}."


def short_sentences(claims: Sequence[Claim], details: Details) -> list[str]:
    """The same of other families: what holds, what does not, and how much of it is decided."""
    told = []
    for kind, words, none in (
        (HOLDS, "It holds that", "No claim is shown to hold."),
        (FAILS, "It does not hold that", "None is shown not to hold."),
    ):
        found = [claim.statement for claim in claims if claim.verdict == kind]
        told.append(f"{words} {'; that '.join(found)}." if found else none)
    return [*told, decided(claims, details)]
