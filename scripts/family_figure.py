"""Draw a figure of a family whose generations are made in chunks."""

import importlib
import json
from pathlib import Path

from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="family_figure")
    cli.add_figure(parser)
    parser.add_argument("--family", required=True, help="kind of model: a package of nepotism.families")
    parser.add_argument("--arms", type=json.loads, required=True, help="settings of every arm, as JSON")
    parser.add_argument("--figure", required=True, help="name of the figure: a function of the family's figures")
    parser.add_argument("--metrics", type=Path, required=True, help="tables/metrics.csv")
    parser.add_argument(
        "--samples", type=Path, nargs="+", required=True, help="rows of every condition, chunk by chunk"
    )
    arguments = parser.parse_args()
    figures = importlib.import_module(f"nepotism.families.{arguments.family}.figures")
    cli.run(getattr(figures, f"draw_{arguments.figure}"), arguments)


if __name__ == "__main__":
    main()
