"""What claims compare: scores looked up by cell, and contrasts of them."""

import math
from collections.abc import Callable, Sequence

from nepotism.data.tables import Row
from nepotism.judge.decisions import Decision, Effect, Relation, combined, decide
from nepotism.judge.looks import ONCE, Looks

# (control, ratio, iteration)
CellKey = tuple[str, str, int]
BASE: CellKey = ("base", "", 0)
# A change of F, the logarithm of the Frechet distance, that counts.
DELTA = math.log(1.25)


def base_at(iteration: int) -> CellKey:
    """The base model, sampled with the noise of an iteration: what a cell of that iteration is paired with.

    Its own images, of iteration 0, have the noise of the first retraining's.
    """
    return BASE if iteration == 1 else ("base", "", iteration)


def mixing(regime: str, ratios: Sequence[str]) -> list[str]:
    """Those of a regime's ratios that mix original rows with generated ones."""
    unmixed = ("0", "100") if regime == "fresh" else ("0",)
    return [ratio for ratio in ratios if ratio not in unmixed]


# From a cell and a seed to ln FID, to the logarithm of its excess over the floor, or to KID.
Distance = Callable[[CellKey, int], Effect]
Theta = Callable[[int], Effect]


class MissingError(Exception):
    """A cell that a claim needs was not run."""


def effect_of(row: Row) -> Effect:
    """A score as an effect: its error by the usual formula for a mean, which has an sd, else by the jackknife."""
    df = row.n - 1 if row.sd is not None or row.left_out is None else row.left_out.df
    return Effect(row.value, row.se, df, row.left_out)


class ScoreTable:
    """The table of scores, by cell; and whether what it decides may be looked at again with more seeds."""

    def __init__(self, rows: Sequence[Row], looks: Looks = ONCE) -> None:
        self._looks = looks
        self._rows = {
            (row.control, row.ratio, row.seed, row.iteration, row.set, row.features, row.metric): row for row in rows
        }
        self.spaces = list(dict.fromkeys(row.features for row in rows if row.metric == "fid"))
        self.seeds = sorted({row.seed for row in rows if row.control == "base" and row.set == "samples"})
        self.ratios = sorted({row.ratio for row in rows if row.control == "none"}, key=float)
        self.last = max((row.iteration for row in rows if row.control == "none"), default=0)

    def iterations(self, control: str) -> list[int]:
        """Iterations of an arm that were scored."""
        return sorted({key[3] for key in self._rows if key[0] == control})

    def ratios_of(self, control: str) -> list[str]:
        """Ratios of an arm that were scored."""
        return sorted({key[1] for key in self._rows if key[0] == control}, key=float)

    def row(self, cell: CellKey, seed: int, name: str, features: str, metric: str) -> Row:
        """One row; ``cell`` is (control, ratio, iteration).

        Raises:
            MissingError: if it is not in the table.
        """
        control, ratio, iteration = cell
        found = self._rows.get((control, ratio, seed, iteration, name, features, metric))
        if found is None:
            raise MissingError
        return found

    def value(self, cell: CellKey, seed: int, metric: str, features: str = "clip", name: str = "samples") -> Effect:
        """One score with its error."""
        return effect_of(self.row(cell, seed, name, features, metric))

    def log_fid(self, space: str) -> Distance:
        """F in a feature space."""
        return lambda cell, seed: self.value(cell, seed, "fid", space).log()

    def log_excess(self, space: str) -> Distance:
        """The logarithm of the excess of the Frechet distance over that of real images from other ones, in a feature space."""

        def log_excess(cell: CellKey, seed: int) -> Effect:
            floor = self.value(BASE, seed, "fid", space, "real")
            return (self.value(cell, seed, "fid", space) - floor).log()

        return log_excess

    def effects(self, theta: Theta) -> list[Effect]:
        """Theta of every seed; nothing if any is missing, so that verdicts never rest on a part of the seeds."""
        try:
            return [theta(seed) for seed in self.seeds]
        except MissingError:
            return []

    def decided(self, theta: Theta, relation: Relation, bound: float) -> Decision:
        """Judge theta by what it is for every seed."""
        return decide(self.effects(theta), relation, bound, self._looks)


def against(one: CellKey, other: CellKey) -> Callable[[Distance, int], Effect]:
    """The contrast of two cells."""
    return lambda distance, seed: distance(one, seed) - distance(other, seed)


def mean(effects: Sequence[Effect]) -> Effect:
    if not effects:
        raise MissingError
    return combined([(1 / len(effects), effect) for effect in effects])


def slope(effects: Sequence[Effect]) -> Effect:
    """Least-squares slope on the ranks 1 ... n."""
    if len(effects) < 2:
        raise MissingError
    centre = (len(effects) - 1) / 2
    scale = sum((rank - centre) ** 2 for rank in range(len(effects)))
    return combined([((rank - centre) / scale, effect) for rank, effect in enumerate(effects)])
