"""Drop generated images whose single-image FID exceeds the threshold of iteration 0, and replace them."""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nepotism.chain.slots import read_treated
from nepotism.controls.sifid_cull import CONTROL
from nepotism.controls.sifid_cull.culling import Verdict, cull
from nepotism.controls.sifid_cull.sifid import SifidScores, read_real, score
from nepotism.data.images import ImageSet, Record, contact_sheet, read_image_set, write_image_set
from nepotism.data.tables import write_csv
from nepotism.families.diffusion import sampling
from nepotism.families.diffusion.sifid_features import all_patches, extractor
from nepotism.runtime import cli
from nepotism.runtime.devices import start
from nepotism.runtime.options import add_keys, add_parameters
from nepotism.runtime.resume.job import Job


def main() -> None:
    parser = cli.parser(__doc__, stage="sifid_cull")
    sampling.add_model(parser)
    cli.add_control(parser)
    add_parameters(parser, CONTROL.parameters)
    add_keys(parser, "initial_images", "strength", required=False)
    parser.add_argument(
        "--features-model",
        type=Path,
        help="folder of the pipeline whose autoencoder compares images; without it, that of the one that draws",
    )
    parser.add_argument("--threshold", type=Path, required=True, help="from sifid_threshold (JSON)")
    parser.add_argument("--statistics", type=Path, required=True, help="from sifid_threshold")
    parser.add_argument("--sheet", type=Path, required=True, help="output: contact sheet of what was dropped (PNG)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    with Job(arguments.output, arguments.checkpoint_seconds) as job:
        judge_and_replace(arguments, job)


def judge_and_replace(arguments: argparse.Namespace, job: Job) -> None:
    device = start(arguments.device, arguments.threads)
    extract = extractor(
        arguments.features, arguments.features_model or arguments.base_model,
        arguments.inception, arguments.inception_sha256, device,
    )  # fmt: skip
    real = read_image_set(arguments.real)
    statistics = read_real(arguments.statistics)
    generated = read_treated(arguments.generated, real.records, arguments.ratio, arguments.seed)
    threshold = json.loads(arguments.threshold.read_text(encoding="utf-8"))["threshold"]
    drawer = sampling.Drawer(arguments, device, job, image_to_image=arguments.strength is not None)

    def scored(images: ImageSet) -> SifidScores:
        found = all_patches(extract, images.pixels, device, f"features {arguments.cell}")
        return score(found, images.records, statistics, real.records, arguments.pair)

    def drawn(records: Sequence[Record], attempt: int) -> ImageSet:
        # Keyed by the model's iteration, not by the arm.
        wanted = [
            (
                each.slot,
                each.group,
                each.prompt,
                (arguments.seed, arguments.iteration - 1, "regenerate", each.slot, attempt),
            )
            for each in records
        ]
        started_from = None if arguments.strength is None else sources(real, records)
        # An image set of its own for every attempt, so that no two images of a slot have one id.
        return drawer.draw(f"regenerated-{attempt}", wanted, arguments.iteration - 1, started_from)

    curated, verdicts = cull(
        generated, threshold, arguments.replacement, arguments.tries, scored, drawn,
        arguments.cell, arguments.seed, arguments.iteration,
    )  # fmt: skip
    dropped = [index for index, verdict in enumerate(verdicts) if not verdict.kept]
    job.check()
    contact_sheet(arguments.sheet, ImageSet(generated.pixels[dropped], [generated.records[index] for index in dropped]))
    write_csv(arguments.table, verdicts, Verdict)
    write_image_set(arguments.output, curated.pixels, curated.records)
    logging.info("%s: %d of %d images dropped", arguments.output, len(dropped), len(verdicts))


def sources(real: ImageSet, records: Sequence[Record]) -> ImageSet:
    """The real images of the same slots."""
    at = {record.slot: index for index, record in enumerate(real.records)}
    chosen = [at[record.slot] for record in records]
    return ImageSet(np.ascontiguousarray(real.pixels[chosen]), [real.records[index] for index in chosen])


if __name__ == "__main__":
    main()
