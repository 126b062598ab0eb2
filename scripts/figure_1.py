"""Draw figure 1: images of one group by the base model."""

import argparse
from pathlib import Path

from nepotism.data.images import Pixels
from nepotism.draw import figures
from nepotism.runtime import cli
from nepotism.runtime.options import add_keys

COUNT = 5


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_1")
    cli.add_figure(parser)
    add_keys(parser, "figures", "group")
    parser.add_argument("--samples", type=Path, required=True, help="samples of the base model")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    pixels: dict[str, Pixels] = {}
    slots = figures.slots_of_group(arguments.samples, arguments.group, COUNT)
    records = figures.read_slots(arguments.samples, set(slots), pixels)
    panel = f"{figures.titled(records)}, by the base model"
    pictures = [
        figures.Picture(panel, "", str(number), record.prompt, record.id, str(arguments.samples))
        for number, record in enumerate(records, 1)
    ]
    figures.write_grid(arguments.output, pictures, pixels, arguments.dpi)


if __name__ == "__main__":
    main()
