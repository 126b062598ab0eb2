"""Draw the pretrain and develop splits of the embedded base model: portraits and handwritten digits."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from pretraining import data


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--portraits", type=int, required=True, help="portraits in the pretrain split")
    parser.add_argument("--develop-portraits", type=int, required=True, help="portraits in the develop split")
    parser.add_argument("--pretrain", type=Path, required=True, help="output: .npz of the pretrain split")
    parser.add_argument("--develop", type=Path, required=True, help="output: .npz of the develop split")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    data.save(arguments.pretrain, data.build("pretrain", arguments.portraits))
    data.save(arguments.develop, data.build("develop", arguments.develop_portraits))


if __name__ == "__main__":
    main()
