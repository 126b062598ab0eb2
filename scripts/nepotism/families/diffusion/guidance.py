"""Which guidance scale an experiment uses: where images of the base model fit their captions best. Standard library only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nepotism.data.tables import Row
from nepotism.runtime.errors import UserError


@dataclass(frozen=True)
class Scale:
    """A guidance scale and how well base samples fit their captions with it: a row of tables/guidance.csv.

    Attributes:
        clip_score, se: mean over the seeds, and its standard error (between images).
        fid_clip, fid_conv: Frechet distances, means over the seeds; they decide nothing.
        seeds: how many.
        chosen: whether this is the scale that the rule takes.
    """

    guidance_scale: float
    clip_score: float
    se: float
    fid_clip: float
    fid_conv: float
    seeds: int
    chosen: bool = False


def compare(rows: Sequence[Row], scales: Mapping[str, float]) -> list[Scale]:
    """Every scale with its scores, in ascending order, one of them chosen.

    The best CLIP score wins; of scales within one standard error of it, the smallest.

    Args:
        rows: scores of base samples.
        scales: guidance scale of each {control} of iteration 0.

    Raises:
        UserError: if a scale has no scores, or there is but one.
    """
    if len(scales) < 2:
        raise UserError("`arms`: all sample with the same guidance scale; see resources/experiments/guidance.yaml")
    found = [_scale(rows, base, scale) for base, scale in sorted(scales.items(), key=lambda item: item[1])]
    best = max(found, key=lambda each: each.clip_score)
    taken = next(each for each in found if each.clip_score >= best.clip_score - best.se)
    return [replace(each, chosen=each is taken) for each in found]


def _scale(rows: Sequence[Row], base: str, scale: float) -> Scale:
    mine = [row for row in rows if row.control == base and row.iteration == 0 and row.set == "samples"]
    fitting = [row for row in mine if row.metric == "clip_score"]
    if not fitting or not all(row.se is not None and math.isfinite(row.se) for row in fitting):
        raise UserError(f"{base}: there are no CLIP scores of base samples with an error; use more images or seeds")
    error = math.sqrt(sum(row.se**2 for row in fitting if row.se is not None)) / len(fitting)
    clip, conv = (
        _mean([row for row in mine if (row.metric, row.features) == ("fid", space)]) for space in ("clip", "conv")
    )
    return Scale(scale, _mean(fitting), error, clip, conv, len(fitting))


def _mean(rows: Sequence[Row]) -> float:
    return sum(row.value for row in rows) / len(rows) if rows else math.nan
