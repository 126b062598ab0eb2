"""Drawing image sets from a model, with their contact sheets."""

import argparse
import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nepotism.chain.regimes.sims import REGIME as SIMS
from nepotism.data import watermark
from nepotism.data.images import ImageSet, Record, contact_sheet, write_image_set
from nepotism.families.diffusion.pipeline import denoiser_digest, identity, load_pipeline
from nepotism.families.diffusion.sample import sample
from nepotism.runtime import cli
from nepotism.runtime.options import add_key, add_keys
from nepotism.runtime.resume.job import Job
from nepotism.runtime.streams import StreamKey, of_draw
from nepotism.runtime.streams import name as stream_name

logger = logging.getLogger(__name__)

# What decides an image before its watermark, beside its model, caption, source and random stream. Checkpoints hold images
# without the mark.
SETTINGS = (
    "stage_version",
    "guidance_scale",
    "num_inference_steps",
    "scheduler",
    "precision",
    "resolution",
    "strength",
    "negative_weight",
)

# One wanted image: its slot, group, caption and random stream.
Wanted = tuple[str, str, str, StreamKey]


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model that draws, and how."""
    cli.add_base_model(parser)
    cli.add_device(parser)
    cli.add_sampling(parser)
    add_keys(parser, "sample", "watermark")
    add_keys(parser, "model", "resolution")
    parser.add_argument("--model", type=Path, help="folder of the retrained denoiser; without it, the base model's")
    add_key(parser, "negative_weight", SIMS.parameters["weight"], None)
    parser.add_argument(
        "--parent-model",
        type=Path,
        help="with --negative-weight: folder of the denoiser that draws, steered away from --model; without it, the base model's",
    )
    cli.add_resume(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every rule needs to know that draws the images of a cell."""
    add_model(parser)
    cli.add_cell(parser)
    parser.add_argument("--sheet", type=Path, required=True, help="output: contact sheet (PNG)")


class Drawer:
    """Draws images from one model. It is loaded when the first image is drawn, and not if none is.

    Args:
        arguments: base model, model, sampling settings and cell, as `add_options` gives them.
        device: where the model runs.
        job: keeps what was drawn, in case the process is ended.
        image_to_image: whether images are drawn from sources (``arguments.strength``).
        marked: whether images get the mark of ``arguments.watermark``.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        device: torch.device,
        job: Job,
        image_to_image: bool = False,
        marked: bool = True,
    ) -> None:
        self._arguments, self._device, self._job, self._image_to_image = arguments, device, job, image_to_image
        self._mark = arguments.watermark if marked else None

    @cached_property
    def _pipeline(self) -> Any:
        chosen = self._arguments
        steered = chosen.negative_weight is not None
        models = (chosen.parent_model, chosen.model) if steered else (chosen.model, None)
        return load_pipeline(
            chosen.base_model, models[0], chosen.scheduler, self._device,
            chosen.precision, self._image_to_image, chosen.compile, models[1], chosen.negative_weight,
        )  # fmt: skip

    @cached_property
    def _digest(self) -> str:
        chosen = self._arguments
        models = [chosen.model] if chosen.negative_weight is None else [chosen.parent_model, chosen.model]
        digests = [denoiser_digest(chosen.base_model, model) for model in models]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def _interval(self) -> dict[str, Any]:
        """The steps that are guided, where they are not all."""
        interval = self._arguments.guidance_interval
        return {} if interval is None else {"guidance_interval": interval}

    def draw(self, name: str, wanted: Sequence[Wanted], iteration: int, sources: ImageSet | None = None) -> ImageSet:
        """Draw the ``wanted`` images, as the image set ``name`` of the cell.

        Args:
            name: of the image set: an id is cell, name and slot, so that what is drawn anew needs another name.
            wanted: what to draw.
            iteration: of the model.
            sources: real images to start from, one for each; they are named as parents.
        """
        chosen = self._arguments
        checkpoints = self._job.checkpoints(
            name,
            wanted=wanted,
            sources=[] if sources is None else [source.sha256 for source in sources.records],
            base_model=identity(chosen.base_model),
            unet=self._digest,
            settings={key: getattr(chosen, key, None) for key in SETTINGS} | self._interval(),
        )
        pixels = sample(
            self._pipeline,
            [prompt for _, _, prompt, _ in wanted],
            [key for _, _, _, key in wanted],
            chosen.guidance_scale,
            chosen.num_inference_steps,
            chosen.resolution,
            chosen.sample_batch_size,
            f"sample {chosen.cell}/{name}",
            sources=None if sources is None else sources.pixels,
            strength=None if sources is None else chosen.strength,
            checkpoints=checkpoints,
            **self._interval(),
        )
        if self._mark:
            pixels = watermark.mark(pixels, self._mark["key"], self._mark["strength"])
        parents = [()] * len(wanted) if sources is None else [(source.id,) for source in sources.records]
        records = [
            Record(
                f"{chosen.cell}/{name}/{slot}", prompt, group, slot,
                "generated", iteration, parent, self._digest, stream_name(key),
            )
            for (slot, group, prompt, key), parent in zip(wanted, parents, strict=True)
        ]  # fmt: skip
        return ImageSet(pixels, records)


def draw_image_set(
    arguments: argparse.Namespace,
    device: torch.device,
    job: Job,
    name: str,
    wanted: Sequence[Wanted],
    output: Path,
    sources: ImageSet | None = None,
    marked: bool = True,
) -> ImageSet:
    """Draw the ``wanted`` images, write them as the image set ``name`` with its contact sheet, and return them."""
    drawer = Drawer(arguments, device, job, image_to_image=sources is not None, marked=marked)
    images = drawer.draw(name, wanted, arguments.iteration, sources)
    job.check()
    write_image_set(output, images.pixels, images.records)
    contact_sheet(arguments.sheet, images)
    logger.info("%s: %d images", output, len(images.records))
    return images


def add_draw(parser: argparse.ArgumentParser) -> None:
    """``--draw``."""
    parser.add_argument(
        "--draw",
        type=int,
        default=0,
        help="which image of every slot: 0 is the first, and others are drawn from other noise",
    )


def add_purpose(parser: argparse.ArgumentParser) -> None:
    """``--purpose``."""
    parser.add_argument(
        "--purpose", choices=["detector"], help="what the images are for, if no training set: they are of other noise"
    )


def per_slot(records: Sequence[Record], seed: int, iteration: int, purpose: str, draw: int = 0) -> list[Wanted]:
    """One image for every slot of ``records``, from its caption; ``purpose`` and ``draw`` keep random streams apart."""
    named = of_draw(purpose, draw)
    return [(each.slot, each.group, each.prompt, (seed, iteration, named, each.slot)) for each in records]


def per_prompt(prompts: Sequence[str], count: int, seed: int, iteration: int) -> list[Wanted]:
    """``count`` images for every caption, keyed by the caption: adding or reordering captions changes no other image."""
    return [
        (
            f"unseen-{position:02d}/{index:03d}",
            f"unseen-{position:02d}",
            prompt,
            (seed, iteration, "unseen", prompt, index),
        )
        for position, prompt in enumerate(prompts)
        for index in range(count)
    ]
