"""Run the frozen encoders once: latents of real images and their mirrors, embeddings of the captions."""

import argparse
from pathlib import Path

from nepotism.data.images import read_image_set
from nepotism.families.diffusion import autoencoders, preflight
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones import backbone_of
from nepotism.families.diffusion.latents import Encoded, encode_images, write_encoded
from nepotism.families.diffusion.pipeline import check_base_model, encode_prompts, load_pipeline
from nepotism.runtime import cli
from nepotism.runtime.devices import start
from nepotism.runtime.errors import UserError

# Real images that the model's prediction type is tried on, before anything is retrained.
TRIED = 4


def main() -> None:
    parser = cli.parser(__doc__, stage="encode")
    cli.add_base_model(parser)
    cli.add_device(parser)
    parser.add_argument("--real", type=Path, required=True, help="image set to encode: one image per slot")
    parser.add_argument("--output", type=Path, required=True, help="output: latents and text embeddings (safetensors)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    device = start(arguments.device, arguments.threads)
    check_base_model(arguments.base_model)
    images = read_image_set(arguments.real)
    backbone = backbone_of(arguments.base_model)
    pipeline = load_pipeline(arguments.base_model, None, backbone.any_scheduler, device)
    prompts = [*dict.fromkeys(record.prompt for record in images.records), ""]
    text = encode_prompts(pipeline, prompts)
    preflight.warn_of_truncated(pipeline, prompts)
    posteriors = encode_images(pipeline.vae, images.pixels)
    tried = posteriors.mean[:TRIED, 0].to(device) * autoencoders.scaling_factor(pipeline.vae)
    captions = texts.rows(text, [prompts.index(record.prompt) for record in images.records[:TRIED]])
    network = getattr(pipeline, backbone.denoiser)
    if problems := list(
        preflight.prediction_problems(network, backbone.objective(arguments.base_model), tried, captions)
    ):
        raise UserError(problems[0])
    write_encoded(arguments.output, Encoded(posteriors, [record.id for record in images.records], text, prompts))


if __name__ == "__main__":
    main()
