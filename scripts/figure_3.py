"""Draw figure 3: Frechet distance and CLIP score against the iteration, one line per ratio, with intervals."""

import argparse
from pathlib import Path

from nepotism import cli, figures
from nepotism.tables import read_csv, write_csv


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_3")
    parser.add_argument("--dpi", type=int, default=200, help="resolution of the PNG")
    parser.add_argument("--clip", type=Path, required=True, help="folder of the CLIP that scored, for the titles")
    parser.add_argument("--metrics", type=Path, required=True, help="tables/metrics.csv")
    parser.add_argument("--output", type=Path, nargs=3, required=True, help="output: .svg, .png and the table (.csv)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    rows = read_csv(arguments.metrics)
    arm = next(row.control for row in rows if row.control != "base")
    points = figures.curve_points(rows, arm, arguments.clip.name)
    svg, png, table = arguments.output
    figures.save(figures.curves(points), [svg, png], arguments.dpi)
    write_csv(table, points)


if __name__ == "__main__":
    main()
