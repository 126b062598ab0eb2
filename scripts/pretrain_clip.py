"""Train the CLIP that scores the embedded experiments, apart from the generator."""

import argparse

import torch
from nepotism.pretrain import contrastive, data
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_pretraining(parser)
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model, processor = contrastive.fit(
        data.load(arguments.data),
        arguments.steps,
        arguments.batch_size,
        arguments.learning_rate,
        arguments.seed,
    )
    model.save_pretrained(arguments.output, safe_serialization=True)
    processor.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
