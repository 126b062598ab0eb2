"""Run the frozen encoders once per experiment: latents of the real images and their mirrors, embeddings of the captions."""

import argparse
from pathlib import Path

from nepotism import cli
from nepotism.devices import start
from nepotism.families.diffusion.latents import Encoded, encode_images, write_encoded
from nepotism.families.diffusion.pipeline import check_base_model, encode_prompts, load_pipeline
from nepotism.images import read_image_set


def main() -> None:
    parser = cli.parser(__doc__, stage="encode")
    cli.add_base_model(parser)
    cli.add_device(parser)
    parser.add_argument("--real", type=Path, required=True, help="image set to encode")
    parser.add_argument("--output", type=Path, required=True, help="output: latents and text embeddings (safetensors)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    device = start(arguments.device, arguments.threads)
    check_base_model(arguments.base_model)
    images = read_image_set(arguments.real)
    pipeline = load_pipeline(arguments.base_model, None, "DDIMScheduler", device)
    prompts = [*dict.fromkeys(record.prompt for record in images.records), ""]
    text = encode_prompts(pipeline, prompts)
    posteriors = encode_images(pipeline.vae, images.pixels)
    write_encoded(arguments.output, Encoded(posteriors, [record.slot for record in images.records], text, prompts))


if __name__ == "__main__":
    main()
