"""Scores for experiment trackers, through accelerate's classes for them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nepotism.data.tables import read_metrics
from nepotism.runtime.errors import UserError

# As accelerate calls them; so are their packages.
TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")


@dataclass(frozen=True)
class Run:
    """A chain of cells, which is one run of a tracker.

    Attributes:
        project: the experiment.
        name: control, ratio and seed, as in paths.
        folder: where TensorBoard keeps its files, a folder for each run.
        run_id: by which MLflow knows the run; None before its first cell.
    """

    project: str
    name: str
    folder: Path
    run_id: str | None = None

    @property
    def key(self) -> str:
        """What names it among all runs of a project, the same for the same chain."""
        return hashlib.sha256(f"{self.project}/{self.name}".encode()).hexdigest()[:16]


def values_by_iteration(paths: Sequence[Path]) -> dict[int, dict[str, float]]:
    """Scores of cells, by iteration and then by name: `samples/clip/fid`."""
    found: dict[int, dict[str, float]] = {}
    for path in paths:
        for row in read_metrics(path):
            name = "/".join(filter(None, (row.set, row.features, row.metric)))
            found.setdefault(row.iteration, {})[name] = row.value
    return dict(sorted(found.items()))


def send(
    log_with: str, run: Run, iteration: int, values: Mapping[int, Mapping[str, float]], settings: Mapping[str, str]
) -> str | None:
    """Send scores; the run is the same for all cells of a chain.

    Args:
        log_with: the tracker.
        run: of the cell.
        iteration: of the cell.
        values: by iteration, which is the step.
        settings: of the experiment; nothing but at the first cell of a run.

    Returns:
        The number of the run, where the tracker has one that the next cell needs.

    Raises:
        UserError: if the tracker is not installed, or does not take the scores.
    """
    if find_spec(log_with) is None:
        raise UserError(
            f"`tracking.log_with`: the package {log_with} is not installed; `python -m pip install {log_with}`, or set the key to null"
        )
    try:
        tracker = _started(log_with, run, iteration)
        if settings and log_with == "tensorboard":
            # Its table of hyperparameters would be a run of its own for every chain.
            tracker.log({"configuration": json.dumps(settings, indent=1)}, step=min(values, default=0))
        elif settings:
            tracker.store_init_configuration(dict(settings))
        for step, named in values.items():
            tracker.log(dict(named), step=step)
        run_id = tracker.tracker.info.run_id if log_with == "mlflow" else None
        tracker.finish()
    except Exception as error:
        # Whatever such a package raises: of its network, of its settings, of its account.
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"`tracking.log_with`: {log_with} did not take the scores of {run.name}: {first}") from error
    return run_id


def _started(log_with: str, run: Run, iteration: int) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    # Some of these classes ask it which process they are in.
    PartialState(cpu=True)
    tracker = LOGGER_TYPE_TO_CLASS[log_with](**_options(log_with, run, iteration))
    tracker.start()
    return tracker


def _options(log_with: str, run: Run, iteration: int) -> dict[str, Any]:
    """What each class is called with."""
    match log_with:
        case "tensorboard":
            suffix = f".iteration-{iteration}"
            # What an earlier job said of this cell.
            for old in (run.folder / run.name).glob(f"*{suffix}"):
                old.unlink()
            return {"run_name": run.name, "logging_dir": run.folder, "filename_suffix": suffix}
        case "wandb":
            return {"run_name": run.project, "name": run.name, "id": run.key, "resume": "allow"}
        case "trackio":
            return {"run_name": run.project, "name": run.name, "resume": "allow"}
        case _:
            return {"experiment_name": run.project, "run_name": run.name, "run_id": run.run_id}
