"""Take the novels of Jane Austen out of Debian's package r-cran-janeaustenr: five to train on, one for experiments."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from pretraining import novels


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder …/janeaustenr/data of the unpacked package")
    parser.add_argument("--pretrain", type=Path, required=True, help="output: five novels (.parquet)")
    parser.add_argument("--original", type=Path, required=True, help="output: folder for the sixth, in three splits")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    texts = {name: novels.paragraphs(lines) for name, lines in novels.read_package(arguments.data).items()}
    if novels.ORIGINAL not in texts:
        raise cli.UserError(f"{arguments.data}: there is no {novels.ORIGINAL} among {', '.join(texts)}")
    original = texts.pop(novels.ORIGINAL)
    novels.write(arguments.pretrain, [part for text in texts.values() for part in text])
    for split, parts in novels.splits(original).items():
        novels.write(arguments.original / f"{split}.parquet", parts)


if __name__ == "__main__":
    main()
