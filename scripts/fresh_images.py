"""Reserve real images for a single use: disjoint from `real`, from `holdout`, and from all other sets that are reserved."""

import argparse
from pathlib import Path

from nepotism.runtime import cli
from nepotism.sources import reference


def main() -> None:
    parser = cli.parser(__doc__, stage="reference")
    reference.add_source(parser)
    parser.add_argument(
        "--fresh-sets",
        nargs="+",
        required=True,
        help="names of the sets that are reserved before this one, and its own",
    )
    parser.add_argument("--output", type=Path, required=True, help="output: image set")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    if arguments.selection:
        # Only that source is imported.
        from nepotism.sources.ffhq.source import reserved_images

        split = reserved_images(arguments.path, arguments.selection, arguments.resolution, arguments.resize_filter)
    else:
        split = reference.from_arguments(arguments, arguments.fresh_sets).fresh[arguments.fresh_sets[-1]]
    reference.write(arguments.output, split, "fresh")


if __name__ == "__main__":
    main()
