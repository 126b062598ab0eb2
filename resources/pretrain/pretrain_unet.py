"""Train U-Net and text encoder of the embedded base model and save the whole pipeline."""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from pretraining import data, denoiser, options, vae


def main() -> None:
    parser = cli.parser(__doc__)
    options.add_training(parser)
    parser.add_argument("--vae", type=Path, required=True, help="folder of the trained autoencoder")
    parser.add_argument("--start", type=Path, help="folder of a pipeline whose U-Net and text encoder to go on from")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    pipeline = denoiser.fit(
        data.read_split(arguments.data),
        vae.load_autoencoder(arguments.vae),
        arguments.steps,
        arguments.batch_size,
        arguments.learning_rate,
        arguments.seed,
        arguments.start,
    )
    pipeline.save_pretrained(arguments.output, safe_serialization=True)


if __name__ == "__main__":
    main()
