"""Draw figure 2: the same slot through all iterations, one row per ratio, and below it an unseen caption."""

import argparse
from pathlib import Path

from nepotism import cli, figures
from nepotism.grid import cell_in
from nepotism.images import Pixels, read_image_set, read_records
from nepotism.tables import write_csv


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_2")
    parser.add_argument("--slot", help="slot to show; without it, the first")
    parser.add_argument("--dpi", type=int, default=200, help="resolution of the PNG")
    parser.add_argument("--samples", type=Path, nargs="+", required=True, help="samples of base and cells")
    parser.add_argument("--unseen", type=Path, nargs="+", required=True, help="unseen samples of base and cells")
    parser.add_argument("--output", type=Path, nargs=3, required=True, help="output: .svg, .png and the table (.csv)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    pixels: dict[str, Pixels] = {}
    panels: dict[str, list[figures.Picture]] = {}
    for files, wanted in ((arguments.samples, arguments.slot), (arguments.unseen, None)):
        slots = [record.slot for record in read_records(files[0])]
        slot = wanted or slots[0]
        if slot not in slots:
            raise cli.UserError(
                f"`figures.slot`: there is no slot {slot}; there are, for instance: {', '.join(slots[:3])}"
            )
        name = ""
        pictures = []
        for file in files:
            images = read_image_set(file, {slot})
            record, cell = images.records[0], cell_in(str(file))
            name = f"“{record.prompt}”" + ("" if files is arguments.samples else " (never trained on)")
            ratio, iteration = (cell.ratio, cell.iteration) if cell else ("", 0)
            pixels[record.id] = images.pixels[0]
            pictures.append(figures.Picture(name, ratio, iteration, record.prompt, record.id, str(file)))
        panels[name] = pictures
    svg, png, table = arguments.output
    figures.save(figures.image_grid(panels, pixels), [svg, png], arguments.dpi)
    write_csv(table, [picture for pictures in panels.values() for picture in pictures])


if __name__ == "__main__":
    main()
