"""The tables of a page: rows of an experiment's tables, with plain words beside them. No number is computed here."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nepotism.judge.decisions import FAILS, HOLDS, LEAST_SEEDS, NOT_RUN, UNDECIDED
from nepotism.judge.verdicts import MIXED, Claim, kind_of
from nepotism.page.conditions import PlannedArm, conditions
from nepotism.page.numbers import Number

Table = Sequence[Mapping[str, str]]

# What a mark is called in the style sheet, by the kind of a verdict or the state of a measure.
MARKS = {
    HOLDS: "yes", FAILS: "no", UNDECIDED: "open", MIXED: "mixed", NOT_RUN: "none",
    "stable": "yes", "improving": "better", "degrading": "mixed", "collapsed": "no",
}  # fmt: skip
SPACES = {
    "clip": "CLIP features", "conv": "random convolutions", "inception": "Inception features", "dinov2": "DINOv2 features",
    "captions": "CLIP score", "pixels": "colours",
}  # fmt: skip
# Why a claim was not run, or cannot be told.
REASONS = {
    "branch not degraded": "what was to be healed had not degraded before",
    "starved": "too few different images were left",
}
# A number with the ends of its interval.
Interval = tuple[Number, Number, Number]
RELATIONS = {"abs <": "within ±", "<": "below ", ">": "above "}
WORST_FIRST = ("collapsed", "degrading", UNDECIDED, "stable", "improving")
# What has no state says so.
UNTOLD = "not told"
# Differences of F, which is a logarithm, and of what else is called ln.
LOGARITHMS = re.compile(r"(mean (of|over i of) )?F\(|ln ")


@dataclass(frozen=True)
class PartRow:
    """One part of a claim: the effect with its interval, the same as a factor where it is a difference of logarithms."""

    space: str
    statistic: str
    effect: Number
    low: Number
    high: Number
    factor: Number | None
    relation: str
    bound: Number
    verdict: str
    mark: str


@dataclass(frozen=True)
class ClaimRow:
    """One claim: its verdict with a mark, and what that means in plain words."""

    number: int
    statement: str
    source: str
    verdict: str
    mark: str
    words: str
    note: str
    kid: str
    parts: list[PartRow]


def claim_rows(claims: Sequence[Claim], details: Table) -> list[ClaimRow]:
    """The claims with their parts.

    Args:
        claims: tables/claims.csv.
        details: tables/claim_details.csv.
    """
    found = []
    for claim in claims:
        parts = [part for part in details if part["claim"] == str(claim.claim)]
        kind = kind_of(claim.verdict)
        found.append(
            ClaimRow(
                claim.claim,
                claim.statement,
                claim.source,
                claim.verdict,
                MARKS[kind],
                _words(claim, kind, parts),
                claim.note,
                claim.kid,
                [_part(part) for part in parts],
            )
        )
    return found


def _words(claim: Claim, kind: str, parts: Table) -> str:
    """What a verdict means."""
    seeds = max((int(part["seeds"]) for part in parts if part["seeds"]), default=0)
    if kind == HOLDS:
        return "Every part is on the claim's side of its bound, with its whole interval."
    if kind == FAILS:
        return "One part or more is on the other side of its bound, with its whole interval."
    if kind == MIXED:
        return "Feature spaces disagree."
    if kind == NOT_RUN:
        reason = claim.verdict.partition(": ")[2]
        return (
            f"Not asked here: {REASONS.get(reason, reason)}."
            if reason
            else "This grid lacks cells that the claim is about."
        )
    if claim.verdict != UNDECIDED:
        reason = claim.verdict.removeprefix(UNDECIDED).strip(" ()")
        return f"It cannot be told: {REASONS.get(reason, reason)}."
    if seeds < LEAST_SEEDS:
        return f"It takes {LEAST_SEEDS} seeds or more to decide, and there {'is' if seeds == 1 else 'are'} {seeds or 'none'}."
    return "An interval reaches across its bound; scripts/plan.py tells whether more seeds would decide it."


def _part(part: Mapping[str, str]) -> PartRow:
    statistic = part["statistic"]
    is_log = LOGARITHMS.match(statistic) is not None and part["value"] != ""
    return PartRow(
        SPACES.get(part["features"], part["features"]),
        statistic,
        Number(part["value"]),
        Number(part["ci90_low"]),
        Number(part["ci90_high"]),
        Number(part["value"], is_log=True) if is_log else None,
        RELATIONS[part["relation"]],
        Number(part["bound"]),
        part["verdict"],
        MARKS[kind_of(part["verdict"])],
    )


@dataclass(frozen=True)
class ProfileRow:
    """One measure of a condition: its rate per iteration, what that is beyond the rate of 0 %, each with its interval, and the state."""

    aspect: str
    metric: str
    space: str
    rate: Interval
    unit: str
    beyond: Interval
    state: str
    mark: str
    definition: str
    seeds: Number
    note: str


@dataclass(frozen=True)
class ProfileOf:
    """The collapse profile of one condition; the first of those with the most collapsed measures is open."""

    label: str
    is_open: bool
    counts: list[tuple[str, str, int]]
    rows: list[ProfileRow]


def profile_rows(profile: Table) -> list[ProfileOf]:
    """The collapse profile, condition by condition.

    Args:
        profile: tables/profile.csv: control, ratio, features, aspect, metric, rate, ci_low, ci_high, unit, state, definition, seeds; and,
            if they are there, difference, difference_low, difference_high and note.
    """
    found = []
    collapsed = Counter((row["control"], row["ratio"]) for row in profile if row["state"] == WORST_FIRST[0])
    keys = list(dict.fromkeys((row["control"], row["ratio"]) for row in profile))
    worst = max(keys, key=collapsed.__getitem__, default=None)
    for control, ratio in keys:
        mine = [row for row in profile if (row["control"], row["ratio"]) == (control, ratio)]
        states = Counter(row["state"] or UNTOLD for row in mine)
        # The worst first; a state of another name comes last.
        order = sorted(states, key=[*WORST_FIRST, *states].index)
        rows = [
            ProfileRow(
                row["aspect"],
                row["metric"],
                SPACES.get(row["features"], row["features"]),
                _with_interval(row, "rate", "ci_low", "ci_high"),
                row["unit"],
                _with_interval(row, "difference", "difference_low", "difference_high"),
                row["state"] or UNTOLD,
                MARKS.get(row["state"], "none"),
                row["definition"],
                Number(row["seeds"]),
                row.get("note", ""),
            )
            for row in mine
        ]
        label = f"{ratio} % generated" if control == "none" else f"{control}, {ratio} %"
        found.append(
            ProfileOf(
                label,
                (control, ratio) == worst,
                [(state, MARKS.get(state, "none"), states[state]) for state in order],
                rows,
            )
        )
    return found


# Columns of tables/remedies.csv that a page shows, as (heading, column, lower end, upper end).
REMEDY_COLUMNS = (
    ("excess left", "share", "share_low", "share_high"),
    ("recall", "recall", "recall_low", "recall_high"),
    ("images drawn", "drawn", "", ""),
    ("images trained on", "trained", "", ""),
    ("real images used", "real", "", ""),
)


@dataclass(frozen=True)
class RemedyRow:
    """One remedy in one feature space; each value with its interval, where it has one."""

    label: str
    compared_with: str
    space: str
    values: list[Interval]
    verdict: str
    mark: str


def remedy_rows(remedies: Table) -> list[RemedyRow]:
    """What every remedy leaves and costs.

    Args:
        remedies: tables/remedies.csv.
    """
    return [
        RemedyRow(
            f"{row['arm']}, {row['ratio']} %",
            row["compared_with"].replace(",", ", "),
            SPACES.get(row["features"], row["features"]),
            [_with_interval(row, *names) for _, *names in REMEDY_COLUMNS],
            row["verdict"],
            MARKS[kind_of(row["verdict"])],
        )
        for row in remedies
    ]


def _with_interval(row: Mapping[str, str], name: str, low: str, high: str) -> Interval:
    """A number with its interval; empty where the table has none."""
    return Number(row.get(name, "")), Number(row.get(low, "")), Number(row.get(high, ""))


@dataclass(frozen=True)
class GridRow:
    """How many of a condition's planned cells have scores."""

    label: str
    about: str
    iterations: str
    done: int
    planned: int


def grid_rows(arms: Sequence[PlannedArm], seeds: Sequence[int], scores: Table) -> list[GridRow]:
    """The state of the grid.

    Args:
        arms: as planned.
        seeds: as planned.
        scores: tables/metrics.csv.
    """
    scored = {(row["control"], row["ratio"], int(row["seed"]), int(row["iteration"])) for row in scores}
    found = []
    for each in conditions(arms):
        cells = [cell for seed in seeds for cell in each.cells(seed)]
        done = sum((cell.control, cell.ratio, cell.seed, cell.iteration) in scored for cell in cells)
        first, last = each.arm.iterations[0], each.arm.iterations[-1]
        found.append(
            GridRow(each.label, each.arm.about, f"{first} to {last}" if last > first else f"{first}", done, len(cells))
        )
    return found


def cost_rows(costs: Table) -> list[tuple[str, Number, Number, Number, Number]]:
    """Time and memory of the jobs of each rule.

    Args:
        costs: tables/cost.csv.
    """
    names = ("jobs", "seconds", "cpu_seconds", "peak_memory_mib")
    return [(row["rule"], *(Number(row[name]) for name in names)) for row in costs]  # type: ignore[misc]
