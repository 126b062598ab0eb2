"""How good must a filter be: what a model ends with, by the share of generated rows that it was trained on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nepotism.data.tables import Row
from nepotism.experiment.cells import BASELINE_ARM
from nepotism.judge.contrasts import CellKey, ScoreTable, against
from nepotism.judge.decisions import Effect, decide


@dataclass(frozen=True)
class Point:
    """An arm at a ratio, in a feature space.

    Attributes:
        contamination: share of generated rows trained on, mean over seeds and iterations.
        share: its excess at the last iteration over that of the plain mixture at 100 %, geometric mean over seeds; low and high are the
            90 % interval between seeds.
    """

    features: str
    arm: str
    ratio: str
    contamination: float
    share: float
    low: float
    high: float


def points(rows: Sequence[Row], arms: Sequence[str]) -> list[Point]:
    """The plain mixtures, and ``arms``, whose filters left rows through; without those whose excess is not above 0 at some seed."""
    scores = ScoreTable(rows)
    found = []
    for space in scores.spaces:
        for arm in (BASELINE_ARM, *arms):
            for ratio in scores.ratios_of(arm):
                decided = decide(scores.effects(partial(_share, scores, space, arm, ratio)), "<", 0.0)
                if (
                    decided.value is None
                    or decided.low is None
                    or decided.high is None
                    or not math.isfinite(decided.value)
                ):
                    continue
                interval = map(math.exp, (decided.value, decided.low, decided.high))
                left = mean_of_filter(rows, arm, ratio, "contamination")
                found.append(Point(space, arm, ratio, float(ratio) / 100 if left is None else left, *interval))
    return found


def mean_of_filter(rows: Sequence[Row], arm: str, ratio: str, metric: str) -> float | None:
    """What scores say of an arm's filter, mean over seeds and iterations; None without one."""
    mine = (arm, ratio, "filtered", metric)
    values = [row.value for row in rows if (row.control, row.ratio, row.set, row.metric) == mine]
    return sum(values) / len(values) if values else None


def _share(scores: ScoreTable, space: str, arm: str, ratio: str, seed: int) -> Effect:
    end: CellKey = (arm, ratio, scores.iterations(arm)[-1])
    full: CellKey = (BASELINE_ARM, "100", scores.last)
    return against(end, full)(scores.log_excess(space), seed)
