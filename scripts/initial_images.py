"""Iteration 0: an img2img version of every real image by the base model; they feed the first retraining."""

import argparse
from pathlib import Path

from nepotism.data.images import read_image_set
from nepotism.families.diffusion import sampling
from nepotism.runtime import cli
from nepotism.runtime.devices import start
from nepotism.runtime.options import add_keys
from nepotism.runtime.resume.job import Job
from nepotism.runtime.streams import of_draw


def main() -> None:
    parser = cli.parser(__doc__, stage="initial_images")
    sampling.add_options(parser)
    add_keys(parser, "initial_images", "strength")
    parser.add_argument("--real", type=Path, required=True, help="image set to start from")
    sampling.add_draw(parser)
    sampling.add_purpose(parser)
    parser.add_argument("--output", type=Path, required=True, help="output: image set")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    with Job(arguments.output, arguments.checkpoint_seconds) as job:
        device = start(arguments.device, arguments.threads)
        real = read_image_set(arguments.real)
        # The name of a random stream stays what it was: another one draws other images.
        purpose = arguments.purpose or "seed_images"
        wanted = sampling.per_slot(real.records, arguments.seed, arguments.iteration, purpose, arguments.draw)
        name = of_draw(arguments.output.stem if arguments.purpose else "initial_images", arguments.draw)
        sampling.draw_image_set(arguments, device, job, name, wanted, arguments.output, sources=real)


if __name__ == "__main__":
    main()
