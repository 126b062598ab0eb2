"""Verdicts on claims: the rows of claims.csv and claim_details.csv, whatever the claims are about."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from nepotism.judge.decisions import FAILS, HOLDS, NOT_RUN, UNDECIDED, Decision, Relation, conjunction
from nepotism.judge.looks import REPEATED, Looks

# Between the parts of a claim in one cell of the table; no part contains it.
BETWEEN = "; "
# What belongs to no feature space: CLIP scores, and colours.
CAPTIONS, PIXELS = "captions", "pixels"
# Of an effect without a value though its cells were run: a score of 0 that it needs the logarithm of, in some seeds.
NOT_DEFINED = "not defined in every seed"
# The kind of a verdict that differs between feature spaces.
MIXED = "mixed"
# The note of every claim of an experiment to which seeds are added after looking at it.
MANY_LOOKS = "intervals hold for any number of looks"


@dataclass(frozen=True)
class Part:
    """One relation of a claim in one feature space: a row of claim_details.csv.

    Attributes:
        claim: number of the claim.
        features: feature space; ``captions`` for CLIP scores and ``pixels`` for colours, which belong to none.
        statistic: what theta is.
        relation, bound: the part holds where theta stands in this relation to the bound.
        decision: verdict, effect and 90 % interval.
        kid: whether the kernel distance points to the same side: ``agrees``, ``disagrees``, ``cannot be told`` (its interval
            contains 0), or empty where no FID is involved.
        excess: the same contrast of the logarithm of the FID's excess over the floor, which a finite number of images dilutes
            less; None where no FID is involved.
    """

    claim: int
    features: str
    statistic: str
    relation: Relation
    bound: float
    decision: Decision
    kid: str = ""
    excess: Decision | None = None


@dataclass(frozen=True)
class Claim:
    """The verdict on one claim: a row of claims.csv."""

    claim: int
    statement: str
    source: str
    verdict: str
    statistic: str
    kid: str
    note: str

    @property
    def effects(self) -> list[str]:
        """Each part's statistic with its interval."""
        return self.statistic.split(BETWEEN)


def render_part(part: Part) -> str:
    """A part's effect with its interval, and what the claim wants of it."""
    decision = part.decision
    name = f"{part.features}: {part.statistic}" if part.features else part.statistic
    if decision.value is None:
        return f"{name} {NOT_RUN if decision.verdict == NOT_RUN else NOT_DEFINED}"
    wanted = f"|theta| < {part.bound:.3g}" if part.relation == "abs <" else f"{part.relation} {part.bound:.3g}"
    beside = "" if part.excess is None else f", of the excess {_effect(part.excess)}"
    return f"{name} = {_effect(decision)}{beside}, wanted {wanted}"


def _effect(decision: Decision) -> str:
    if decision.value is None or not math.isfinite(decision.value):
        return "not defined" if decision.value is None else f"{decision.value:.3g}"
    interval = "" if decision.low is None else f" [{decision.low:.3g}, {decision.high:.3g}]"
    return f"{decision.value:.3g}{interval}"


def verdicts(statements: Mapping[int, tuple[str, str]], parts: Iterable[Part]) -> tuple[list[Claim], list[Part]]:
    """The claims that belong to no feature space, and their parts in order: a claim holds if all of its parts do.

    Args:
        statements: statement and source of every claim, by its number.
        parts: of all claims.
    """
    ordered = sorted(parts, key=lambda part: part.claim)
    claims = []
    for number, (statement, source) in statements.items():
        mine = [part for part in ordered if part.claim == number]
        verdict = conjunction([part.decision for part in mine])
        claims.append(Claim(number, statement, source, verdict, BETWEEN.join(map(render_part, mine)), "", ""))
    return claims, ordered


def told_looks(claims: Iterable[Claim], looks: Looks) -> list[Claim]:
    """The claims with a note on which intervals they were judged by, where that is not the t interval of a single look."""
    if looks != REPEATED:
        return list(claims)
    return [replace(claim, note="; ".join(filter(None, [claim.note, MANY_LOOKS]))) for claim in claims]


def joined(spaces: Mapping[str, str]) -> str:
    """One verdict for all feature spaces; where they differ, each is named."""
    verdicts = list(dict.fromkeys(spaces.values()))
    if len(verdicts) == 1:
        return verdicts[0]
    named = {verdict: ", ".join(space for space in spaces if spaces[space] == verdict) for verdict in verdicts}
    return BETWEEN.join(f"{verdict} ({where})" for verdict, where in named.items())


def by_space(verdict: str) -> dict[str, str]:
    """The verdict of a claim in every feature space that it names, as `joined` has put them together; of all as one, under ""."""
    if BETWEEN not in verdict:
        return {"": verdict}
    found: dict[str, str] = {}
    for each in verdict.split(BETWEEN):
        words, _, spaces = each.removesuffix(")").rpartition(" (")
        found |= dict.fromkeys(spaces.split(", "), words)
    return found


def count(claims: Iterable[Claim]) -> dict[str, int]:
    """How many claims got each kind of verdict; a verdict that differs between feature spaces counts as ``mixed``."""
    kinds = dict.fromkeys((HOLDS, FAILS, UNDECIDED, MIXED, NOT_RUN), 0)
    for claim in claims:
        kinds[kind_of(claim.verdict)] += 1
    return kinds


def kind_of(verdict: str) -> str:
    """What kind of verdict it is, without its reason; one that differs between feature spaces is ``mixed``."""
    if verdict in (HOLDS, FAILS):
        return verdict
    return MIXED if BETWEEN in verdict else UNDECIDED if verdict.startswith(UNDECIDED) else NOT_RUN
