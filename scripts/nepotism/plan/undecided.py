"""How many more seeds would decide the claims that are undecided, by the tables of claims alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nepotism.data.tables import read_text_csv
from nepotism.judge.decisions import FAILS, HOLDS, LEAST_SEEDS, UNDECIDED, Relation, margin
from nepotism.judge.looks import ONCE, REPEATED, Looks
from nepotism.judge.power import WANTED, Measured, direction, lacking, seeds_needed
from nepotism.judge.verdicts import CAPTIONS, MANY_LOOKS, PIXELS, by_space
from nepotism.runtime.errors import UserError

# Beyond so many seeds in all, another experiment is wanted: more images, or more retrainings.
MOST_SEEDS = 100
COLUMNS = {
    "claims.csv": ("claim", "statement", "verdict", "note"),
    "claim_details.csv": ("claim", "features", "relation", "bound", "value", "ci90_low", "ci90_high", "seeds"),
}


@dataclass(frozen=True)
class Proposal:
    """What would decide a claim.

    Attributes:
        claim, statement: which.
        toward: the verdict that it is on the way to; in words, where feature spaces differ.
        seeds: the least number of seeds in all; None if no number would do.
        power: probability that these decide it; None where it is not known, for too few seeds do not tell how much they differ.
        why: why no number of seeds would do.
    """

    claim: int
    statement: str
    toward: str
    seeds: int | None
    power: float | None
    why: str = ""


@dataclass(frozen=True)
class _Space:
    """A claim in a feature space; of all as one, ``name`` is empty. Parts are None where one of them has no interval."""

    name: str
    verdict: str
    parts: list[Measured] | None


class Tables:
    """The claims of an experiment as they stand.

    Args:
        folder: results of the experiment.

    Raises:
        UserError: if its tables of claims are not there, or are no such tables.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.claims, details = (_read(folder / "tables" / name) for name in COLUMNS)
        self.looks: Looks = REPEATED if any(MANY_LOOKS in claim["note"] for claim in self.claims) else ONCE
        self.seeds = max((int(part["seeds"]) for part in details), default=0)
        self._parts: dict[str, list[dict[str, str]]] = {}
        for part in details:
            self._parts.setdefault(part["claim"], []).append(part)

    def proposals(self) -> list[Proposal]:
        """What would decide each undecided claim, the fewest seeds first."""
        found = [self._proposal(claim) for claim in self.claims if UNDECIDED in claim["verdict"]]
        return sorted(found, key=lambda proposal: (proposal.seeds or math.inf, proposal.claim))

    def unsure(self, seeds: int) -> list[int]:
        """Claims that a single look has decided, and that intervals for any number of looks may leave undecided."""
        if self.looks == REPEATED:
            return []
        return [
            int(claim["claim"])
            for claim in self.claims
            if (decided := [space for space in self._spaces(claim) if space.verdict in (HOLDS, FAILS)])
            and _sure(decided, np.array([seeds])) < WANTED
        ]

    def not_run(self) -> list[int]:
        """Claims that no number of seeds decides, for the experiment does not have their cells."""
        return [int(claim["claim"]) for claim in self.claims if claim["verdict"] == "not run"]

    def _proposal(self, claim: Mapping[str, str]) -> Proposal:
        number, statement = int(claim["claim"]), claim["statement"]
        open_spaces = [space for space in self._spaces(claim) if space.verdict.startswith(UNDECIDED)]
        blocked = next((space.verdict for space in open_spaces if space.verdict != UNDECIDED), None)
        if blocked:
            *_, why = (note for note in claim["note"].split("; ") if note != MANY_LOOKS)
            return Proposal(number, statement, "", None, None, f"{blocked}: {why}")
        if self.seeds < LEAST_SEEDS:
            return Proposal(number, statement, "", LEAST_SEEDS, None)
        parts = [space.parts for space in open_spaces if space.parts]
        if len(parts) < len(open_spaces):
            return Proposal(number, statement, "", None, None, "an effect has no interval: a score is 0 in some seeds")
        toward = _toward({space.name: direction(space.parts or []) for space in open_spaces})
        needed = seeds_needed(parts, self.seeds, MOST_SEEDS)
        if needed is None:
            why = f"not even {MOST_SEEDS} seeds would, at today's effect and spread"
            return Proposal(number, statement, toward, None, None, why)
        return Proposal(number, statement, toward, *needed)

    def _spaces(self, claim: Mapping[str, str]) -> Iterator[_Space]:
        """The feature spaces that a claim is judged in, as `claims.judge` sees them."""
        mine = self._parts.get(claim["claim"], [])
        verdicts = by_space(claim["verdict"])
        if "" in verdicts:
            named = dict.fromkeys(part["features"] for part in mine if part["features"] not in (CAPTIONS, PIXELS))
            verdicts = dict.fromkeys(named or [""], verdicts[""])
        for space, verdict in verdicts.items():
            parts = [part for part in mine if part["features"] in (space, CAPTIONS, PIXELS)]
            measured = [self._measured(part) for part in parts]
            known = [part for part in measured if part is not None]
            yield _Space(space, verdict, known if known and len(known) == len(measured) else None)

    def _measured(self, part: Mapping[str, str]) -> Measured | None:
        """A part with the standard deviation between seeds that its interval was made of; None without an interval."""
        if not part["ci90_low"] or int(part["seeds"]) < LEAST_SEEDS:
            return None
        mean, low, high = (float(part[column]) for column in ("value", "ci90_low", "ci90_high"))
        if not all(map(math.isfinite, (mean, low, high))):
            return None
        count = int(part["seeds"])
        relation: Relation = part["relation"]  # type: ignore[assignment]
        return Measured(
            relation, float(part["bound"]), mean, (high - low) / 2 / margin(count, self.looks) * math.sqrt(count)
        )


def _sure(spaces: Sequence[_Space], seeds: NDArray[np.int_]) -> float:
    """Probability, at least, that a claim is decided in some feature spaces; 1 where there is no interval to judge by."""
    return 1 - sum(float(lacking(space.parts, seeds)[0]) for space in spaces if space.parts)


def _read(path: Path) -> list[dict[str, str]]:
    """A table of claims."""
    if not path.is_file():
        raise UserError(f"there is no {path}; ask Snakemake for it, or wait until the experiment has run")
    rows = read_text_csv(path)
    for number, row in enumerate(rows, 2):
        if wrong := [column for column in COLUMNS[path.name] if row.get(column) is None]:
            raise UserError(f"{path} line {number}: no column {wrong[0]}; delete the file and make it anew")
    return rows


def _toward(directions: Mapping[str, str]) -> str:
    """One verdict, or each with the feature space that it is on the way in."""
    if len(set(directions.values())) == 1:
        return next(iter(directions.values()))
    return "; ".join(f"{verdict} ({space})" for space, verdict in directions.items())
