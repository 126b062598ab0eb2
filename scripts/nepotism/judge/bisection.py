"""One round of the search for the ratio at which collapse begins: what was measured decides, and nothing else."""

import math
from collections.abc import Mapping, Sequence

from nepotism.data.tables import Row
from nepotism.experiment.search import ABOVE, BELOW, BETWEEN, SEARCHING, Round, Search
from nepotism.judge.contrasts import DELTA
from nepotism.runtime.errors import UserError


def theta(rows: Sequence[Row], real: Sequence[Row], metric: str, features: str, iteration: int) -> dict[str, float]:
    """Of each ratio the mean over seeds of theta: the logarithm of a distance minus that at 0 % of the same seed and iteration.

    Args:
        rows: scores of the cells to judge.
        real: scores at 0 %.
        metric, features: name the distance.
        iteration: at which.

    Raises:
        UserError: naming a cell whose distance is missing or not above 0, of which there is no logarithm.
    """
    wanted = (metric, features, "samples", iteration)
    chosen = [
        [row for row in each if (row.metric, row.features, row.set, row.iteration) == wanted] for each in (rows, real)
    ]
    zero = {row.seed: _logarithm(row) for row in chosen[1]}
    if not zero:
        raise UserError(f"{metric} of 0 %, iteration {iteration} has no row at any seed; no ratio can be judged")
    found: dict[str, list[float]] = {}
    for row in chosen[0]:
        if row.seed not in zero:
            raise UserError(
                f"{metric} of 0 % at seed {row.seed}, iteration {iteration} has no row; the ratio cannot be judged"
            )
        found.setdefault(row.ratio, []).append(_logarithm(row) - zero[row.seed])
    for ratio in dict.fromkeys(row.ratio for row in rows):
        if len(found.get(ratio, ())) < len(zero):
            raise UserError(
                f"{metric} of {ratio} %, iteration {iteration} has no row at some seed; the ratio cannot be judged"
            )
    return {ratio: math.fsum(values) / len(values) for ratio, values in found.items()}


def _logarithm(row: Row) -> float:
    if not 0 < row.value < math.inf:
        place = f"{row.control} {row.ratio} %, seed {row.seed}, iteration {row.iteration}"
        raise UserError(f"{row.metric} of {place} is {row.value:g}, which has no logarithm; the ratio cannot be judged")
    return math.log(row.value)


def judged(search: Search, before: Round | None, thetas: Mapping[str, float]) -> Round:
    """The round after ``before``.

    Args:
        search: what is asked.
        before: the round before, None for the first, which judges the search's ends.
        thetas: of each ratio that was run since, its mean theta; collapse has begun where it exceeds delta.
    """
    tried = [*(before.tried if before else ()), *sorted(thetas.items(), key=lambda each: float(each[0]))]
    low, high = search.ends
    over = {ratio: value > DELTA for ratio, value in tried}
    # The lower end first: where it exceeds and the upper one does not, it is untrue that nothing does up to there.
    if over.get(low, False):
        return Round(low, high, None, BELOW, tuple(tried))
    if not over[high]:
        return Round(low, high, None, ABOVE, tuple(tried))
    # Of what lies between, each ratio was asked for as the middle of those before.
    for ratio, exceeds in over.items():
        if float(low) < float(ratio) < float(high):
            low, high = (low, ratio) if exceeds else (ratio, high)
    wanted = search.next(low, high)
    return Round(low, high, wanted, SEARCHING if wanted else BETWEEN, tuple(tried))
