"""What an experiment will take, from its configuration alone: cells, jobs, hours and disk. Standard library only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nepotism.data.user_files import is_metadata, visible
from nepotism.experiment.cells import Cell, generated_count
from nepotism.plan.arms import Arm
from nepotism.plan.denoisers import WEIGHT_BYTES, Denoiser, denoiser
from nepotism.plan.grid import Grid
from nepotism.plan.knobs import guided_steps, images_seen, weights_kept
from nepotism.plan.rates import Rate

# Bytes of one pixel as PNG; photographs and smooth drawings differ by half of that.
PNG_BYTES_PER_PIXEL = 1.6
# Rules whose jobs load the model.
STARTING = (
    "initial_images", "initial_draws", "sample_base", "redraw_base", "detector_images", "finetune", "sample", "sample_draws",
    "select_draws", "sifid_cull", "score",
)  # fmt: skip


@dataclass(frozen=True)
class Forecast:
    """What will be done.

    Attributes:
        cells: number of cells.
        jobs: number of jobs by rule, of those that take long.
        slots: images of a training set.
        trained: images that all retrainings see, epochs counted.
        passes: images times network passes of all sampling; new draws of culling not counted.
        denoiser: what is retrained; None if its size is not known.
        models: how many retrained models are left at the end.
        final_bytes: of disk at the end; without models, if their size is not known.
        peak_bytes: of disk while it runs.
        others: of base models beside the experiment's own, by their sources: what of ``trained`` and ``passes`` is theirs, and
            what is retrained; None if its size is not known.
    """

    cells: int
    jobs: dict[str, int]
    slots: int
    trained: int
    passes: int
    denoiser: Denoiser | None
    models: int
    final_bytes: int
    peak_bytes: int
    others: Mapping[str, tuple[int, int, Denoiser | None]] = field(default_factory=dict)

    def hours(self, rate: Rate) -> float:
        """Hours of one device at measured speeds."""
        seconds = self.trained / rate.train_per_second + self.passes / rate.passes_per_second
        starts = sum(count for rule, count in self.jobs.items() if rule in STARTING)
        return (seconds + starts * rate.job_seconds) / 3600


def groups(config: dict[str, Any]) -> int:
    """Number of groups of an experiment, by its configuration alone.

    Raises:
        ValueError: if only the images tell.
    """
    reference = config["reference"]
    match reference["source"]:
        case "portraits":
            return 30
        case "digits":
            return 10
        case "ffhq" if reference["ffhq"]["labels"] == "deepface":
            ffhq = reference["ffhq"]
            dropped = sum(entry["to"] is None for entry in ffhq["rename"])
            sizes = {"age": len(ffhq["ages"]), "race": 6 - dropped, "gender": 2}
            product = 1
            for factor in ffhq["factors"]:
                product *= sizes[factor]
            return product
    raise ValueError("how many groups there are, only the images tell; give the number with --groups")


def groups_of_folder(folder: Path) -> int | None:
    """Number of groups of a user's images: that of its sub-folders; None where there is a table of them, or no folder."""
    if not folder.is_dir():
        return None
    entries = visible(folder)
    if any(is_metadata(entry.name) and not entry.is_dir() for entry in entries):
        return None
    return sum(entry.is_dir() for entry in entries)


def forecast(grid: Grid, group_count: int, devices: int = 1) -> Forecast:
    """What all cells of the grid take, from nothing.

    Args:
        grid: of the experiment.
        group_count: number of groups.
        devices: how many retrainings run side by side.
    """
    config = grid.config
    slots = group_count * config["reference"]["images_per_group"]
    cells = grid.cells()
    bases, redrawn = len(grid.bases) * len(grid.seeds), len(grid.redrawn()) * len(grid.seeds)
    treated = [cell for cell in cells if grid.curated_images(cell)]
    # Cells at iteration 1 share those of the base model.
    draws = {file: cell for cell in cells for file in grid.further_draws(cell)}
    of_base = [cell for cell in draws.values() if grid.parent(cell) is None]
    of_cells = [cell for cell in draws.values() if grid.parent(cell) is not None]
    filtered = [cell for cell in cells if grid.arm(cell.control).filters and grid.trains_on_generated(cell)]
    judged = [cell for cell in treated + filtered if grid.detector(cell)]
    detected = _images_of_detectors(grid, judged)
    jobs = {
        "classify_faces": grid.shards(),
        "initial_images": bases,
        "initial_draws": len(of_base),
        "sample_base": bases,
        "redraw_base": redrawn,
        **Counter(grid.arm(cell.control).control.name for cell in treated),
        "mix": len(cells),
        "detector_images": len(detected),
        "train_detector": len({grid.detector(cell) for cell in judged}),
        "filter": len(filtered),
        "finetune": len(cells),
        "sample": len(cells),
        "sample_draws": len(of_cells),
        "score": len(cells) + bases + redrawn,
    }
    unseen = len(config["unseen"]["prompts"]) * config["unseen"]["images_per_prompt"]
    arms = [grid.arm(cell.control) for cell in cells]
    # By base model, whose speeds and sizes differ.
    trained, passes = Counter[str](), Counter[str]()
    for cell, arm in zip(cells, arms, strict=True):
        trained[arm.model] += images_seen(grid.block("finetune", arm), round(slots * share_of_slots(grid, cell)))
        passes[arm.model] += passes_of(grid, arm, cell.iteration) * (slots + unseen)
    for base in grid.bases:
        begins = grid.arm_of_base(base)
        first, sample = grid.block("initial_images", begins), grid.sampling(begins, 0)
        drawn_by = begins.model if begins else ""
        passes[drawn_by] += (_img2img(first) * slots + passes_per_image(sample) * (slots + unseen)) * len(grid.seeds)
    for arm in (grid.arm(cell.control) for cell in of_base):
        passes[arm.model] += _img2img(grid.block("initial_images", arm)) * slots
    for cell in of_cells:
        arm = grid.arm(cell.control)
        passes[arm.model] += passes_of_treated(grid, arm, cell.iteration) * slots
    again = sum(passes_per_image(grid.sampling(None, iteration)) for iteration in grid.redrawn())
    passes[""] += again * (slots + unseen) * len(grid.seeds)
    for cell in treated:
        passes[grid.arm(cell.control).model] += _selected_passes(grid, cell, slots)
    for arm, iteration in detected.values():
        passes[arm.model] += passes_of_treated(grid, arm, iteration + 1) * slots
    pixels = config["model"]["resolution"] ** 2
    drawn = (len(cells) + redrawn) * (slots + unseen) + bases * (2 * slots + unseen)
    drawn += (len(draws) + len(detected)) * slots
    curated = sum(generated_count(float(cell.ratio), slots) for cell in treated)
    images = int((drawn + curated + (3 + len(grid.fresh_sets())) * slots) * pixels * PNG_BYTES_PER_PIXEL)
    networks = {model: denoiser(source) for model, source in grid.models.items()}
    sizes = {model: each.bytes if each else 0 for model, each in networks.items()}
    kept = _kept(grid, cells)
    final = sum(sizes[grid.arm(cell.control).model] for cell in kept) + images
    # Of a checkpoint, and of the one that is being written.
    running = devices * max(
        2 * (checkpoint_bytes(network, grid.block("finetune", arm)) if (network := networks[arm.model]) else 0)
        + (0 if len(kept) == len(cells) else 2 * sizes[arm.model])
        for arm in grid.arms
    )
    return Forecast(
        len(cells),
        {rule: count for rule, count in jobs.items() if count},
        slots,
        trained.total(),
        passes.total(),
        networks[""],
        len(kept),
        final,
        final + running,
        {source: (trained[model], passes[model], networks[model]) for model, source in grid.models.items() if model},
    )


def checkpoint_bytes(network: Denoiser, finetune: Mapping[str, Any]) -> int:
    """Size of a checkpoint of retraining; of updates of low rank, only what is not theirs."""
    return round(WEIGHT_BYTES * (weights_kept(finetune) * network.parameters + network.constants))


def new_draws(arm: Arm) -> int:
    """Images per slot that an arm's control draws in any case: those that `select_draws` chooses from, but for the first."""
    return int(arm.parameters["draws"]) - 1 if arm.control.name == "select_draws" else 0


def _selected_passes(grid: Grid, cell: Cell, slots: int) -> int:
    """Network passes of the images that a cell's control draws in any case."""
    arm = grid.arm(cell.control)
    return generated_count(cell.ratio, slots) * new_draws(arm) * passes_of_treated(grid, arm, cell.iteration)


def passes_of_treated(grid: Grid, arm: Arm, iteration: int) -> int:
    """Network passes for one of the generated images that are trained on at an iteration: the first time those of iteration 0,
    which begin at real ones."""
    return passes_of(grid, arm, iteration - 1) if iteration > 1 else _img2img(grid.block("initial_images", arm))


def _images_of_detectors(grid: Grid, judged: Sequence[Cell]) -> dict[tuple[str, int], tuple[Arm, int]]:
    """The models that draw images for detectors, by folder and seed, each as an arm and its iteration: base models, or, for detectors
    that are trained for every iteration, the parents of cells."""
    models = {}
    for cell in judged:
        arm = grid.arm(cell.control)
        of_cell = grid.parent(cell) if arm.parameters.get("retrained") else None
        folder = of_cell.path if of_cell else arm.base
        models[folder, cell.seed] = (arm, of_cell.iteration if of_cell else 0)
    return models


def _kept(grid: Grid, cells: Sequence[Cell]) -> Sequence[Cell]:
    """The cells whose retrained models are left at the end."""
    return cells if grid.config["execution"]["keep_models"] == "all" else grid.last_cells()


def share_of_slots(grid: Grid, cell: Cell) -> float:
    """How many images an epoch of a cell sees, over the number of slots: another number than 1 where each image is seen equally
    often and a regime takes more of them, or fewer."""
    arm = grid.arm(cell.control)
    if grid.block("finetune", arm)["budget"] == "steps":
        return 1.0
    if arm.regime.branches:
        return float(arm.parameters["share"]) / 100
    if arm.regime.name == "accumulate":
        return 1.0 + cell.iteration
    return 1 + float(cell.ratio) / 100 if arm.regime.adds else 1.0


def _img2img(block: Mapping[str, Any]) -> int:
    """Network passes for one image that begins at a real one."""
    return int(passes_per_image(block) * block["strength"])


def passes_per_image(block: Mapping[str, Any]) -> int:
    """Network passes for one image; ``block`` is the config's `initial_images` or `sample`, as an arm has it at an iteration."""
    steps = int(block["num_inference_steps"])
    return steps + (guided_steps(steps, block.get("guidance_interval")) if block["guidance_scale"] > 1 else 0)


def passes_of(grid: Grid, arm: Arm | None, iteration: int) -> int:
    """Network passes for one image of an arm's model after ``iteration`` retrainings: twice as many where two models draw it."""
    models = 2 if arm and arm.regime.extrapolates == "scores" else 1
    return models * passes_per_image(grid.sampling(arm, iteration))
