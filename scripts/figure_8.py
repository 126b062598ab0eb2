"""Draw figure 8: how good must a filter be? The excess that a filtered arm ends with, against the share of generated rows left."""

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from nepotism.data.tables import read_csv, write_csv
from nepotism.draw.curves import titled
from nepotism.draw.figures import nothing, save
from nepotism.experiment.cells import BASELINE_ARM
from nepotism.families.diffusion.contamination import Point, points
from nepotism.runtime import cli
from nepotism.runtime.options import add_keys

MARKERS = "osD^v<>*PXdph"


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_8")
    cli.add_figure(parser)
    add_keys(parser, "score", "clip")
    parser.add_argument("--arms", nargs="*", default=[], help="arms with a filter")
    parser.add_argument("--metrics", type=Path, required=True, help="tables/metrics.csv")
    parser.add_argument("--jackknife", type=Path, required=True, help="tables/jackknife.csv")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    found = points(read_csv(arguments.metrics, arguments.jackknife), arguments.arms)
    write_csv(arguments.output[2], found, Point)
    save(drawn(found, arguments.clip.name) if found else nothing("filter"), arguments.output[:2], arguments.dpi)


def drawn(found: list[Point], clip: str) -> Figure:
    """A panel per feature space: the plain mixtures as a line, filtered arms as symbols, each the same in all panels."""
    spaces = list(dict.fromkeys(point.features for point in found))
    filters = [arm for arm in dict.fromkeys(point.arm for point in found) if arm != BASELINE_ARM]
    figure = Figure(figsize=(3.6 * len(spaces) + 1.6, 3.4), layout="constrained")
    axes = figure.subplots(1, len(spaces), squeeze=False)[0]
    for axis, space in zip(axes, spaces, strict=True):
        mine = [point for point in found if point.features == space]
        for arm in dict.fromkeys(point.arm for point in mine):
            number = filters.index(arm) if arm in filters else None
            _line(axis, [point for point in mine if point.arm == arm], number)
        axis.axhline(0, color="black", linewidth=0.5)
        axis.set_xlabel("generated rows among those trained on, %", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.set_title(titled("Fréchet distance", space, clip), fontsize=9)
    axes[0].set_ylabel("excess over real images, share of that at 100 %", fontsize=8)
    looks = {label: look for axis in axes for look, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(list(looks.values()), list(looks), loc="outside right upper", fontsize=7)
    return figure


def _line(axis: Axes, mine: list[Point], number: int | None) -> None:
    """The points of an arm: of the plain mixtures without a number."""
    plain = number is None
    x, y = [100 * point.contamination for point in mine], [point.share for point in mine]
    errors = [[point.share - point.low for point in mine], [point.high - point.share for point in mine]]
    axis.errorbar(
        x, y, errors, label="no filter" if plain else mine[0].arm, color="black" if plain else f"C{number}",
        linestyle="-" if plain else "", marker="." if plain else MARKERS[(number or 0) % len(MARKERS)],
        capsize=2, linewidth=1, markersize=5,
    )  # fmt: skip


if __name__ == "__main__":
    main()
