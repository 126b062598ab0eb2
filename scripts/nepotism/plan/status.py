"""Where an experiment stands, from its files alone: which cells are done, which run, what failed, how long the rest takes.

Standard library only; it reads what jobs leave behind, so that it works while they run, wherever they run.
"""

import contextlib
import json
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nepotism.data.cost import costs
from nepotism.experiment.cells import Cell, draw_count
from nepotism.families import family_package
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.runtime.files import RUN_BEGINS
from nepotism.runtime.resume.lease import STALE_SECONDS

State = Literal["done", "running", "failed", "paused", "waiting"]

# The last file that each stage of a cell writes, in order; a control is called after the arm's type.
OUTPUTS = {"mix": "mix.parquet", "finetune": "losses.csv", "sample": "samples.parquet", "score": "metrics.json"}
CURATED, FILTERED = "curated.csv", "filtered.parquet"
# Of families whose generations are made in chunks.
CHUNK_OUTPUTS = {"generations": "samples.parquet", "score_generations": "metrics.json"}


@dataclass(frozen=True)
class CellStatus:
    """Where a cell stands.

    Attributes:
        cell: which.
        state: paused is a cell whose job ended without finishing and has left a checkpoint.
        stage: the first stage that is missing; None if the cell is done.
        missing: all stages that are missing.
        distance: its headline, such as the Fréchet distance, if it is scored.
        message: what it is doing, or what went wrong.
        log: of the missing stage.
        begun: whether a stage of it is done.
    """

    cell: Cell
    state: State
    stage: str | None
    missing: tuple[str, ...]
    distance: float | None
    message: str
    log: Path | None
    begun: bool = False


def cell_statuses(grid: Grid, folder: Path) -> list[CellStatus]:
    """Where every cell of a grid stands.

    Args:
        grid: of the experiment.
        folder: its results.
    """
    now = _now(folder)
    return [_cell_status(grid, folder, cell, now) for cell in grid.cells()]


def _now(folder: Path) -> float:
    """The time by the clock of the file system that heartbeats are written to: those of two machines may differ.

    Where nothing can be written, it is this machine's, but never before the last heartbeat.
    """
    probe = folder / f".probe.{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        beats = (lease.stat().st_mtime for lease in folder.glob("*/*/*/*/.*.state/lease.json"))
        return max([time.time(), *beats])
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _cell_status(grid: Grid, folder: Path, cell: Cell, now: float) -> CellStatus:
    place = folder / cell.path
    outputs = _outputs(grid, cell)
    missing = tuple(stage for stage, name in outputs.items() if not (place / name).is_file())
    distance = _distance(place / "metrics.json", cell.iteration, *headline(grid))
    if not missing:
        return CellStatus(cell, "done", None, (), distance, "", None)
    state, stage, message, log = _state(folder, cell, missing, now)
    return CellStatus(cell, state, stage, missing, distance, message, log, len(missing) < len(outputs))


def _outputs(grid: Grid, cell: Cell) -> dict[str, str]:
    if grid.family != DIFFUSION:
        return CHUNK_OUTPUTS
    arm = grid.arm(cell.control)
    outputs = {arm.control.name: CURATED} if grid.curated_images(cell) else {}
    for stage, name in OUTPUTS.items():
        outputs[stage] = name
        if stage == "mix" and grid.training_set(cell).endswith(FILTERED):
            outputs[arm.control.name] = FILTERED
        if stage == "sample" and arm.regime.adds and cell.iteration < arm.last and draw_count(cell.ratio) > 1:
            outputs["sample_draws"] = f"samples-{draw_count(cell.ratio) - 1}.parquet"
    return outputs


def headline(grid: Grid) -> tuple[str, str]:
    """The score that stands for a cell: its metric and feature space."""
    if grid.family != DIFFUSION:
        return next(iter(family_package(grid.family).HEADLINES)), ""
    return "fid", grid.config["score"]["features"][0]


def _state(folder: Path, cell: Cell, missing: Iterable[str], now: float) -> tuple[State, str, str, Path]:
    """What the cell is at, by the heartbeats of its jobs, and by the logs of missing stages."""
    logs = {stage: _log(folder, stage, cell) for stage in missing}
    beating = {lease.parent.name for lease in (folder / cell.path).glob(".*.state/lease.json") if _is_fresh(lease, now)}
    first = next(iter(logs))
    for stage, log in logs.items():
        if beating and log.is_file() and not _error(log):
            return "running", stage, _last(log), log
    for stage, log in logs.items():
        if log.is_file() and (error := _error(log)):
            return "failed", stage, error, log
    if any((folder / cell.path).glob(".*.state")):
        return "paused", first, "has a checkpoint to go on from", logs[first]
    return "waiting", first, "", logs[first]


def _log(folder: Path, stage: str, cell: Cell) -> Path:
    control, ratio, seed, iteration = cell.path.split("/")
    # Of several draws that were made one after the other, the last.
    draw = f"/draw-{draw_count(cell.ratio) - 1}" if stage == "sample_draws" else ""
    return folder / "logs" / stage / control / ratio / seed / f"{iteration}{draw}.log"


def _is_fresh(path: Path, now: float) -> bool:
    try:
        return now - path.stat().st_mtime < STALE_SECONDS
    except FileNotFoundError:
        return False


def _error(log: Path) -> str | None:
    """The mistake that the last run of a log ends with; None if it does not."""
    lines = _lines(log)
    for number, line in enumerate(lines):
        if found := re.match(r"[\d:]{8} error: (.*)", line):
            return found[1]
        if re.match(r"[\d:]{8} failed$", line):
            return lines[-1] if number + 1 < len(lines) else "failed"
    return None


def _last(log: Path) -> str:
    lines = _lines(log)
    return re.sub(r"^[\d:]{8} ", "", lines[-1]) if lines else ""


def _lines(log: Path) -> list[str]:
    """What the last run wrote into a log."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = text[text.rfind("\n" + RUN_BEGINS) + 1 :].splitlines()
    return lines[1:] if lines and lines[0].startswith(RUN_BEGINS) else lines


def _distance(metrics: Path, iteration: int, metric: str, features: str) -> float | None:
    if not metrics.is_file():
        return None
    rows = json.loads(metrics.read_text(encoding="utf-8"))["rows"]
    found = [
        row["value"] for row in rows
        if (row["iteration"], row["metric"], row["set"], row["features"]) == (iteration, metric, "samples", features)
    ]  # fmt: skip
    return float(found[0]) if found else None


def failures(log: Path) -> list[tuple[str, str]]:
    """The rule and the log file of every job that failed, once each, from Snakemake's own log."""
    errors = re.findall(
        r"^Error in rule (\w+):\n(?:    .*\n)*?    log: ([^\s,]+)",
        log.read_text(encoding="utf-8", errors="replace"),
        re.MULTILINE,
    )
    return list(dict.fromkeys(errors))


@dataclass(frozen=True)
class RemainingWork:
    """What is left to do, in seconds, at the mean time of the jobs that have run.

    Attributes:
        work: one job after the other.
        chain: of the chain that takes longest, whose jobs wait for each other.
        unmeasured: stages that no job has finished yet; their time is not in it.
    """

    work: float
    chain: float
    unmeasured: tuple[str, ...]

    def wall(self, jobs: int) -> float:
        """Seconds with ``jobs`` jobs at a time, at best."""
        return max(self.chain, self.work / jobs)


def remaining_work(found: Iterable[CellStatus], folder: Path) -> RemainingWork:
    """How long the rest takes, by the benchmarks of the jobs that are done."""
    means: Mapping[str, float] = {cost.rule: cost.seconds / cost.jobs for cost in costs(folder / "benchmarks")}
    work = 0.0
    chains: dict[tuple[str, str, int], float] = {}
    unmeasured: dict[str, None] = {}
    for cell_status in found:
        seconds = sum(means.get(stage, 0.0) for stage in cell_status.missing)
        chain = (cell_status.cell.control, cell_status.cell.ratio, cell_status.cell.seed)
        chains[chain] = chains.get(chain, 0.0) + seconds
        work += seconds
        unmeasured |= dict.fromkeys(stage for stage in cell_status.missing if stage not in means)
    return RemainingWork(work, max(chains.values(), default=0.0), tuple(unmeasured))
