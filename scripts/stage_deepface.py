"""Download DeepFace's classifiers and its default detector, once, with their checksums."""

import argparse
from pathlib import Path

from nepotism.runtime import cli
from nepotism.sources.ffhq import deepface
from nepotism.weights.staging import from_network, stage


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="output: DeepFace's home and its SHA256SUMS")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    def download(folder: Path) -> None:
        with from_network("deepface"):
            deepface.download(folder)

    stage("deepface", arguments.folder, download)


if __name__ == "__main__":
    main()
