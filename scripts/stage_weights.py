"""Download weights that the config names, once, with their checksums; compute nodes need no network then."""

import argparse
from pathlib import Path

from nepotism import cli
from nepotism.errors import UserError
from nepotism.staging import stage
from nepotism.weights import staged_name


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--source", required=True, help="hub:<organisation>/<repository>@<revision>, clean-fid, torchvision or deepface"
    )
    parser.add_argument("--folder", type=Path, required=True, help="output: folder of the weights and their SHA256SUMS")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    if staged_name(arguments.source) is None:
        raise UserError(f"--source {arguments.source} is no download; --help says what it may be")
    stage(arguments.source, arguments.folder)


if __name__ == "__main__":
    main()
