"""Train the embedded language model and its tokenizer on five novels and save both."""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from pretraining import language, novels, options


def main() -> None:
    parser = cli.parser(__doc__)
    options.add_training(parser, "the novels (.parquet)", "windows of text")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model, tokenizer = language.fit(
        novels.read(arguments.data), arguments.steps, arguments.batch_size, arguments.learning_rate, arguments.seed
    )
    language.save(model, tokenizer, arguments.output)


if __name__ == "__main__":
    main()
