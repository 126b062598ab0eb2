"""Draw figure 9: what models draw at the end of every remedy, a row per arm, one image of several groups."""

import argparse
from pathlib import Path

from nepotism.data.images import Pixels, read_records
from nepotism.draw import figures
from nepotism.experiment.cells import BASELINE_ARM, cell_in
from nepotism.runtime import cli

GROUPS = 10


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_9")
    cli.add_figure(parser)
    parser.add_argument("--real", type=Path, required=True, help="real images")
    parser.add_argument("--base", type=Path, required=True, help="samples of the base model")
    parser.add_argument("--samples", type=Path, nargs="+", required=True, help="samples of the last cells, in order")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    pixels: dict[str, Pixels] = {}
    first_slots = {record.group: record.slot for record in reversed(read_records(arguments.real))}
    groups = sorted(first_slots)
    count = min(GROUPS, len(groups))
    # Spread over the whole list, first and last included.
    shown = [groups[index * (len(groups) - 1) // max(count - 1, 1)] for index in range(count)]
    slots = {first_slots[group] for group in shown}
    pictures = []
    for row, file in [("real", arguments.real), ("base model", arguments.base), *map(_named, arguments.samples)]:
        records = sorted(figures.read_slots(file, slots, pixels), key=lambda record: shown.index(record.group))
        pictures += [figures.Picture("", row, each.group, each.prompt, each.id, str(file)) for each in records]
    figures.write_grid(arguments.output, pictures, pixels, arguments.dpi)


def _named(file: Path) -> tuple[str, Path]:
    cell = cell_in(str(file))
    assert cell is not None, file
    name = "no remedy" if cell.control == BASELINE_ARM else cell.control
    return f"{name}, {cell.ratio} %, iteration {cell.iteration}", file


if __name__ == "__main__":
    main()
