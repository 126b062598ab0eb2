"""Train the CLIP that scores the embedded experiments, apart from the generator."""

import argparse
from pathlib import Path

import torch
from nepotism import cli
from nepotism.pretrain import contrastive, data


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_pretraining(parser)
    parser.add_argument("--start", type=Path, help="folder of a CLIPModel to go on from")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model, processor = contrastive.fit(
        data.load(arguments.data),
        arguments.steps,
        arguments.batch_size,
        arguments.learning_rate,
        arguments.seed,
        arguments.start,
    )
    model.save_pretrained(arguments.output, safe_serialization=True)
    processor.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
