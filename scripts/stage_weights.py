"""Download weights or data that the config names, once, with their checksums; compute nodes need no network then."""

import argparse
from pathlib import Path

from nepotism.runtime import cli
from nepotism.weights.downloads import fetcher
from nepotism.weights.staging import stage


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--source",
        required=True,
        help="hub: or dataset:<organisation>/<repository>@<revision>, clean-fid or torchvision",
    )
    parser.add_argument("--folder", type=Path, required=True, help="output: folder of the weights and their SHA256SUMS")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    stage(arguments.source, arguments.folder, fetcher(arguments.source))


if __name__ == "__main__":
    main()
