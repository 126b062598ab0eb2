"""Train the decoder of the embedded autoencoder on, with its encoder frozen."""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from pretraining import data, options, vae


def main() -> None:
    parser = cli.parser(__doc__)
    options.add_training(parser)
    parser.add_argument("--vae", type=Path, required=True, help="folder of the autoencoder to go on from")
    parser.add_argument("--adversarial", action="store_true", help="train against a discriminator, which sharpens")
    parser.add_argument(
        "--bf16", action="store_true", help="matrix products in bfloat16: faster on processors with AMX"
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model = vae.refine_decoder(
        vae.load_autoencoder(arguments.vae),
        data.read_split(arguments.data),
        arguments.steps,
        arguments.batch_size,
        arguments.learning_rate,
        arguments.seed,
        arguments.adversarial,
        arguments.bf16,
    )
    model.save_pretrained(arguments.output, safe_serialization=True)


if __name__ == "__main__":
    main()
