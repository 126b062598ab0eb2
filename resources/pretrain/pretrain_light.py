"""Train a lighter autoencoder of the same latents as the embedded one."""

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
    parser.add_argument("--vae", type=Path, required=True, help="folder of the autoencoder to learn from")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model = vae.lighten(
        vae.load_autoencoder(arguments.vae),
        data.read_split(arguments.data),
        arguments.steps,
        arguments.batch_size,
        arguments.learning_rate,
        arguments.seed,
    )
    model.save_pretrained(arguments.output, safe_serialization=True)


if __name__ == "__main__":
    main()
