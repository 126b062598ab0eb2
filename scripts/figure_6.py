"""Draw figure 6: the images that culling dropped, those of the highest single-image FID first, a row per iteration."""

import argparse
from pathlib import Path

from nepotism.data.images import Pixels
from nepotism.data.tables import read_text_csv
from nepotism.draw import figures
from nepotism.experiment.cells import cell_in
from nepotism.runtime import cli

COUNT = 8


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_6")
    cli.add_figure(parser)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="curated.csv of the cells")
    parser.add_argument(
        "--images", type=Path, nargs="+", required=True, help="the images that each cell's control judged"
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    pixels: dict[str, Pixels] = {}
    pictures = []
    for table, images in zip(arguments.tables, arguments.images, strict=True):
        cell = cell_in(str(table))
        assert cell is not None, table
        dropped = [row for row in read_text_csv(table) if row["kept"] == "False"]
        worst = sorted(dropped, key=lambda row: -float(row["sifid"]))[:COUNT]
        records = {record.slot: record for record in figures.read_slots(images, {row["slot"] for row in worst}, pixels)}
        for number, row in enumerate(worst, 1):
            record = records[row["slot"]]
            panel = "dropped before each retraining (a row each), the highest single-image FID first"
            pictures.append(
                figures.Picture(panel, str(cell.iteration), str(number), record.prompt, record.id, str(images))
            )
    figures.write_grid(arguments.output, pictures, pixels, arguments.dpi)


if __name__ == "__main__":
    main()
