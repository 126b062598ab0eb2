"""Write the manifest of a cell's training set: the real and generated images that its regime takes. Copies no pixels."""

import argparse
import json
import logging
from pathlib import Path

from nepotism.chain.mix import Images, mix
from nepotism.chain.regimes import REGIMES
from nepotism.chain.slots import slots_of
from nepotism.data.images import read_records, write_manifest
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="mix")
    parser.add_argument("--regime", choices=list(REGIMES), required=True, help="what the training set is made of")
    parser.add_argument("--regime-parameters", default="{}", help="its parameters, as JSON")
    parser.add_argument("--real", type=Path, required=True, help="image set with one real image per slot")
    parser.add_argument(
        "--generated", type=Path, nargs="*", default=[],
        help="image sets of the last models, in order, up to that of the iteration before; as many as the regime takes",
    )  # fmt: skip
    parser.add_argument(
        "--draws",
        type=Path,
        nargs="*",
        default=[],
        help="image sets of further draws of the last model, from the second on",
    )
    parser.add_argument("--fed", type=Path, help="image set that another chain drew at the iteration before")
    parser.add_argument("--fresh", type=Path, help="image set of real images that are reserved for this training set")
    parser.add_argument("--ratio", required=True, help="percent of generated images")
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument("--iteration", type=int, required=True, help="of the cell")
    parser.add_argument("--drop-missing", action="store_true", help="leave out slots whose generated image was dropped")
    parser.add_argument("--output", type=Path, required=True, help="output: the manifest (Parquet)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    real = _images(arguments.real)
    regime = REGIMES[arguments.regime]
    parameters = regime.filled(json.loads(arguments.regime_parameters))
    sources = regime.plan(slots_of(real.records, arguments.seed), arguments.ratio, arguments.iteration, parameters)
    records, files = mix(
        sources,
        real,
        [_images(path) for path in arguments.generated],
        arguments.iteration - len(arguments.generated),
        _images(arguments.fresh) if arguments.fresh else None,
        arguments.drop_missing,
        [_images(path) for path in arguments.draws],
        _images(arguments.fed) if arguments.fed else None,
    )
    write_manifest(arguments.output, records, files)
    made = sum(record.origin == "generated" for record in records)
    logging.info("%s: %d images in %d slots, %d generated", arguments.output, len(records), len(real.records), made)


def _images(path: Path) -> Images:
    return Images(read_records(path), str(path))


if __name__ == "__main__":
    main()
