"""Iteration 0: an img2img version of every real image by the base model; they feed the first retraining."""

import argparse
from pathlib import Path

from nepotism import cli
from nepotism.devices import start
from nepotism.families.diffusion.pipeline import load_pipeline, unet_digest
from nepotism.families.diffusion.sample import sample
from nepotism.images import Record, read_image_set, write_image_set
from nepotism.streams import name


def main() -> None:
    parser = cli.parser(__doc__, stage="seed_images")
    cli.add_base_model(parser)
    cli.add_device(parser)
    cli.add_sampling(parser)
    parser.add_argument(
        "--strength", type=float, required=True, help="share of the diffusion run on top of the real image"
    )
    parser.add_argument("--real", type=Path, required=True, help="image set to start from")
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument("--output", type=Path, required=True, help="output: image set")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    device = start(arguments.device, arguments.threads)
    real = read_image_set(arguments.real)
    pipeline = load_pipeline(arguments.base_model, None, arguments.scheduler, device, image_to_image=True)
    keys = [(arguments.seed, 0, "seed_images", record.slot) for record in real.records]
    pixels = sample(
        pipeline,
        [record.prompt for record in real.records],
        keys,
        arguments.guidance_scale,
        arguments.num_inference_steps,
        real.pixels.shape[1],
        arguments.sample_batch_size,
        f"seed_images seed-{arguments.seed}",
        sources=real.pixels,
        strength=arguments.strength,
    )
    digest = unet_digest(arguments.base_model, None)
    records = [
        Record(
            f"base/seed-{arguments.seed}/seed_images/{source.slot}", source.prompt, source.group, source.slot,
            "generated", 0, (source.id,), digest, name(key),
        )
        for source, key in zip(real.records, keys, strict=True)
    ]  # fmt: skip
    write_image_set(arguments.output, pixels, records)


if __name__ == "__main__":
    main()
