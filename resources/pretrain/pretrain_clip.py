"""Train the CLIP that scores the embedded experiments, apart from the generator."""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from pretraining import contrastive, data, options


def main() -> None:
    parser = cli.parser(__doc__)
    options.add_training(parser)
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model, processor = contrastive.fit(
        data.read_split(arguments.data),
        arguments.steps,
        arguments.batch_size,
        arguments.learning_rate,
        arguments.seed,
    )
    model.save_pretrained(arguments.output, safe_serialization=True)
    processor.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
