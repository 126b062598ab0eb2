"""Draw figure 4: healing, one image of five groups through the retrainings on real images only, a panel per ratio."""

import argparse
from pathlib import Path

from nepotism.data.images import Pixels, read_records
from nepotism.draw import figures
from nepotism.experiment.cells import cell_in
from nepotism.runtime import cli

GROUPS = 5


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_4")
    cli.add_figure(parser)
    parser.add_argument(
        "--samples",
        type=Path,
        nargs="+",
        required=True,
        help="samples of the branching point, then of the healing cells, ratio by ratio",
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    pixels: dict[str, Pixels] = {}
    first_slots = {record.group: record.slot for record in reversed(read_records(arguments.samples[0]))}
    groups = sorted(first_slots)
    # Spread over the whole list, first and last included.
    shown = [groups[index * (len(groups) - 1) // (GROUPS - 1)] for index in range(GROUPS)]
    slots = {first_slots[group] for group in shown}
    found = []
    for file in arguments.samples:
        cell = cell_in(str(file))
        assert cell is not None, file
        panel = f"{cell.ratio} %: before healing, and after each retraining on real images only, by iteration"
        for record in figures.read_slots(file, slots, pixels):
            found.append(figures.Picture(panel, record.group, str(cell.iteration), record.prompt, record.id, str(file)))
    # Rows in the order of the groups, whatever that of the images.
    pictures = sorted(found, key=lambda picture: shown.index(picture.row))
    figures.write_grid(arguments.output, pictures, pixels, arguments.dpi)


if __name__ == "__main__":
    main()
