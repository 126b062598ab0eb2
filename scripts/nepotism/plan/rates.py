"""Measured speeds, and which of them are an experiment's: the table resources/rates.csv. Standard library only."""

import math
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from nepotism.data.user_tables import positive, read_user_csv, refuse
from nepotism.plan.grid import Grid
from nepotism.plan.knobs import way_of_training


@dataclass(frozen=True)
class Rate:
    """A measured speed: a row of resources/rates.csv. The last three columns may be missing or empty.

    Attributes:
        device: name of the device.
        parameters: of the denoiser, in millions.
        resolution: pixels.
        precision: of training and of sampling, such as bf16/fp16; with "compiled" after it, if networks were.
        train_per_second: images per second of retraining.
        passes_per_second: images times network passes per second of sampling; guidance takes two a step.
        job_seconds: start of a job, with loading the model.
        measured: when and with what.
        training: how it was retrained, as `knobs.way_of_training` names it; empty is all weights, by AdamW.
        images: of a step that the device held at a time.
        peak_gib: most GPU memory of retraining with so many, in GiB.
    """

    device: str
    parameters: float
    resolution: int
    precision: str
    train_per_second: float
    passes_per_second: float
    job_seconds: float
    measured: str
    training: str = ""
    images: int | None = None
    peak_gib: float | None = None


COLUMNS = [column.name for column in fields(Rate)]
_NEEDED = [column.name for column in fields(Rate) if column.default is MISSING]
_WORDS, _WHOLE = ("device", "precision", "measured", "training"), ("resolution", "images")


def read_rates(path: Path) -> list[Rate]:
    """The measured speeds.

    Raises:
        UserError: listing the lines that are no such speeds.
    """
    rows, problems = read_user_csv(path, _NEEDED)
    rates = []
    for number, row in rows:
        given = {name: row[name] for name in COLUMNS if name in _NEEDED or row.get(name)}
        try:
            rates.append(Rate(**{name: _value(name, text) for name, text in given.items()}))
        except ValueError as error:
            problems.append(f"{path.name} line {number}: {error}")
    refuse(str(path), problems)
    return rates


def _value(column: str, text: str) -> Any:
    if column in _WORDS:
        return text
    value, whole = positive(text), column in _WHOLE
    if value is None or (whole and not value.is_integer()):
        raise ValueError(f"column {column} has '{text}'; expected a positive number")
    return int(value) if whole else value


def with_all_columns(text: str) -> str:
    """The text of a table with every column, of which those that it lacks are empty: rows that are added to it have them all."""
    header, *lines = text.splitlines()
    if missing := [name for name in COLUMNS if name not in header.split(",")]:
        header = ",".join([header, *missing])
        lines = [line + "," * len(missing) for line in lines if line.strip()]
    return "\n".join([header, *lines]) + "\n"


def precisions(grid: Grid, training: str | None = None) -> str:
    """The arithmetic of an experiment, as `Rate.precision` names it; ``training`` in place of its own of retraining."""
    named = f"{training or grid.config['finetune']['precision']}/{grid.config['sample']['precision']}"
    return named + (" compiled" if grid.config["execution"]["compile"] else "")


def training_of(grid: Grid) -> str:
    """How the config's own block has models retrained, as `Rate.training` names it."""
    return way_of_training(grid.config["finetune"], grid.config["execution"])


def fitting_rates(
    grid: Grid, rates: Iterable[Rate], million: float, training: str | None = None, precision: str | None = None
) -> list[Rate]:
    """The speeds that were measured with such a model, of ``million`` parameters, in the experiment's arithmetic.

    Args:
        grid: of the experiment.
        rates: all that were measured.
        million: parameters.
        training: how models are retrained; None is as the experiment has it.
        precision: of retraining; None is the experiment's.
    """
    size, named = grid.config["model"]["resolution"], precisions(grid, precision)
    wanted = training_of(grid) if training is None else training
    return [
        rate
        for rate in rates
        if (rate.resolution, rate.precision, rate.training) == (size, named, wanted)
        and math.isclose(rate.parameters, million, rel_tol=0.1)
    ]
