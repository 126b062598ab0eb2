"""Drawing an image set from a model: what `sample` and `sample_unseen` share."""

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from nepotism import cli
from nepotism.devices import start
from nepotism.families.diffusion.pipeline import load_pipeline, unet_digest
from nepotism.families.diffusion.sample import sample
from nepotism.images import ImageSet, Record, contact_sheet, write_image_set
from nepotism.streams import Key, name

logger = logging.getLogger(__name__)

# One wanted image: its slot, group, caption and random stream.
Wanted = tuple[str, str, str, Key]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that both command lines have."""
    cli.add_base_model(parser)
    cli.add_device(parser)
    cli.add_sampling(parser)
    parser.add_argument("--resolution", type=int, required=True, help="height and width in pixels")
    parser.add_argument("--model", type=Path, help="folder of the retrained U-Net; without it, the base model's")
    parser.add_argument("--cell", required=True, help="whose samples these are: the first part of their ids")
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument("--iteration", type=int, required=True, help="how often the model was retrained")
    parser.add_argument("--output", type=Path, required=True, help="output: image set")
    parser.add_argument("--sheet", type=Path, required=True, help="output: contact sheet (PNG)")


def run(arguments: argparse.Namespace, what: str, plan: Callable[[argparse.Namespace], Sequence[Wanted]]) -> None:
    """Draw what ``plan`` asks for and write the image set ``what`` with its contact sheet."""
    device = start(arguments.device, arguments.threads)
    wanted = plan(arguments)
    pipeline = load_pipeline(arguments.base_model, arguments.model, arguments.scheduler, device)
    pixels = sample(
        pipeline,
        [prompt for _, _, prompt, _ in wanted],
        [key for _, _, _, key in wanted],
        arguments.guidance_scale,
        arguments.num_inference_steps,
        arguments.resolution,
        arguments.sample_batch_size,
        f"sample {arguments.cell}/{what}",
    )
    digest = unet_digest(arguments.base_model, arguments.model)
    records = [
        Record(
            f"{arguments.cell}/{what}/{slot}", prompt, group, slot,
            "generated", arguments.iteration, (), digest, name(key),
        )
        for slot, group, prompt, key in wanted
    ]  # fmt: skip
    write_image_set(arguments.output, pixels, records)
    contact_sheet(arguments.sheet, ImageSet(pixels, records))
    logger.info("%s: %d images", arguments.output, len(records))
