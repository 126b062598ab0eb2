"""What an experiment will take, from its configuration alone: cells, jobs, hours and disk. Standard library only."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nepotism.data.user_files import is_metadata, visible
from nepotism.data.user_tables import positive, read_user_csv, refuse
from nepotism.experiment.cells import Cell, generated_count
from nepotism.plan.grid import Grid
from nepotism.weights.locations import location

# Bytes of one pixel as PNG; photographs and smooth drawings differ by half of that.
PNG_BYTES_PER_PIXEL = 1.6
# Bytes of a model and its optimizer state in a checkpoint, per byte of the U-Net: weights and two moments.
CHECKPOINT = 3
# What is assumed of a U-Net that is not on disk yet: that of Stable Diffusion, 866 million parameters.
STABLE_DIFFUSION_BYTES = 3_463_726_498
# Rules whose jobs load the model.
STARTING = ("finetune", "sample", "sample_draws", "initial_draws", "score", "sifid_cull")


@dataclass(frozen=True)
class Rate:
    """A measured speed: a row of resources/rates.csv.

    Attributes:
        device: name of the device.
        parameters: of the U-Net, in millions.
        resolution: pixels.
        precision: of training and of sampling, such as bf16/fp16; with "compiled" after it, if networks were.
        train_per_second: images per second of retraining.
        passes_per_second: images times network passes per second of sampling; guidance takes two a step.
        job_seconds: start of a job, with loading the model.
        measured: when and with what.
    """

    device: str
    parameters: float
    resolution: int
    precision: str
    train_per_second: float
    passes_per_second: float
    job_seconds: float
    measured: str


@dataclass(frozen=True)
class Forecast:
    """What will be done.

    Attributes:
        cells: number of cells.
        jobs: number of jobs by rule, of those that take long.
        slots: images of a training set.
        trained: images that all retrainings see, epochs counted.
        passes: images times network passes of all sampling; new draws of culling not counted.
        unet_bytes: size of one retrained model.
        final_bytes: of disk at the end.
        peak_bytes: of disk while it runs.
    """

    cells: int
    jobs: dict[str, int]
    slots: int
    trained: int
    passes: int
    unet_bytes: int
    final_bytes: int
    peak_bytes: int

    def hours(self, rate: Rate) -> float:
        """Hours of one device at measured speeds."""
        seconds = self.trained / rate.train_per_second + self.passes / rate.passes_per_second
        starts = sum(count for rule, count in self.jobs.items() if rule in STARTING)
        return (seconds + starts * rate.job_seconds) / 3600


def read_rates(path: Path) -> list[Rate]:
    """The measured speeds.

    Raises:
        UserError: listing the lines that are no such speeds.
    """
    rows, problems = read_user_csv(path, [field.name for field in fields(Rate)])
    rates = []
    for number, row in rows:
        try:
            rates.append(
                Rate(**{field.name: _value(field.name, field.type, row[field.name]) for field in fields(Rate)})
            )
        except ValueError as error:
            problems.append(f"{path.name} line {number}: {error}")
    refuse(str(path), problems)
    return rates


def _value(column: str, kind: Any, text: str) -> Any:
    if kind is str:
        return text
    value = positive(text)
    if value is None or not (kind is float or value.is_integer()):
        raise ValueError(f"column {column} has '{text}'; expected a positive number")
    return kind(value)


def precisions(grid: Grid) -> str:
    """The arithmetic of an experiment, as `Rate.precision` names it."""
    named = f"{grid.config['finetune']['precision']}/{grid.config['sample']['precision']}"
    return named + (" compiled" if grid.config["execution"]["compile"] else "")


def fitting_rates(grid: Grid, rates: Iterable[Rate], million: float) -> list[Rate]:
    """The speeds that were measured with such a model, of ``million`` parameters, in the experiment's arithmetic."""
    size, named = grid.config["model"]["resolution"], precisions(grid)
    return [
        rate
        for rate in rates
        if (rate.resolution, rate.precision) == (size, named) and math.isclose(rate.parameters, million, rel_tol=0.1)
    ]


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
    culled = [cell for cell in treated if grid.arm(cell.control).control.name == "sifid_cull"]
    jobs = {
        "classify_faces": grid.shards(),
        "initial_images": bases,
        "initial_draws": len(of_base),
        "sample_base": bases,
        "redraw_base": redrawn,
        "histogram_match": len(treated) - len(culled),
        "sifid_cull": len(culled),
        "mix": len(cells),
        "finetune": len(cells),
        "sample": len(cells),
        "sample_draws": len(of_cells),
        "score": len(cells) + bases + redrawn,
    }
    unseen = len(config["unseen"]["prompts"]) * config["unseen"]["images_per_prompt"]
    arms = [grid.arm(cell.control) for cell in cells]
    trained = sum(
        round(slots * share_of_slots(grid, cell)) * grid.block("finetune", grid.arm(cell.control))["epochs"]
        for cell in cells
    )
    passes = sum(passes_per_image(grid.block("sample", arm)) * (slots + unseen) for arm in arms)
    for base in grid.bases:
        first, sample = (grid.block(name, grid.arm_of_base(base)) for name in ("initial_images", "sample"))
        passes += (_img2img(first) * slots + passes_per_image(sample) * (slots + unseen)) * len(grid.seeds)
    passes += sum(_img2img(grid.block("initial_images", grid.arm(cell.control))) * slots for cell in of_base)
    passes += sum(passes_per_image(grid.block("sample", grid.arm(cell.control))) * slots for cell in of_cells)
    passes += passes_per_image(config["sample"]) * (slots + unseen) * redrawn
    pixels = config["model"]["resolution"] ** 2
    drawn = (len(cells) + redrawn) * (slots + unseen) + bases * (2 * slots + unseen) + len(draws) * slots
    curated = sum(generated_count(float(cell.ratio), slots) for cell in treated)
    images = int((drawn + curated + 3 * slots) * pixels * PNG_BYTES_PER_PIXEL)
    unet = unet_bytes(grid)
    kept = _kept(grid, cells)
    final = kept * unet + images
    running = devices * unet * (2 * CHECKPOINT + (0 if kept == len(cells) else 2))
    return Forecast(
        len(cells),
        {rule: count for rule, count in jobs.items() if count},
        slots,
        trained,
        passes,
        unet,
        final,
        final + running,
    )


def _kept(grid: Grid, cells: Sequence[Cell]) -> int:
    """How many retrained models are left at the end."""
    if grid.config["execution"]["keep_models"] == "all":
        return len(cells)
    return len(grid.last_cells())


def share_of_slots(grid: Grid, cell: Cell) -> float:
    """How many images an epoch of a cell sees, over the number of slots: more than 1 where each image is seen equally often and
    generated ones come on top of all real ones."""
    arm = grid.arm(cell.control)
    if not arm.regime.adds or grid.block("finetune", arm)["budget"] == "steps":
        return 1.0
    return 1 + float(cell.ratio) / 100


def _img2img(block: Mapping[str, Any]) -> int:
    """Network passes for one image that begins at a real one."""
    return int(passes_per_image(block) * block["strength"])


def passes_per_image(block: Mapping[str, Any]) -> int:
    """Network passes for one image; ``block`` is the config's `initial_images` or `sample`, as an arm has it."""
    return int(block["num_inference_steps"]) * (2 if block["guidance_scale"] > 1 else 1)


def unet_bytes(grid: Grid) -> int:
    """Size of the base model's U-Net; that of Stable Diffusion if it is not there yet."""
    weights = list((Path(str(location(grid.config["model"]["path"]))) / "unet").glob("*.safetensors"))
    return sum(file.stat().st_size for file in weights) or STABLE_DIFFUSION_BYTES
