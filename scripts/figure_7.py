"""Draw figure 7: diversity inside groups and colours against the iteration, for every mixture, with intervals."""

import argparse
from pathlib import Path

from nepotism import cli, curves, figures
from nepotism.tables import read_csv, write_csv


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_7")
    cli.add_figure(parser)
    parser.add_argument("--clip", type=Path, required=True, help="folder of the CLIP that scored, for the titles")
    parser.add_argument(
        "--arms", nargs="+", required=True, help="arms to draw, as name:kind (mixture, control or heal)"
    )
    parser.add_argument("--metrics", type=Path, required=True, help="tables/metrics.csv")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    rows = read_csv(arguments.metrics)
    lines = [curves.Line(*arm.split(":")) for arm in arguments.arms]
    points = curves.curve_points(rows, curves.drift_panels(rows, arguments.clip.name), lines)
    svg, png, table = arguments.output
    figures.save(curves.curves(points), [svg, png], arguments.dpi)
    write_csv(table, points)


if __name__ == "__main__":
    main()
