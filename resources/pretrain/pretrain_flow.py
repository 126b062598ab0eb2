"""Train transformer and text encoder of the embedded flow model and save the whole pipeline."""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from pretraining import data, flow, options, vae


def main() -> None:
    parser = cli.parser(__doc__)
    options.add_training(parser)
    parser.add_argument("--vae", type=Path, required=True, help="folder of the trained autoencoder")
    parser.add_argument("--start", type=Path, help="folder of a pipeline whose transformer and encoder to go on from")
    parser.add_argument("--compile", action="store_true", help="compile the transformer: needs a C++ compiler")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    pipeline = flow.fit(
        data.read_split(arguments.data),
        vae.load_autoencoder(arguments.vae),
        arguments.steps,
        arguments.batch_size,
        arguments.learning_rate,
        arguments.seed,
        arguments.start,
        arguments.compile,
    )
    flow.save(pipeline, arguments.output)


if __name__ == "__main__":
    main()
