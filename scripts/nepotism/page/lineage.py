"""Lineage of a picture: which real images the model that drew it descends from, and through which generations.

A picture is drawn from noise, so that it descends from the images its model was trained on; these are the rows of a manifest, of
which generated ones descend from what their models were trained on, and so on back to the base model.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nepotism.data.images import Record
from nepotism.experiment.cells import Cell, cell_in


@dataclass
class Ancestry:
    """The real images that a model descends from, but for those of the base model, which no manifest lists.

    Attributes:
        direct: ids of those that it, or a model that it descends from, was trained on.
        sources: ids of those that only generated images were made from which it was trained on, such as by img2img.
        is_whole: False if it also descends from a chain that the page knows nothing of.
    """

    direct: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    is_whole: bool = True

    def add(self, other: "Ancestry") -> None:
        """What another model descends from, which this one was trained on images of, or began as."""
        self.direct |= other.direct
        self.sources |= other.sources
        self.is_whole = self.is_whole and other.is_whole


@dataclass(frozen=True)
class Trained:
    """What one model was trained on.

    Attributes:
        cell: of the model.
        rows: of its training set, in their order: an image that stands in it twice counts twice.
        ancestry: of the model.
    """

    cell: Cell
    rows: Sequence[Record]
    ancestry: Ancestry

    @property
    def real(self) -> int:
        """Number of rows that are real images."""
        return sum(record.origin == "real" for record in self.rows)

    def generated(self) -> dict[int, int]:
        """Number of generated rows by the iteration of the model that drew them."""
        return dict(sorted(Counter(record.iteration for record in self.rows if record.origin != "real").items()))

    def rows_of(self, slots: Iterable[str]) -> list[list[Record]]:
        """The rows of each slot."""
        by_slot: dict[str, list[Record]] = {}
        for record in self.rows:
            by_slot.setdefault(record.slot, []).append(record)
        return [by_slot.get(slot, []) for slot in slots]


def trained(
    manifests: Mapping[Cell, Sequence[Record]],
    chains: Iterable[Sequence[Cell]],
    others: Iterable[Record],
    anew: Container[str] = (),
) -> dict[Cell, Trained]:
    """What every model of some chains was trained on.

    Args:
        manifests: the training set of each cell; a cell that is not among them has not been run.
        chains: cells that go on from each other, from the first on.
        others: further images that rows may name as parents, such as real ones.
        anew: arms whose models start from the base model each time: of the one before, they know what it drew.
    """
    before = {cell: previous for each in chains for previous, cell in zip([None, *each], each, strict=False)}
    known = {record.id: record for record in others}
    known |= {record.id: record for rows in manifests.values() for record in rows}
    found: dict[Cell, Trained] = {}
    # A chain that is fed by another takes images of the iteration before.
    for cell in sorted(manifests.keys() & before.keys(), key=lambda cell: cell.iteration):
        ancestry = Ancestry()
        models = {each for record in manifests[cell] if (each := _maker(record))}
        if (previous := before[cell]) and cell.control not in anew:
            models.add(previous)
        for model in models:
            ancestry.add(found[model].ancestry if model in found else Ancestry(is_whole=False))
        for record in manifests[cell]:
            direct, sources = _reals(record, known)
            ancestry.direct |= direct
            ancestry.sources |= sources
        ancestry.sources -= ancestry.direct
        found[cell] = Trained(cell, manifests[cell], ancestry)
    return found


def _reals(record: Record, known: Mapping[str, Record]) -> tuple[set[str], set[str]]:
    """Ids of the real images that a row is, and that it was made from."""
    if record.origin == "real":
        return {record.id}, set()
    found, left, seen = set(), list(record.parents), {record.id}
    while left:
        parent = left.pop()
        if parent in seen or parent not in known:
            # Images that were drawn from noise have no parents, and need not be known.
            continue
        seen.add(parent)
        if known[parent].origin == "real":
            found.add(parent)
        else:
            left += known[parent].parents
    return set(), found


def _maker(record: Record) -> Cell | None:
    """The cell whose model drew a row; None of real images, and of iteration 0."""
    maker = cell_in(record.id)
    if record.origin == "real" or maker is None or not record.iteration:
        return None
    return Cell(maker.control, maker.ratio, maker.seed, record.iteration)
