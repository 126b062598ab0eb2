"""Train the autoencoder of the embedded base model."""

import argparse
from pathlib import Path

import torch
from nepotism import cli
from nepotism.pretrain import data, vae


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the pretrain split (.npz)")
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps")
    parser.add_argument("--batch-size", type=int, required=True, help="images per step")
    parser.add_argument("--learning-rate", type=float, required=True, help="highest learning rate")
    parser.add_argument("--seed", type=int, required=True, help="seed of weights and batches")
    parser.add_argument("--latent-channels", type=int, required=True, help="channels of the latents")
    parser.add_argument("--narrow", type=Path, help="folder of an autoencoder with fewer channels to start from")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--output", type=Path, required=True, help="output: folder of the AutoencoderKL")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model = vae.fit(
        data.load(arguments.data),
        arguments.steps,
        arguments.batch_size,
        arguments.learning_rate,
        arguments.seed,
        arguments.latent_channels,
        vae.load(arguments.narrow).requires_grad_(True) if arguments.narrow else None,
    )
    model.save_pretrained(arguments.output, safe_serialization=True)


if __name__ == "__main__":
    main()
