"""What an arm's control does to the training sets of a family whose generations are made in chunks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nepotism.chain.engine import Arrays, Inside, Rows, Taken
from nepotism.chain.mix import Images
from nepotism.chain.slots import Source
from nepotism.controls.faces import Control
from nepotism.controls.filter.filtering import Confidence, filtered, oracle
from nepotism.data.images import Origin, Record
from nepotism.runtime.resume.checkpoints import Store

# What stands in for a row: nothing, or the real row of the slot, or one that is reserved for this training set.
NOT_REPLACED, BY_REAL, BY_FRESH = 0, 1, 2
STAND_INS = ("", "real", "fresh")


class Treated(Protocol):
    """What a family whose rows are treated can do beside `nepotism.chain.engine.Family`."""

    def originals(self) -> Rows:
        """The original rows, one per slot."""

    def fresh(self, iteration: int) -> Rows:
        """Original rows that are reserved for the training set of one iteration, one per slot."""

    def confidence(self, model: Arrays, iteration: int, checkpoints: Store) -> Callable[[Rows], Confidence]:
        """How sure a detector is that rows are generated; it was trained on those of this model, which is of ``iteration``."""

    def edited(self, model: Arrays, slots: NDArray[np.int64], iteration: int, threshold: float) -> Rows:
        """The original rows of slots, edited by the model of ``iteration``."""


@dataclass(frozen=True)
class Treatment:
    """What a control does to training sets; called for each.

    Attributes:
        family: whose rows these are.
        control: what happens to them.
        parameters: of the control, all of them.
        seed: replicate seed.
    """

    family: Treated
    control: Control
    parameters: Mapping[str, Any]
    seed: int
    _detectors: dict[int, Callable[[Rows], Confidence]] = field(default_factory=dict)

    def __call__(
        self, iteration: int, sources: Sequence[Source], taken: Taken, models: Mapping[int, Arrays], inside: Inside
    ) -> tuple[Rows, Arrays]:
        """The rows of the training set of ``iteration``, and of a filter what became of each row of the mixture.

        Args:
            iteration: of the training set.
            sources: of the mixture.
            taken: the rows of a source.
            models: of generation 0 and of those that drew rows.
            inside: checkpoints of work inside this generation.
        """
        if self.control.name == "toedit":
            threshold = self.parameters["threshold"]
            parts = [
                self.family.edited(models[source.iteration], source.slots, source.iteration, threshold)
                if source.origin == "generated"
                else taken(source)
                for source in sources
            ]
            return np.concatenate(parts), {}
        return self._filtered(iteration, sources, np.concatenate([taken(source) for source in sources]), models, inside)

    def _filtered(
        self, iteration: int, sources: Sequence[Source], rows: Rows, models: Mapping[int, Arrays], inside: Inside
    ) -> tuple[Rows, Arrays]:
        records = [record for source in sources for record in records_of(source)]
        if self.parameters["source"] == "oracle":
            made = [record.origin == "generated" for record in records]
            rates = (self.parameters["fpr"], self.parameters["fnr"])
            confidence = oracle([record.id for record in records], made, *rates, self.seed, iteration)
        else:
            by = iteration - 1 if self.parameters["retrained"] else 0
            if by not in self._detectors:
                # Each holds a model.
                self._detectors.clear()
                self._detectors[by] = self.family.confidence(models[by], by, inside("detector", iteration))
            confidence = self._detectors[by](rows)
        held = {record.id: row for record, row in zip(records, rows, strict=True)}
        spare = []
        if self.parameters["action"] == "replace":
            for origin, at in (("real", 0), ("fresh", iteration)):
                there = self.family.originals() if origin == "real" else self.family.fresh(iteration)
                named = records_of(Source(origin, at, np.arange(len(there))))  # type: ignore[arg-type]
                spare.append(Images(named, origin))
                held |= {record.id: row for record, row in zip(named, there, strict=True)}
        kept, verdicts = filtered(
            [(record, "") for record in records], confidence, self.parameters["threshold"], self.parameters["action"],
            spare, self.seed, iteration,
        )  # fmt: skip
        became: Arrays = {
            "confidence": confidence,
            "flagged": np.array([verdict.flagged for verdict in verdicts], np.uint8),
            "times": np.array([verdict.times for verdict in verdicts], np.uint8),
            "stand_in": np.array(
                [STAND_INS.index(verdict.replaced_by.split("/")[0]) for verdict in verdicts], np.uint8
            ),
        }
        return np.stack([held[record.id] for record, _ in kept]), became


def records_of(source: Source) -> list[Record]:
    """The rows of a source by name: ``<origin>/<iteration>/<draw>/<slot>``."""
    origin: Origin = "generated" if source.origin == "generated" else "real"
    return [
        Record(
            f"{source.origin}/{source.iteration}/{source.draw}/{slot:05d}", "", "", f"{slot:05d}", origin, source.iteration
        )
        for slot in source.slots.tolist()
    ]  # fmt: skip


def manifest_rows(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The entries of a generation in a chunk's manifest as rows of filtered.csv, which `nepotism.measure.curation` measures."""
    found = []
    for entry in entries:
        slots = np.arange(entry["rows"]) if entry["slots"] is None else np.array(entry["slots"])
        source = Source(entry["origin"], entry["source_iteration"], slots, entry["draw"])
        columns = (entry["flagged"], entry["times"], entry["stand_in"])
        for record, flagged, times, stand_in in zip(records_of(source), *columns, strict=True):
            by = f"{STAND_INS[stand_in]}/{record.slot}" if stand_in else ""
            found.append(
                {"slot": record.slot, "group": "", "image": record.id, "origin": record.origin, "flagged": str(bool(flagged)),
                 "times": str(times), "replaced_by": by}
            )  # fmt: skip
    return found
