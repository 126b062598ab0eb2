"""Draw one image per slot, from the training captions."""

import argparse
from pathlib import Path

from nepotism.data.images import read_records
from nepotism.families.diffusion import sampling
from nepotism.runtime import cli
from nepotism.runtime.devices import start
from nepotism.runtime.resume.job import Job
from nepotism.runtime.streams import of_draw


def main() -> None:
    parser = cli.parser(__doc__, stage="sample")
    sampling.add_options(parser)
    parser.add_argument("--real", type=Path, required=True, help="image set whose slots and captions are sampled")
    parser.add_argument(
        "--noise-iteration", type=int, help="iteration whose noise the images are made of; without it, that of the cell"
    )
    sampling.add_purpose(parser)
    sampling.add_draw(parser)
    parser.add_argument("--output", type=Path, required=True, help="output: image set")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    purpose = arguments.purpose or "sample"
    noise = arguments.iteration if arguments.noise_iteration is None else arguments.noise_iteration
    wanted = sampling.per_slot(read_records(arguments.real), arguments.seed, noise, purpose, arguments.draw)
    name = of_draw(arguments.output.stem if arguments.purpose else "samples", arguments.draw)
    with Job(arguments.output, arguments.checkpoint_seconds) as job:
        device = start(arguments.device, arguments.threads)
        sampling.draw_image_set(arguments, device, job, name, wanted, arguments.output)


if __name__ == "__main__":
    main()
