"""Draw figure 3: Frechet distance and CLIP score against the iteration, for every ratio, control and healing, with intervals."""

from nepotism.draw import curves
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_3")
    cli.add_figure(parser)
    curves.add_options(parser)
    cli.run(lambda arguments: curves.draw_curves(arguments, curves.score_panels), parser.parse_args())


if __name__ == "__main__":
    main()
