"""Match the colours of generated images to those of the real images whose colours are distributed most alike."""

import argparse
import dataclasses
import logging
import time

import numpy as np
from nepotism.chain.slots import read_treated
from nepotism.controls.histogram_match import CONTROL
from nepotism.controls.histogram_match import colours as control
from nepotism.data.images import read_image_set, write_image_set
from nepotism.data.tables import write_csv
from nepotism.measure.colour import contrast, saturation
from nepotism.runtime import cli
from nepotism.runtime.options import add_keys, add_parameters

COLUMNS = ["slot", "group", "image", "target", "divergence", "saturation_before", "saturation_after", "saturation_target",
           "contrast_before", "contrast_after", "contrast_target"]  # fmt: skip


def main() -> None:
    parser = cli.parser(__doc__, stage="histogram_match")
    cli.add_control(parser)
    add_parameters(parser, CONTROL.parameters)
    add_keys(parser, "execution", "threads")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    start = time.monotonic()
    real = read_image_set(arguments.real)
    generated = read_treated(arguments.generated, real.records, arguments.ratio, arguments.seed)
    bins, threads = arguments.bins, arguments.threads
    of_generated = control.histograms(generated.pixels, bins, threads, "histograms (generated)")
    of_real = control.histograms(real.pixels, bins, threads, "histograms (real)")
    divergences = control.divergences(of_generated, of_real, arguments.direction, arguments.epsilon)
    nearest = control.nearest(divergences, [record.slot for record in real.records])
    logging.info("decoding, histograms and divergences: %.1f s", time.monotonic() - start)
    # Views of the real images, no copies: at full size a set of them takes most of a gigabyte.
    targets = (real.pixels[at] for at in nearest)
    matched = control.match_all(generated.pixels, targets, threads, "matching")
    parents = [(mine.id, real.records[at].id) for mine, at in zip(generated.records, nearest, strict=True)]
    records = [
        dataclasses.replace(mine, id=f"{arguments.cell}/curated/{mine.slot}", parents=both)
        for mine, both in zip(generated.records, parents, strict=True)
    ]
    colours = [
        values
        for statistic in (saturation, contrast)
        for values in (statistic(generated.pixels), statistic(matched), statistic(real.pixels)[nearest])
    ]
    rows = [
        [record.slot, record.group, *record.parents, divergences[row, nearest[row]], *values]
        for row, (record, values) in enumerate(zip(records, np.stack(colours, 1), strict=True))
    ]
    write_csv(arguments.table, rows, COLUMNS)
    write_image_set(arguments.output, matched, records)
    logging.info(
        "%s: %d images matched to %d different real ones in %.1f s",
        arguments.output, len(records), len(set(nearest.tolist())), time.monotonic() - start,
    )  # fmt: skip


if __name__ == "__main__":
    main()
