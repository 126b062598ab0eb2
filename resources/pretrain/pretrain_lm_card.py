"""Write the card of the embedded language model: what it was trained on, for how long, how good it is, and what it writes."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from nepotism.runtime.devices import start
from pretraining import language_card


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_device(parser)
    parser.add_argument("--novels", type=Path, required=True, help="what it was trained on (.parquet)")
    parser.add_argument(
        "--original", type=Path, nargs="+", required=True, help="the splits of the sixth novel (.parquet)"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--logs", type=Path, required=True, help="folder of the training logs")
    parser.add_argument("--card", type=Path, required=True, help="output: the card (Markdown)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    start(arguments.device, arguments.threads)
    originals = {path.stem: path for path in arguments.original}
    language_card.write(arguments.card, arguments.novels, originals, arguments.model, arguments.logs)


if __name__ == "__main__":
    main()
