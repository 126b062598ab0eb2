"""Train the CLIP that scores the embedded experiments, apart from the generator."""

import argparse
from pathlib import Path

import torch
from nepotism import cli
from nepotism.pretrain import contrastive, data


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the pretrain split (.npz)")
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps")
    parser.add_argument("--batch-size", type=int, required=True, help="images per step")
    parser.add_argument("--learning-rate", type=float, required=True, help="highest learning rate")
    parser.add_argument("--seed", type=int, required=True, help="seed of weights and batches")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--output", type=Path, required=True, help="output: folder of the CLIPModel")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model, processor = contrastive.fit(
        data.load(arguments.data), arguments.steps, arguments.batch_size, arguments.learning_rate, arguments.seed
    )
    model.save_pretrained(arguments.output, safe_serialization=True)
    processor.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
