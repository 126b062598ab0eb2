"""Chains of generations: fit, sample, and again, many generations in one job; and the scores of what came of it.

What is fitted is a family's business. Here is what all families share: which rows a generation is fitted to, what is
written down about it, and how a job that is killed goes on.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from nepotism.chain.faces import Regime
from nepotism.chain.slots import Slots, Source
from nepotism.data.images import Record
from nepotism.data.jackknife import LeftOut
from nepotism.data.tables import Row
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import atomic_write
from nepotism.runtime.progress import Progress
from nepotism.runtime.resume.checkpoints import NOWHERE, Checkpoints, Store
from nepotism.runtime.resume.job import Job

logger = logging.getLogger(__name__)

# Rows of data, whatever they are: the first axis is the slot.
Rows = NDArray[Any]
# A model as named arrays, which is what checkpoints and model files hold.
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Score:
    """One value of one generation: the trailing columns of `Row`.

    ci_low and ci_high are a 95 % interval; None where it would say nothing. left_out is for scores of what all generations
    share, such as a test text: what they have in common then cancels in differences.
    """

    metric: str
    value: float
    n: int
    set: str = "samples"
    features: str = ""
    sd: float | None = None
    se: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    left_out: LeftOut | None = None


class Family(Protocol):
    """What a family says about itself; one object serves one cell.

    Its constructor takes the family's block of the configuration, the replicate's seed and, by name, the files that its
    `write_originals` made. Work that may take over ten seconds offers its state to ``checkpoints`` at every step, and goes on
    from what it finds there, to the same bytes.
    """

    def originals(self) -> Rows:
        """The original rows, one per slot."""

    def fresh(self, iteration: int) -> Rows:
        """Original rows that are reserved for the training set of one iteration, one per slot."""

    def fit(self, rows: Rows, parent: Arrays | None, iteration: int, checkpoints: Store = NOWHERE) -> Arrays:
        """Fit a model to ``rows``; ``parent`` is the model of the generation before, if the family's package reads it."""

    def sample(self, model: Arrays, iteration: int, checkpoints: Store = NOWHERE, draw: int = 0) -> Rows:
        """Draw one row per slot; the same model, iteration and draw give the same rows, and further draws others."""

    def stream(self, iteration: int, draw: int = 0) -> streams.StreamKey | None:
        """The random stream that `sample` draws from; None if it draws nothing."""

    def score(self, model: Arrays, rows: Callable[[], Rows], iteration: int, first: Arrays) -> Iterable[Score]:
        """The scores of a generation; ``rows`` returns what it drew, and ``first`` is the model of generation 0."""

    def is_shown(self, iteration: int) -> bool:
        """Whether the rows of this generation are kept: for figures, or because it takes long to draw them again."""

    def table(self, rows: Rows, records: Sequence[Record]) -> pa.Table:
        """Rows with their provenance, as they are stored; ``records`` are one per slot."""

    def rows(self, table: pa.Table) -> Rows:
        """The rows of one generation that `table` stored."""


# The rows of a source; and checkpoints of some work, by its name and iteration.
Taken = Callable[[Source], Rows]
Inside = Callable[[str, int], Checkpoints]


class Treatment(Protocol):
    """What a control does to training sets."""

    def __call__(
        self, iteration: int, sources: Sequence[Source], taken: Taken, models: Mapping[int, Arrays], inside: Inside
    ) -> tuple[Rows, Arrays]:
        """The rows of a training set, and what became of each row of the mixture, if something did: arrays of one entry each."""


class History:
    """The rows and models of all generations so far; rows that are not at hand are drawn again by their model.

    Args:
        family: that draws them.
        models: of generation 0 and of those before this job's that it needs, by iteration.
        rows: that those generations drew, of those that kept theirs.
    """

    def __init__(self, family: Family, models: dict[int, Arrays], rows: dict[int, Rows]) -> None:
        self._family, self.models, self.drawn = family, models, rows
        self._originals = family.originals()

    @property
    def slots(self) -> int:
        """Number of original rows."""
        return len(self._originals)

    def rows(self, source: Source, checkpoints: Store = NOWHERE) -> Rows:
        """The rows that a source names; ``checkpoints`` are of a further draw."""
        if source.origin == "real":
            return self._originals[source.slots]
        if source.origin == "fresh":
            return self._family.fresh(source.iteration)[source.slots]
        if source.origin == "other":
            raise ValueError("a chain of generations has no rows of another chain")
        if source.draw:
            # Of one training set only, so they are not held.
            model = self.models[source.iteration]
            return self._family.sample(model, source.iteration, checkpoints, source.draw)[source.slots]
        if source.iteration not in self.drawn:
            self.drawn[source.iteration] = self._family.sample(self.models[source.iteration], source.iteration)
        return self.drawn[source.iteration][source.slots]

    def forget(self, iteration: int) -> None:
        """Drop the rows of a generation that no later one is fitted to."""
        self.drawn.pop(iteration, None)


@dataclass(frozen=True)
class ChunkResult:
    """What a chunk of generations leaves behind: its models by iteration, the rows to keep, what each was fitted to, and what a
    control made of that."""

    models: dict[int, Arrays]
    rows: dict[int, Rows]
    plans: dict[int, list[Source]]
    verdicts: dict[int, Arrays]


def run(
    family: Family, job: Job, models: dict[int, Arrays], rows: dict[int, Rows], first: int, last: int,
    regime: Regime, parameters: Mapping[str, Any], ratio: str, seed: int, label: str, treatment: Treatment | None = None,
    **decisive: str | int,
) -> ChunkResult:  # fmt: skip
    """Make generations ``first`` to ``last``.

    Args:
        family: of the models.
        job: whose checkpoints hold what was made so far: finished generations, each written once, and the state of the one
            that is being fitted or drawn from.
        models: of those before ``first`` that are read: the last one if generations are fitted from the one before, and all
            if the regime accumulates; the last one, too, if the ratio takes several rows of a slot, and that and the first if
            there is a treatment.
        rows: of earlier generations, where they were kept.
        regime, parameters: what training sets are made of. Generation 0 is fitted to original rows.
        ratio, seed: of the cell.
        label: what progress is called.
        treatment: what a control does to training sets.
        decisive: what else decides the result: settings, version, checksums of what is read.
    """
    history = History(family, dict(models), dict(rows))
    made = ChunkResult({}, {}, {}, {})
    slots = Slots({"": history.slots}, seed)
    for iteration in range(first, last + 1):
        sources = regime.plan(slots, ratio, iteration, parameters) if iteration else [slots.real()]
        made.plans[iteration] = [source for source in sources if len(source.slots)]

    decided = {"regime": regime.name, "parameters": dict(parameters), "ratio": ratio}
    chain: dict[str, Any] = {**decided, "seed": seed, "first": first, **decisive}
    finished = job.checkpoints("generations", "numpy", parts=True, **chain)
    begin = first
    for saved in finished.every():
        begin = saved.position + 1
        made.models.update(unpacked(saved.tensors, "model"))
        made.rows.update({number: held["rows"] for number, held in unpacked(saved.tensors, "drawn").items()})
        made.verdicts.update(unpacked(saved.tensors, "verdicts"))
    if begin > first:
        logger.info("resumed after generation %d", begin - 1)
    history.models.update(made.models)
    history.drawn.update(made.rows)
    unsaved: list[int] = []

    def part() -> tuple[Arrays, dict[str, Any]]:
        drawn = {number: {"rows": made.rows[number]} for number in unsaved if number in made.rows}
        became = {number: made.verdicts[number] for number in unsaved if number in made.verdicts}
        fitted = {number: made.models[number] for number in unsaved}
        return packed(fitted, "model") | packed(drawn, "drawn") | packed(became, "verdicts"), {}

    def save_finished() -> None:
        if unsaved and finished.save(unsaved[-1], part):
            unsaved.clear()

    def inside(work: str, iteration: int) -> Checkpoints:
        # Of a generation that goes on from others, which a killed job must find too.
        return job.checkpoints(work, "numpy", before=save_finished, iteration=iteration, **chain)

    def taken(source: Source) -> Rows:
        work = streams.of_draw("sample", source.draw)
        return history.rows(source, inside(work, source.iteration) if source.draw else NOWHERE)

    with Progress(last - first + 1, label, "generation", done=begin - first) as progress, finished.defer_signals():
        for iteration in range(begin, last + 1):
            sources = made.plans[iteration]
            if treatment is None or not iteration:
                training = np.concatenate([taken(source) for source in sources])
            else:
                training, became = treatment(iteration, sources, taken, history.models, inside)
                if became:
                    made.verdicts[iteration] = became
            model = family.fit(training, history.models.get(iteration - 1), iteration, inside("fit", iteration))
            made.models[iteration] = history.models[iteration] = model
            drawn = family.sample(model, iteration, inside("sample", iteration))
            history.drawn[iteration] = drawn
            if family.is_shown(iteration) or iteration == last:
                made.rows[iteration] = drawn
            if not regime.accumulates:
                history.forget(iteration - 1)
            progress.advance()
            unsaved.append(iteration)
            if finished.offer(iteration, part):
                unsaved.clear()
    return made


def score(
    family: Family, models: Mapping[int, Arrays], rows: Mapping[int, Rows], first: Arrays
) -> dict[int, list[Score]]:
    """The scores of generations.

    Args:
        family: of the models.
        models: of the generations, by iteration.
        rows: that they drew, of those that kept theirs; those of others are drawn again where a score needs them.
        first: the model of generation 0.
    """

    def drawn(iteration: int) -> Rows:
        return rows[iteration] if iteration in rows else family.sample(models[iteration], iteration)

    return {
        iteration: list(family.score(model, partial(drawn, iteration), iteration, first))
        for iteration, model in models.items()
    }


def packed(generations: Mapping[int, Arrays], kind: str) -> Arrays:
    """Arrays of several generations as one set: ``<kind>/<iteration>/<name>``."""
    return {
        f"{kind}/{iteration:06d}/{name}": np.ascontiguousarray(array)
        for iteration, arrays in generations.items()
        for name, array in arrays.items()
    }


def unpacked(arrays: Arrays, kind: str) -> dict[int, Arrays]:
    """Of what `packed` packed, that of one kind."""
    generations: dict[int, Arrays] = {}
    for key, array in arrays.items():
        found, _, rest = key.partition("/")
        if found == kind:
            iteration, name = rest.split("/", 1)
            generations.setdefault(int(iteration), {})[name] = array
    return generations


def write_models(path: Path, models: dict[int, Arrays]) -> None:
    """Write the models of several generations as one safetensors file, whole or not at all."""
    with atomic_write(path) as temporary:
        save_file(packed(models, "model"), temporary)


def read_models(path: Path) -> dict[int, Arrays]:
    """The models of a file that `write_models` wrote, by iteration."""
    return unpacked(load_file(path), "model")


def read_drawn(family: Family, path: Path) -> dict[int, Rows]:
    """The rows of every generation in a file of samples, by iteration."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: it cannot be read ({error}); delete it to regenerate it") from None
    iterations = np.array(table["iteration"])
    return {int(number): family.rows(table.filter(iterations == number)) for number in np.unique(iterations)}


def metric_rows(experiment: str, control: str, ratio: str, seed: int, scores: dict[int, list[Score]]) -> list[Row]:
    """Scores as rows of metrics.csv."""
    return [
        Row(experiment, control, ratio, seed, iteration, **vars(score))
        for iteration, found in scores.items()
        for score in found
    ]
