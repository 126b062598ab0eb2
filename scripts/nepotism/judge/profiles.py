"""The profile of collapse: in which sense an arm collapses, how fast, and how sure that is.

Of every score the rate of an arm is, seed by seed, the least-squares slope over the iterations of its chain, from the one that it
begins at; on the scale of `nepotism.experiment.aspects`. What decides is its difference to the rate of 0 % generated images over
the same iterations, which shares noise and real images with it; where the experiment has no such chain, the rate itself. Both have
the claims' interval between seeds (`nepotism.judge.decisions`). With m, the claims' margin for that kind of score, over the number of
iterations, and signs such that more is worse:

    stable       the interval lies inside (-m, m)
    improving    it lies below -m
    collapsed    it lies above m, and so does the last iteration beyond what counts as collapsed (below)
    degrading    it lies above m
    undecided    else, and always for fewer than three seeds

Collapsed is what has lost half, or doubled, against 0 % at the last iteration (where there is no 0 %, against where the chain
begins). Excess over the floor, share, what is left of a share: v and v0 at 0 %; amount: by its logarithm; caption scores and colours
have no zero, so one standard deviation. How far it is beyond that has an interval between seeds, too, which has to lie above 0:

    distance      ((D - floor) - 2 (D0 - floor)) / floor        an excess may be below 0; without a floor, ln D - ln D0 - ln 2
    share         v0 / 2 - v                                    of what is lost, (1 - v0) / 2 - (1 - v)
    amount        ln v0 - ln v - ln 2
    captions      (v0 - v) / s - 1                              s: the base's sd within groups
    colours       abs(v - real) / sd - abs(v0 - real) / sd - 1  sd: between real images
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nepotism.data.tables import Row
from nepotism.experiment.aspects import AMOUNT, CAPTIONS, DISTANCE, EXCESS, GAP, LOSS, SHARE, Profiled
from nepotism.judge.contrasts import CellKey, MissingError, effect_of
from nepotism.judge.decisions import HOLDS, LEAST_SEEDS, Decision, Effect, Relation, combined, decide
from nepotism.judge.looks import ONCE, Looks

STABLE, DEGRADING, COLLAPSED, IMPROVING, UNDECIDED = "stable", "degrading", "collapsed", "improving", "undecided"
FEW = {1: "one seed", 2: "two seeds"}
NOT_EVERYWHERE = "not measured in every cell"
NOT_DEFINED = "not above 0 everywhere, so that it has no logarithm"


@dataclass(frozen=True)
class Chain:
    """What is profiled: an arm with all of its ratios.

    Attributes:
        arm: its name.
        ratios: its ratios; of one that searches, its ends: those that it has asked for are in the table of scores.
        base: {control} of the iteration 0 that it began with.
        first: its first iteration.
        goes_on_from: the arm from whose cells it branches; empty if it begins at iteration 0.
        zero: the arm that has the same at 0 %; empty where the experiment has none.
    """

    arm: str
    ratios: tuple[str, ...]
    base: str = "base"
    first: int = 1
    goes_on_from: str = ""
    zero: str = ""


@dataclass(frozen=True)
class Entry:
    """One row of profile.csv.

    Attributes:
        control, ratio: the arm and its percentage of generated images.
        features, aspect, metric: the score, and what of collapse it tells.
        rate, ci_low, ci_high: its change per iteration, with the 90 % interval between seeds (within the run for fewer than three); up and
            down as the score itself goes.
        unit: of these.
        compared_with: whose rate is taken off for what decides: the cells at 0 %, or nothing.
        difference, difference_low, difference_high: the rate less that one.
        margin: what decides: see the module.
        beyond, beyond_low, beyond_high: how far the last iteration is beyond what counts as collapsed: see the module.
        state: the word.
        definition: the published definition of collapse that this stands for.
        iterations: how many.
        seeds: how many.
        note: why there is no word, or no rate.
    """

    control: str
    ratio: str
    features: str
    aspect: str
    metric: str
    rate: float | None
    ci_low: float | None
    ci_high: float | None
    unit: str
    compared_with: str
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    margin: float
    beyond: float | None
    beyond_low: float | None
    beyond_high: float | None
    state: str
    definition: str
    iterations: int
    seeds: int
    note: str


class _Scores:
    """Scores of the samples, and of real ones, by cell."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = {
            (row.set, row.features, row.metric, row.control, row.ratio, row.iteration, row.seed): row
            for row in rows
            if row.set in ("samples", "real")
        }
        self.seeds = sorted({row.seed for row in rows})
        self.spaces: dict[str, list[str]] = {}
        self._iterations: dict[tuple[str, str, str, str], set[int]] = {}
        for kind, space, metric, control, ratio, iteration, _ in self._rows:
            if kind == "samples":
                found = self.spaces.setdefault(metric, [])
                found += [] if space in found else [space]
                self._iterations.setdefault((metric, space, control, ratio), set()).add(iteration)

    def iterations(self, metric: str, space: str, control: str, ratio: str) -> list[int]:
        """Iterations of a chain that have a score, of whatever seed."""
        return sorted(self._iterations.get((metric, space, control, ratio), ()))

    def ratios(self, chain: Chain) -> Sequence[str]:
        """Ratios of an arm: those that it was given, and in order where a search has found more."""
        there = {ratio for _, _, control, ratio in self._iterations if control == chain.arm}
        return sorted({*chain.ratios, *there}, key=float) if there - {*chain.ratios} else chain.ratios

    def row(self, name: str, space: str, metric: str, cell: CellKey, seed: int) -> Row:
        """One row.

        Raises:
            MissingError: if it is not in the table.
        """
        found = self._rows.get((name, space, metric, *cell, seed))
        if found is None:
            raise MissingError
        return found


def profile(
    rows: Sequence[Row], scores: Sequence[Profiled], chains: Sequence[Chain], looks: Looks = ONCE
) -> list[Entry]:
    """The table of the profile.

    Args:
        rows: tables/metrics.csv.
        scores: what it is made of, by the family's `PROFILE`.
        chains: every arm.
        looks: whether seeds may be added after a look.
    """
    table = _Scores(rows)
    return [
        entry
        for chain in chains
        for ratio in table.ratios(chain)
        for score in scores
        for space in table.spaces.get(score.metric, ())
        for entry in _Line(table, chain, ratio, score, space, looks).entry()
    ]


class _Line:
    """One score of one chain: an entry of the table."""

    def __init__(self, table: _Scores, chain: Chain, ratio: str, score: Profiled, space: str, looks: Looks) -> None:
        self._table, self._chain, self._ratio = table, chain, ratio
        self._score, self._space, self._looks = score, space, looks
        self._scale = score.scale
        own = [i for i in table.iterations(score.metric, space, chain.arm, ratio) if i >= chain.first]
        # Chains of families show some scores of some generations only.
        begins = self._begins(chain, ratio)
        self._cells: list[CellKey] = [begins] if begins else []
        self._cells += [(chain.arm, ratio, iteration) for iteration in own]
        self._zero = self._at_zero()

    def _begins(self, chain: Chain, ratio: str) -> CellKey | None:
        """The cell that a chain begins at; None where that has no such score."""
        cell = (chain.goes_on_from, ratio, chain.first - 1) if chain.goes_on_from else (chain.base, "", 0)
        found = self._table.iterations(self._score.metric, self._space, cell[0], cell[1])
        return cell if cell[2] in found else None

    def _at_zero(self) -> list[CellKey]:
        """The cells at 0 % of the same iterations; none where not all of them are there, and of 0 % itself."""
        zero = self._chain.zero
        if not zero or (zero, "0") == (self._chain.arm, self._ratio):
            return []
        there = self._table.iterations(self._score.metric, self._space, zero, "0")
        cells = [(self._chain.base, "", 0) if not cell[2] else (zero, "0", cell[2]) for cell in self._cells]
        return cells if all(cell[2] in there or not cell[2] for cell in cells) else []

    def entry(self) -> Iterator[Entry]:
        """Its row; none of a chain of which nothing was measured, or a single iteration."""
        if len(self._cells) < 2:
            return
        span = self._cells[-1][2] - self._cells[0][2]
        margin = self._scale.margin / span
        rate, difference = (self._decisions(of, margin) for of in (self._rate, self._difference))
        word, note = UNDECIDED, ""
        if rate is None or difference is None:
            note = NOT_EVERYWHERE
        else:
            # Where a score of every seed is 0 or less, the rule would judge an infinite rate; what is no number has no word.
            is_number = _bounds(difference["abs <"])[0] is not None
            note = "" if is_number else NOT_DEFINED
            if difference["abs <"].seeds < LEAST_SEEDS:
                few = FEW[difference["abs <"].seeds]
                word, note = f"{UNDECIDED}: {few}", note or few
            elif is_number:
                word = self._word(difference)
        beyond = self._decisions(self._beyond, 0.0) if difference else None
        if word == DEGRADING and beyond and beyond[">"].verdict == HOLDS:
            word = COLLAPSED
        shown, apart, last = (each["abs <"] if each else None for each in (rate, difference, beyond))
        yield Entry(
            self._chain.arm, self._ratio, self._space, self._score.aspect, self._score.metric,
            *_bounds(shown), self._scale.unit, f"{self._chain.zero} at 0 %" if self._zero else "",
            *_bounds(apart), margin, *_bounds(last), word, self._score.definition, span,
            apart.seeds if apart else len(self._table.seeds), note,
        )  # fmt: skip

    def _word(self, difference: dict[Relation, Decision]) -> str:
        """The word for a rate; what is collapsed is degrading so far."""
        if difference["abs <"].verdict == HOLDS:
            return STABLE
        higher, lower = difference[">"].verdict == HOLDS, difference["<"].verdict == HOLDS
        if higher or lower:
            return DEGRADING if higher == (self._scale.worse > 0) else IMPROVING
        return UNDECIDED

    def _decisions(self, theta: Callable[[int], Effect], margin: float) -> dict[Relation, Decision] | None:
        """What is decided of theta: that it is within the margin, above it, or below its negative; None where a score is missing."""
        effects = self._effects(theta)
        if not effects:
            return None
        relations: list[tuple[Relation, float]] = [("abs <", margin), (">", margin), ("<", -margin)]
        return {relation: decide(effects, relation, bound, self._looks) for relation, bound in relations}

    def _effects(self, theta: Callable[[int], Effect]) -> list[Effect]:
        try:
            return [theta(seed) for seed in self._table.seeds]
        except MissingError:
            return []

    # ---- Thetas

    def _rate(self, seed: int) -> Effect:
        return self._slope(self._cells, seed)

    def _difference(self, seed: int) -> Effect:
        own = self._slope(self._cells, seed)
        return own - self._slope(self._zero, seed) if self._zero else own

    def _slope(self, cells: Sequence[CellKey], seed: int) -> Effect:
        """Least-squares slope over the iterations."""
        centre = sum(cell[2] for cell in cells) / len(cells)
        scale = sum((cell[2] - centre) ** 2 for cell in cells)
        return combined([((cell[2] - centre) / scale, self._value(cell, seed)) for cell in cells])

    def _beyond(self, seed: int) -> Effect:
        """How far the last iteration is beyond what counts as collapsed: above 0 it is."""
        cells = self._cells[-1], self._zero[-1] if self._zero else self._cells[0]
        if self._scale in (DISTANCE, SHARE, LOSS):
            last, other = (self._score_of(cell, seed) for cell in cells)
            if self._scale is SHARE:
                return combined([(0.5, other), (-1.0, last)])
            if self._scale is LOSS:
                return combined([(1.0, last), (-0.5, other)]) - Effect(0.5, 0.0)
            return self._in_floors(combined([(1.0, last), (-2.0, other)]), seed)
        last, other = (self._value(cell, seed) for cell in cells)
        change = last - other if self._scale.worse > 0 else other - last
        return change - Effect(1.0 if self._scale in (CAPTIONS, GAP) else math.log(2), 0.0)

    def _in_floors(self, twice: Effect, seed: int) -> Effect:
        """An excess less twice another one, in floors, of the same of distances."""
        floor = self._known(self._row("real", (self._chain.base, "", 0), seed))
        return combined([(1.0, twice), (1.0, floor)]) / floor.value if floor.value > 0 else Effect(math.nan, None)

    def _value(self, cell: CellKey, seed: int) -> Effect:
        """A score on the scale that its rate is told on."""
        score = self._score_of(cell, seed)
        if self._scale in (DISTANCE, EXCESS, AMOUNT):
            return score.log()
        if self._scale is CAPTIONS:
            spread = f"{self._score.metric}_within_group_sd"
            return score / self._table.row("samples", self._space, spread, (self._chain.base, "", 0), seed).value
        if self._scale is GAP:
            real = self._row("real", (self._chain.base, "", 0), seed)
            if not real.sd:
                raise MissingError
            apart = (score - self._known(real)) / real.sd
            return apart if apart.value >= 0 else combined([(-1.0, apart)])
        return score

    def _score_of(self, cell: CellKey, seed: int) -> Effect:
        return self._known(self._row("samples", cell, seed))

    def _known(self, row: Row) -> Effect:
        """A score with its error within the run where that is looked at: for fewer seeds than there are intervals between."""
        return effect_of(row) if len(self._table.seeds) < LEAST_SEEDS else Effect(row.value, None)

    def _row(self, name: str, cell: CellKey, seed: int) -> Row:
        return self._table.row(name, self._space, self._score.metric, cell, seed)


def _bounds(decision: Decision | None) -> tuple[float | None, float | None, float | None]:
    """A value with its interval; None where it is no number."""
    if decision is None or decision.value is None or not math.isfinite(decision.value):
        return None, None, None
    return decision.value, decision.low, decision.high
