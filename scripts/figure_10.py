"""Draw figure 10: from which ratio on, and after how many retrainings, collapse begins, as a map and as survival of seeds."""

import argparse

from nepotism.data.tables import read_csv, write_csv
from nepotism.draw.figures import save
from nepotism.draw.maps import MapPoint, map_points, threshold_maps
from nepotism.judge.contrasts import ScoreTable
from nepotism.judge.threshold import add_arms, measured
from nepotism.runtime import cli
from nepotism.runtime.options import add_keys


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_10")
    cli.add_figure(parser)
    add_keys(parser, "score", "clip")
    add_arms(parser)
    cli.add_looks(parser)
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    arms = [tuple(words.split(":")) for words in arguments.arms]
    found = list(measured(ScoreTable(read_csv(arguments.metrics)), arms, arguments.metric))
    write_csv(arguments.output[2], [point for each in found for point in map_points(each)], MapPoint)
    shown = [each for each in found if each.statistic == arguments.metric]
    save(threshold_maps(shown, arguments.clip.name, arguments.looks), arguments.output[:2], arguments.dpi)


if __name__ == "__main__":
    main()
