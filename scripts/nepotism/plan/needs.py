"""What jobs ask a cluster for: memory and minutes, from measurements. Standard library only.

They are asked for on the first attempt; the Snakefile asks for more on each further one.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from nepotism.experiment.cells import Cell, draw_count
from nepotism.plan.arms import Arm
from nepotism.plan.denoisers import WEIGHT_BYTES, denoiser
from nepotism.plan.forecast import new_draws, passes_per_image, share_of_slots
from nepotism.plan.grid import Grid
from nepotism.plan.knobs import images_seen, most_guided, weights_kept
from nepotism.plan.rates import Rate, fitting_rates

# What a job holds beside model and images: 1.1 GB at most were measured on the default run (tables/cost.csv).
LOADED_MB = 1800
# A model that nobody knows the size of yet, in parameters, is asked for as Stable Diffusion 2 is: too little is asked for again, and more.
UNKNOWN_PARAMETERS = 866_000_000
# Copies of the denoiser in memory, of jobs that retrain as `_trained` counts them.
MODELS, OTHER_MODELS, TRAINING = {"reference": 0, "histogram_match": 0}, 2, ("finetune", "preflight")
# Image sets as large as the training set, in bytes, in memory: 5.2 GB were measured for matching 900 images of 512 x 512.
IMAGE_SETS, OTHER_IMAGE_SETS = {"reference": 6, "histogram_match": 8}, 2
# The same for every image per slot that a control draws: its source, the image, and one in a batch of them or in a checkpoint.
IMAGE_SETS_OF_DRAWS = 3
# Without a measured rate of the model: that of a GPU several years old, and deliberately slow.
UNMEASURED = Rate("any GPU", 866, 512, "fp32/fp32", 4.0, 12.0, 60.0, "assumed")
# Groups of an experiment where only the images tell how many there are.
UNKNOWN_GROUPS = 100
# How much longer a job may take than was measured, and what it is given at least, in minutes.
MARGIN = 3
LEAST_MINUTES = 15


class Needs:
    """Needs of the jobs of a grid.

    Args:
        grid: of the experiment.
        rates: measured speeds.
        groups: number of groups of images; None where it is not known.
    """

    def __init__(self, grid: Grid, rates: Iterable[Rate], groups: int | None) -> None:
        self._grid = grid
        networks = {model: denoiser(source) for model, source in grid.models.items()}
        parameters = {model: each.parameters if each else UNKNOWN_PARAMETERS for model, each in networks.items()}
        self._bytes = {
            model: each.bytes if each else WEIGHT_BYTES * parameters[model] for model, each in networks.items()
        }
        self._slots = int((groups or UNKNOWN_GROUPS) * grid.config["reference"]["images_per_group"])
        known = list(rates)
        self._rates = {model: _rate(grid, count / 1e6, known) for model, count in parameters.items()}

    def memory_mb(self, stage: str, arm: Arm | None = None) -> int:
        """Megabytes of a job that loads the model or many images; ``stage`` is the name of its rule, ``arm`` as in `minutes`."""
        size = self._grid.config["model"]["resolution"]
        images = self._slots * size * size * 3
        models: float = MODELS.get(stage, OTHER_MODELS)
        sets = IMAGE_SETS.get(stage, OTHER_IMAGE_SETS)
        if stage in TRAINING:
            # Before all retrainings of a model, what takes most is tried.
            same = [each for each in self._grid.arms if each.model == (arm.model if arm else "")]
            models = max(map(self._trained, [arm] if stage == "finetune" or not same else same))
        if arm and arm.regime.extrapolates == "scores" and stage not in MODELS and stage not in TRAINING:
            # Two models draw.
            models *= 2
        if stage == "select_draws":
            assert arm is not None
            sets += IMAGE_SETS_OF_DRAWS * new_draws(arm)
        if stage == "finetune":
            # Ratios above 100 take several images of a slot.
            sets += max([0, *(draw_count(ratio) - 1 for ratio in (arm.ratios if arm else ()))])
        # What the chain that feeds a cell's draws is embedded, too.
        sets += stage == "score" and arm is not None and arm.regime.listens
        return LOADED_MB + math.ceil((models * self._bytes[arm.model if arm else ""] + sets * images) / 1e6)

    def minutes(self, stage: str, arm: Arm | None) -> int:
        """Minutes of a job that retrains or samples.

        Args:
            stage: name of the rule.
            arm: whose settings it has; None for the config's own.
        """
        grid, rate = self._grid, self._rates[arm.model if arm else ""]
        if stage == "finetune":
            largest = arm and Cell(arm.name, max(arm.ratios, key=float), grid.seeds[0], arm.last)
            images = self._slots * (share_of_slots(grid, largest) if largest else 1)
            seconds = images_seen(grid.block("finetune", arm), round(images)) / rate.train_per_second
        else:
            initial = stage == "initial_images"
            block = grid.block(stage, arm) if initial else most_guided(grid.block("sample", arm))
            models = 2 if arm and arm.regime.extrapolates == "scores" and not initial else 1
            seconds = self._drawn(stage, arm) * models * passes_per_image(block) / rate.passes_per_second
        return max(LEAST_MINUTES, math.ceil(MARGIN * (rate.job_seconds + seconds) / 60))

    def _trained(self, arm: Arm | None) -> float:
        """Copies of the denoiser that a retraining holds: weights and gradients, two moments, perhaps an average, and a checkpoint
        of all but the gradients. Of low-rank updates all these are small, but weights are there twice while they are loaded, and
        those that are extrapolated from beside them."""
        kept = weights_kept(self._grid.block("finetune", arm))
        beside = arm is not None and arm.regime.extrapolates == "weights"
        return 1 + 2 * kept if kept else OTHER_MODELS + beside

    def _drawn(self, stage: str, arm: Arm | None) -> int:
        """Images that a job draws at most."""
        if stage == "score":
            unseen = self._grid.config["unseen"]
            return len(unseen["prompts"]) * int(unseen["images_per_prompt"])
        if stage == "sifid_cull":
            assert arm is not None
            return self._slots * int(arm.parameters["tries"])
        if stage == "select_draws":
            assert arm is not None
            return self._slots * new_draws(arm)
        return self._slots


def _rate(grid: Grid, million: float, rates: Iterable[Rate]) -> Rate:
    """The slowest measured speed of such a model, trained like this or else in full; else the assumption, slower for larger models
    and images."""
    known = list(rates)
    if fitting := fitting_rates(grid, known, million) or fitting_rates(grid, known, million, training=""):
        return min(fitting, key=lambda rate: rate.train_per_second)
    size = grid.config["model"]["resolution"]
    work = max(1.0, million * size**2 / (UNMEASURED.parameters * UNMEASURED.resolution**2))
    return replace(
        UNMEASURED,
        train_per_second=UNMEASURED.train_per_second / work,
        passes_per_second=UNMEASURED.passes_per_second / work,
    )
