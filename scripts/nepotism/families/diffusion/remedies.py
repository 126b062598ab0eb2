"""Remedies: what arms that treat the training set, the images or the model itself leave of the collapse.

Each is compared with the plain mixture of its ratio at the same iteration, or, if it goes on from a finished cell, with that cell. F, b
and delta as in `nepotism.families.diffusion.claims`; the excess is the Frechet distance minus that of real images from other ones.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nepotism.data.tables import Row
from nepotism.experiment.cells import BASELINE_ARM
from nepotism.families.diffusion.contamination import mean_of_filter
from nepotism.judge.contrasts import DELTA, CellKey, Distance, ScoreTable, Theta, against
from nepotism.judge.decisions import FAILS, HOLDS, NOT_RUN, UNDECIDED, Decision, Effect, Relation
from nepotism.judge.looks import ONCE, Looks
from nepotism.judge.verdicts import Part

# Claims on remedies are numbered from here on, in the order of the config's arms.
FIRST_CLAIM = 17
# A remedy that costs more recall than this saves the distance and not the model.
LOST_RECALL = 0.05

# (claim, feature space, statistic, relation, bound, contrast), and the same with what is computed for a seed: see `claims.Judge`.
DistancePart = Callable[[int, str, str, Relation, float, Callable[[Distance, int], Effect]], Part]
OtherPart = Callable[[int, str, str, Relation, float, Theta], Part]


@dataclass(frozen=True)
class Cost:
    """What an arm takes for a slot, at all iterations together, what the cell took that it goes on from left out.

    Attributes:
        drawn: images drawn; of those that culling draws again, at most.
        passes: network passes of sampling for these.
        trained: images that retraining sees; None where only the images tell.
        real: share of the slots whose real image it trains on; None where only a filter tells.
    """

    drawn: float
    passes: float
    trained: float | None
    real: float | None


@dataclass(frozen=True)
class Remedy:
    """What is told of an arm.

    Attributes:
        source: where it comes from.
        costs: by ratio.
        after: iteration of the plain mixture that it is compared with, where that is not the one before its first: of a repair
            that follows another.
    """

    source: str
    costs: Mapping[str, Cost]
    after: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What an arm came to at a ratio, in a feature space: a row of remedies.csv.

    Attributes:
        arm, ratio, iteration: its last cell.
        compared_with: the cell of the plain mixture that it is compared with.
        share: its excess over that one's; low and high are the 90 % interval between seeds. None where an excess is not above 0.
        recall: its recall minus that one's, with interval.
        within_group_distance: its diversity inside groups over that one's, with interval.
        clip_score: its CLIP score minus that one's.
        verdict: whether the distance ends lower, by more than delta, and recall is not lost.
        contamination, false_positive_rate, false_negative_rate, rows_lost: of a filter, means over seeds and iterations.
        drawn, passes, trained, real: see `Cost`; of a filter, ``real`` counts the images that it left, on average.
    """

    arm: str
    ratio: str
    iteration: int
    compared_with: str
    features: str
    share: float | None
    share_low: float | None
    share_high: float | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    within_group_distance: float | None
    within_group_distance_low: float | None
    within_group_distance_high: float | None
    clip_score: float | None
    verdict: str
    contamination: float | None
    false_positive_rate: float | None
    false_negative_rate: float | None
    rows_lost: float | None
    drawn: float
    passes: float
    trained: float | None
    real: float | None
    seeds: int


def given(words: Sequence[str]) -> dict[str, Remedy]:
    """The remedies of a command line, which are JSON there, in their order."""
    found = {}
    for told in map(json.loads, words):
        name, costs = told.pop("arm"), {cost.pop("ratio"): Cost(**cost) for cost in told.pop("costs")}
        found[name] = Remedy(costs=costs, **told)
    return found


def _claimed(remedies: Mapping[str, Remedy]) -> list[tuple[int, str, str, Remedy]]:
    """The claims on remedies: number, arm, ratio and what is told of the arm. Each ratio has its own: a healthy model is another
    question than a collapsed one."""
    pairs = [(name, ratio, remedy) for name, remedy in remedies.items() for ratio in remedy.costs]
    return [(number, *pair) for number, pair in enumerate(pairs, FIRST_CLAIM)]


def statements(remedies: Mapping[str, Remedy]) -> dict[int, tuple[str, str]]:
    """Statement and source of the claim on every remedy at every ratio, by its number."""
    return {
        number: (
            f"the arm {name} at {ratio} % ends nearer to real images than without it, and as diverse",
            remedy.source,
        )
        for number, name, ratio, remedy in _claimed(remedies)
    }


def parts(
    scores: ScoreTable, space: str, remedies: Mapping[str, Remedy], distance: DistancePart, other: OtherPart
) -> Iterator[Part]:
    """Every part of every claim in a feature space.

    Args:
        scores: the table of scores.
        space: of the distance.
        remedies: by the names of their arms.
        distance, other: make a part of a contrast of distances, and of what is computed for a seed.
    """
    for claim, arm, ratio, remedy in _claimed(remedies):
        pair = _Pair(scores, space, arm, ratio, remedy.after)
        one, two = _named(pair.end), _named(pair.plain)
        yield distance(claim, space, f"F({two}) - F({one})", ">", DELTA, against(pair.plain, pair.end))
        yield other(claim, space, f"recall({one}) - recall({two})", ">", -LOST_RECALL, pair.more("recall"))


class _Pair:
    """The last cell of an arm at a ratio, and the cell of the plain mixture that it is compared with, in a feature space."""

    def __init__(self, scores: ScoreTable, space: str, arm: str, ratio: str, after: int | None) -> None:
        self._scores, self._space = scores, space
        iterations = scores.iterations(arm) or [0]
        first, last = iterations[0], iterations[-1]
        self.end: CellKey = (arm, ratio, last)
        # A repair goes on from a finished cell.
        self.plain: CellKey = (BASELINE_ARM, ratio, after or (first - 1 if first > 1 else last))

    def more(self, metric: str) -> Theta:
        """A score at the end, minus that of the plain cell."""
        return lambda seed: self._value(self.end, metric, seed) - self._value(self.plain, metric, seed)

    def share(self, seed: int) -> Effect:
        """Logarithm of the excess at the end over that of the plain cell."""
        return against(self.end, self.plain)(self._scores.log_excess(self._space), seed)

    def times(self, metric: str) -> Theta:
        """Logarithm of a score at the end over that of the plain cell."""
        return lambda seed: self._value(self.end, metric, seed).log() - self._value(self.plain, metric, seed).log()

    def decided(self, theta: Theta, relation: Relation, bound: float) -> Decision:
        """By what is computed for every seed."""
        return self._scores.decided(theta, relation, bound)

    def _value(self, cell: CellKey, metric: str, seed: int) -> Effect:
        space = "clip" if metric == "clip_score" else self._space
        return self._scores.value(cell, seed, metric, space)


def outcomes(rows: Sequence[Row], remedies: Mapping[str, Remedy], looks: Looks = ONCE) -> list[Outcome]:
    """The table of remedies, of arms and ratios that were run.

    Args:
        rows: tables/metrics.csv.
        remedies: by the names of their arms.
        looks: whether seeds may be added after a look.
    """
    scores = ScoreTable(rows, looks)
    return [
        _outcome(_Pair(scores, space, arm, ratio, remedy.after), rows, remedy, space)
        for arm, remedy in remedies.items()
        for ratio in remedy.costs
        if ratio in scores.ratios_of(arm)
        for space in scores.spaces
    ]


def _outcome(pair: _Pair, rows: Sequence[Row], remedy: Remedy, space: str) -> Outcome:
    arm, ratio, iteration = pair.end
    share = pair.decided(pair.share, "<", 0.0)
    nearer = pair.decided(pair.times("fid"), "<", -DELTA)
    recall = pair.decided(pair.more("recall"), ">", -LOST_RECALL)
    spread = pair.decided(pair.times("within_group_distance"), ">", 0.0)
    cost = remedy.costs[ratio]
    return Outcome(
        arm=arm,
        ratio=ratio,
        iteration=iteration,
        compared_with=_named(pair.plain),
        features=space,
        share=_exponential(share.value),
        share_low=_exponential(share.low),
        share_high=_exponential(share.high),
        recall=recall.value,
        recall_low=recall.low,
        recall_high=recall.high,
        within_group_distance=_exponential(spread.value),
        within_group_distance_low=_exponential(spread.low),
        within_group_distance_high=_exponential(spread.high),
        clip_score=pair.decided(pair.more("clip_score"), ">", 0.0).value,
        verdict=_verdict(nearer.verdict, recall.verdict),
        contamination=mean_of_filter(rows, arm, ratio, "contamination"),
        false_positive_rate=mean_of_filter(rows, arm, ratio, "false_positive_rate"),
        false_negative_rate=mean_of_filter(rows, arm, ratio, "false_negative_rate"),
        rows_lost=mean_of_filter(rows, arm, ratio, "rows_lost"),
        drawn=cost.drawn,
        passes=cost.passes,
        trained=cost.trained,
        real=mean_of_filter(rows, arm, ratio, "real_images") if cost.real is None else cost.real,
        seeds=nearer.seeds,
    )


def _verdict(nearer: str, as_diverse: str) -> str:
    """In words for who looks for a remedy; a claim's verdict, which is corrected for its parts in all spaces, may be less sure."""
    if NOT_RUN in (nearer, as_diverse):
        return NOT_RUN
    if nearer == FAILS:
        return "does not help"
    if nearer == HOLDS:
        return {HOLDS: "helps", FAILS: "nearer, but less diverse"}.get(as_diverse, "nearer; diversity undecided")
    return UNDECIDED


def _named(cell: CellKey) -> str:
    return ",".join(map(str, cell))


def _exponential(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else math.exp(value)
