"""Train the embedded language model and its tokenizer on five novels and save both."""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from pretraining import language, novels


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the novels (.parquet)")
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps")
    parser.add_argument("--batch-size", type=int, required=True, help="windows of text per step")
    parser.add_argument("--learning-rate", type=float, required=True, help="highest learning rate")
    parser.add_argument("--seed", type=int, required=True, help="seed of weights, windows and dropout")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--output", type=Path, required=True, help="output: folder of the trained model")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model, tokenizer = language.fit(
        novels.read(arguments.data), arguments.steps, arguments.batch_size, arguments.learning_rate, arguments.seed
    )
    language.save(model, tokenizer, arguments.output)


if __name__ == "__main__":
    main()
