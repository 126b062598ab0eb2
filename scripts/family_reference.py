"""Write a family's original rows: those to train on, others to compare with, and what it measures with."""

import argparse
from pathlib import Path

from nepotism.families import add_family, imported_family, settings_given, version_of
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__)
    add_family(parser)
    cli.add_device(parser)
    parser.add_argument(
        "--output", type=Path, nargs="+", required=True, help="outputs: the files that the family names"
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    version_of(arguments, "family_reference")
    imported_family(arguments).write_originals(
        settings_given(arguments), {path.stem: path for path in arguments.output}
    )


if __name__ == "__main__":
    main()
