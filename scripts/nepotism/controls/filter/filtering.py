"""What a filter does to a training set, given how sure it is of each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nepotism.chain.mix import Images
from nepotism.data.images import Record
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError

Action = Literal["drop", "replace", "resample"]
# A row of a manifest: an image, and the file that it is read from.
Row = tuple[Record, str]
Confidence = NDArray[np.float64]

# Drayson et al. (arXiv 2502.15654): the power of a row's weight, how much larger the set gets, and how often a row is taken at most.
WEIGHT_POWER, ENLARGED, MOST = 10, 1.5, 3


@dataclass(frozen=True)
class Verdict:
    """What became of one row of the training set: a row of filtered.csv.

    Attributes:
        slot, group, image: which row; ``image`` is its id.
        origin: real or generated, which the filter does not know.
        iteration: of the model that drew it.
        confidence: that it is generated, 0 to 1.
        flagged: whether it was taken for generated.
        times: how often it is in the filtered set.
        replaced_by: id of the real row that stands in for it; empty if there is none.
    """

    slot: str
    group: str
    image: str
    origin: str
    iteration: int
    confidence: float
    flagged: bool
    times: int
    replaced_by: str


def oracle(
    names: Sequence[str], generated: Sequence[bool], fpr: float, fnr: float, seed: int, iteration: int
) -> Confidence:
    """The truth with simulated errors: float64 (N,), 0 or 1.

    Every row has a number of its own in [0, 1), so that the errors at one rate are among those at a higher one.

    Args:
        names: of the N rows, which key their numbers together with ``seed`` and ``iteration``.
        generated: whether each is.
        fpr: share of the real rows that are taken for generated, in expectation.
        fnr: share of the generated rows that are taken for real, in expectation.
    """
    numbers = [streams.generator(seed, iteration, "filter", name).random() for name in names]
    return np.array(
        [float(number >= fnr if made else number < fpr) for number, made in zip(numbers, generated, strict=True)]
    )


def filtered(
    rows: Sequence[Row], confidence: Confidence, threshold: float, action: Action, spare: Sequence[Images],
    seed: int, iteration: int,
) -> tuple[list[Row], list[Verdict]]:  # fmt: skip
    """A training set after the filter, in the order of its rows, and what became of each.

    Args:
        rows: N rows of the manifest.
        confidence: float64 (N,), from 0 to 1.
        threshold: a row is taken for generated above it.
        action: see `Action`. ``replace`` leaves a row out for which no spare one is left.
        spare: real images that may stand in, the first choice first.
        seed, iteration: key the draws of ``resample``.

    Raises:
        UserError: if nothing is left.
    """
    flagged = confidence > threshold
    times = np.where(flagged, 0, 1)
    stand_ins: dict[int, Row] = {}
    if action == "resample":
        times = _drawn((1 - confidence) ** WEIGHT_POWER, round(ENLARGED * len(rows)), seed, iteration)
    elif action == "replace":
        stand_ins = _stand_ins(rows, flagged, spare)
    kept: list[Row] = []
    for index, (row, count) in enumerate(zip(rows, times, strict=True)):
        kept += [stand_ins[index]] if index in stand_ins else [row] * int(count)
    if not kept:
        raise UserError(
            f"the filter takes all {len(rows)} rows of the training set for generated, and nothing is left to train on. Change the "
            "arm's parameters: `action: replace`, or another `threshold`; or choose a lower ratio"
        )
    verdicts = [
        Verdict(
            record.slot, record.group, record.id, record.origin, record.iteration,
            float(sure), bool(flag), int(count), stand_ins[index][0].id if index in stand_ins else "",
        )
        for index, ((record, _), sure, flag, count) in enumerate(zip(rows, confidence, flagged, times, strict=True))
    ]  # fmt: skip
    return kept, verdicts


def _stand_ins(rows: Sequence[Row], flagged: NDArray[np.bool_], spare: Sequence[Images]) -> dict[int, Row]:
    """For each flagged row a real one of its slot that is not in the set, and has not been thrown out of it either."""
    used = {record.id for record, _ in rows}
    by_slot = [{record.slot: (record, images.file) for record in images.records} for images in spare]
    chosen: dict[int, Row] = {}
    for index in np.flatnonzero(flagged).tolist():
        slot = rows[index][0].slot
        for held in by_slot:
            if slot in held and held[slot][0].id not in used:
                chosen[index] = held[slot]
                used.add(held[slot][0].id)
                break
    return chosen


def _drawn(weights: NDArray[np.float64], count: int, seed: int, iteration: int) -> NDArray[np.int64]:
    """How often each row is drawn: one after the other in proportion to their weights, until there are ``count`` or all of any
    weight were drawn `MOST` times."""
    rng = streams.generator(seed, iteration, "filter", "resample")
    times = np.zeros(len(weights), np.int64)
    for number in rng.random(count):
        left = np.where(times < MOST, weights, 0.0).cumsum()
        if left[-1] <= 0:
            break
        times[np.searchsorted(left, number * left[-1], side="right")] += 1
    return times
