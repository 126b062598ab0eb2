"""Write the manifest of a cell's training set: a real or a generated image for every slot. Copies no pixels."""

import argparse
import logging
from pathlib import Path

from nepotism.chain import slots
from nepotism.data.images import read_records, write_manifest
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="mix")
    parser.add_argument("--real", type=Path, required=True, help="image set with one real image per slot")
    parser.add_argument("--generated", type=Path, help="image set with generated images; not needed at ratio 0")
    parser.add_argument("--ratio", required=True, help="percent of generated images")
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument("--drop-missing", action="store_true", help="leave out slots whose generated image was dropped")
    parser.add_argument("--output", type=Path, required=True, help="output: the manifest (Parquet)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    real = read_records(arguments.real)
    generated = read_records(arguments.generated) if arguments.generated else []
    records, files = slots.mix(
        real,
        str(arguments.real),
        generated,
        str(arguments.generated),
        arguments.ratio,
        arguments.seed,
        arguments.drop_missing,
    )
    write_manifest(arguments.output, records, files)
    logging.info(
        "%s: %d of %d slots generated", arguments.output, sum(r.origin == "generated" for r in records), len(records)
    )


if __name__ == "__main__":
    main()
