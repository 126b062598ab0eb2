"""Write the card of the embedded flow model: what it was trained on, for how long, and how good it is."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from nepotism.runtime.devices import start
from pretraining import data, flow_card


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_device(parser)
    parser.add_argument("--pretrain", type=Path, required=True, help="the pretrain split (.npz)")
    parser.add_argument("--develop", type=Path, required=True, help="the develop split (.npz)")
    parser.add_argument("--flow", type=Path, required=True, help="folder of the pipeline")
    parser.add_argument("--clip", type=Path, required=True, help="folder of the CLIPModel")
    parser.add_argument("--logs", type=Path, required=True, help="folder of the training logs")
    parser.add_argument("--card", type=Path, required=True, help="output: the card (Markdown)")
    parser.add_argument("--sheet", type=Path, required=True, help="output: contact sheet of guided samples (PNG)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    device = start(arguments.device, arguments.threads)
    flow_card.write(
        arguments.card,
        arguments.sheet,
        data.read_split(arguments.pretrain),
        data.read_split(arguments.develop),
        arguments.flow,
        arguments.clip,
        arguments.logs,
        device,
    )


if __name__ == "__main__":
    main()
