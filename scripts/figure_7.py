"""Draw figure 7: diversity inside groups and colours against the iteration, for every mixture, with intervals."""

from nepotism.draw import curves
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_7")
    cli.add_figure(parser)
    curves.add_options(parser)
    cli.run(lambda arguments: curves.draw_curves(arguments, curves.drift_panels), parser.parse_args())


if __name__ == "__main__":
    main()
