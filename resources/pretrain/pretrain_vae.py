"""Train the autoencoder of the embedded base model."""

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
    parser.add_argument("--latent-channels", type=int, required=True, help="channels of the latents")
    parser.add_argument("--narrow", type=Path, help="folder of an autoencoder with fewer channels to start from")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model = vae.fit(
        data.read_split(arguments.data),
        arguments.steps,
        arguments.batch_size,
        arguments.learning_rate,
        arguments.seed,
        arguments.latent_channels,
        vae.load_autoencoder(arguments.narrow).requires_grad_(True) if arguments.narrow else None,
    )
    model.save_pretrained(arguments.output, safe_serialization=True)


if __name__ == "__main__":
    main()
