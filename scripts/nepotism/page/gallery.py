"""What the pictures of a page are made from, and the data that its script moves through them with."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nepotism.data.images import read_records
from nepotism.experiment.cells import Cell, cell_in
from nepotism.page.conditions import Condition, PlannedArm, chain, conditions
from nepotism.page.lineage import Trained, trained
from nepotism.page.pictures import PictureSet, chosen_slots, read_pictures, side_of

REAL, START = "reference", "initial_images"


@dataclass(frozen=True)
class Files:
    """The files of one seed, whichever are there.

    Attributes:
        real: the real image of every slot.
        samples: of base models and cells.
        embeddings: beside them.
        manifests: training sets of cells.
    """

    real: Path
    samples: Sequence[Path]
    embeddings: Sequence[Path]
    manifests: Sequence[Path]


@dataclass(frozen=True)
class Step:
    """A step of a condition's chain: an iteration, and the number of the set of pictures that its model drew."""

    iteration: int
    set: int
    cell: Cell | None


@dataclass(frozen=True)
class Gallery:
    """The pictures of a page.

    Attributes:
        seed: the replicate that is shown.
        slots: that are shown, of `all_slots`.
        captions: of each shown slot.
        sets: of pictures.
        steps: of each condition that has been run, by its key.
        labels: of each condition and a sentence on it, by its key.
        models: what each model was trained on.
        slot: number of the slot that is shown first.
        condition: key of the condition that is shown first.
    """

    seed: int
    slots: list[str]
    all_slots: int
    captions: list[str]
    sets: list[PictureSet]
    steps: dict[str, list[Step]]
    labels: dict[str, tuple[str, str]]
    models: dict[Cell, Trained]
    slot: int
    condition: str

    def data(self) -> dict[str, Any]:
        """What the page's script reads, as plain values."""
        return {
            "slots": [
                {"slot": slot, "caption": caption} for slot, caption in zip(self.slots, self.captions, strict=True)
            ],
            "sets": [_plain_set(each) for each in self.sets],
            "conditions": [
                {
                    "key": key, "label": self.labels[key][0], "about": self.labels[key][1],
                    "steps": [[step.iteration, step.set, step.cell.path if step.cell else ""] for step in steps],
                }
                for key, steps in self.steps.items()
            ],
            "models": {cell.path: self._plain_model(model) for cell, model in self.models.items()},
            "slot": self.slot,
            "condition": self.condition,
        }  # fmt: skip

    def _plain_model(self, model: Trained) -> dict[str, Any]:
        ancestry = model.ancestry
        real = next(each for each in self.sets if each.name == REAL)
        ids = [record.id if record else "" for record in real.records]
        return {
            "rows": len(model.rows),
            "real": model.real,
            "generated": list(model.generated().items()),
            "direct": len(ancestry.direct),
            "sources": len(ancestry.sources),
            "whole": ancestry.is_whole,
            # Of the real image of each shown slot: trained on, or only a source of generated images, or neither.
            "ancestors": "".join("2" if each in ancestry.direct else "1" if each in ancestry.sources else "0" for each in ids),
            "slots": [
                [[record.id, int(record.origin == "real"), record.iteration, list(record.parents)] for record in rows]
                for rows in model.rows_of(self.slots)
            ],
        }  # fmt: skip


def _plain_set(each: PictureSet) -> dict[str, Any]:
    return {
        "name": each.name,
        "iteration": each.iteration,
        "pictures": each.pictures,
        "ids": [record.id if record else "" for record in each.records],
        "real": [int(record is not None and record.origin == "real") for record in each.records],
        # JSON has no word for what is not a number, and a script would read nothing of such a page.
        "scores": [None if score is None or not math.isfinite(score) else round(score, 2) for score in each.scores],
    }


def gallery(files: Files, arms: Sequence[PlannedArm], seed: int) -> Gallery:
    """Read the pictures and the lineage of everything that was run of one replicate.

    Args:
        files: of that replicate.
        arms: as planned.
        seed: the replicate.
    """
    records = read_records(files.real)
    embedded = {file.parent: file for file in files.embeddings}
    drawn = {file.parent: file for file in files.samples}
    bases = {folder.parent.name: folder for folder in drawn if cell_in(f"{folder}/") is None}
    starts = [folder / "initial_images.parquet" for folder in bases.values()]
    manifests = {cell: read_records(file) for file in files.manifests if (cell := cell_in(str(file)))}
    rows = sum(map(len, manifests.values()))
    slots = chosen_slots(records, 1 + len(starts) + len(drawn), side_of(files.real), rows)
    sets = [read_pictures(files.real, REAL, 0, slots, None)]
    sets += [
        read_pictures(file, f"{file.parent.parent.name}/{START}", 0, slots, embedded.get(file.parent), START)
        for file in starts
    ]
    numbers: dict[Cell | str, int] = {}
    for folder, file in drawn.items():
        cell = cell_in(f"{folder}/")
        place, iteration = (cell.path, cell.iteration) if cell else (folder.parent.name, 0)
        numbers[cell or place] = len(sets)
        sets.append(read_pictures(file, place, iteration, slots, embedded.get(folder)))
    chains = [chain(arms, each, seed) for each in conditions(arms)]
    others = [*records, *(record for file in starts for record in read_records(file))]
    models = trained(manifests, chains, others, [arm.name for arm in arms if arm.anew])
    steps = {
        each.key: found
        for each, cells in zip(conditions(arms), chains, strict=True)
        if len(found := _steps(each, cells, numbers)) > 1
    }
    captions = {record.slot: record.prompt for record in records}
    shown = _first_shown(conditions(arms), steps)
    return Gallery(
        seed, slots, len(records), [captions[slot] for slot in slots], sets, steps,
        {each.key: (each.label, each.arm.about) for each in conditions(arms)}, models,
        _typical(sets[steps[shown][-1].set]) if shown else 0, shown,
    )  # fmt: skip


def _steps(each: Condition, cells: Sequence[Cell], numbers: Mapping[Cell | str, int]) -> list[Step]:
    """The steps of a condition that have pictures, from its base model on."""
    base = [Step(0, numbers[each.arm.base], None)] if each.arm.base in numbers else []
    return base + [Step(cell.iteration, numbers[cell], cell) for cell in cells if cell in numbers]


def _first_shown(planned: Sequence[Condition], steps: Mapping[str, Sequence[Step]]) -> str:
    """The largest ratio of the first arm that has been run."""
    run = [each for each in planned if each.key in steps]
    if not run:
        return ""
    return max((each for each in run if each.arm == run[0].arm), key=lambda each: float(each.ratio)).key


def _typical(drawn: PictureSet) -> int:
    """The slot whose picture has the median CLIP score, the lower of two in the middle, so that nobody chooses it."""
    scored = sorted(
        (score, number) for number, score in enumerate(drawn.scores) if score is not None and math.isfinite(score)
    )
    return scored[(len(scored) - 1) // 2][1] if scored else 0
