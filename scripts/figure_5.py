"""Draw figure 5: real images above, and below what img2img made of them, which feeds the first retraining."""

import argparse
from pathlib import Path

from nepotism.data.images import Pixels
from nepotism.draw import figures
from nepotism.runtime import cli
from nepotism.runtime.options import add_keys

COUNT = 6


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_5")
    cli.add_figure(parser)
    add_keys(parser, "figures", "group")
    parser.add_argument("--real", type=Path, required=True, help="real images")
    parser.add_argument("--initial-images", type=Path, required=True, help="img2img from them")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    pixels: dict[str, Pixels] = {}
    slots = set(figures.slots_of_group(arguments.real, arguments.group, COUNT))
    pictures = []
    for row, file in (("real", arguments.real), ("img2img", arguments.initial_images)):
        records = figures.read_slots(file, slots, pixels)
        panel = figures.titled(records)
        for number, record in enumerate(records, 1):
            pictures.append(figures.Picture(panel, row, str(number), record.prompt, record.id, str(file)))
    figures.write_grid(arguments.output, pictures, pixels, arguments.dpi)


if __name__ == "__main__":
    main()
