"""Diagnostic: pass real images through the autoencoder again and again, without any retraining, and score them."""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from nepotism.data.images import ImageSet, read_image_set, write_image_set
from nepotism.data.tables import Row, write_metrics
from nepotism.families.diffusion.latents import round_trip
from nepotism.families.diffusion.pipeline import load_vae
from nepotism.measure.evaluation import RowKey, compare, embed, fidelity, from_arguments, read_reference
from nepotism.runtime import cli
from nepotism.runtime.devices import start
from nepotism.runtime.options import add_keys


def main() -> None:
    parser = cli.parser(__doc__, stage="vae_round_trips")
    cli.add_base_model(parser)
    cli.add_device(parser)
    cli.add_evaluator(parser)
    add_keys(parser, "diagnostics", "vae_round_trips")
    parser.add_argument("--real", type=Path, required=True, help="image set to pass through")
    parser.add_argument("--reference", type=Path, required=True, help="features of the real images (.npz)")
    parser.add_argument("--experiment", required=True, help="column of the table")
    parser.add_argument("--output", type=Path, required=True, help="output: image set with all scored passes")
    parser.add_argument("--metrics", type=Path, required=True, help="output: scores (JSON)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    device = start(arguments.device, arguments.threads)
    vae = load_vae(arguments.base_model, "fp32").to(device)
    evaluator, reference = from_arguments(arguments, device), read_reference(arguments.reference)
    real = read_image_set(arguments.real)
    pixels, scored, rows = real.pixels, [], list[Row]()
    for passes in range(1, max(arguments.vae_round_trips) + 1):
        # As 8-bit images in between, as images that are stored and used again are.
        pixels = round_trip(vae, pixels)
        if passes in arguments.vae_round_trips:
            records = [
                dataclasses.replace(
                    record,
                    id=f"reference/vae-{passes}/{record.slot}",
                    origin="generated",
                    iteration=passes,
                    parents=(record.id,),
                )
                for record in real.records
            ]
            scored.append(ImageSet(pixels, records))
            # Nothing is random here, so that there is one row for all seeds, under seed 0.
            place = RowKey(arguments.experiment, "base", "", 0, passes)
            rows += compare(place, "vae", embed(evaluator, scored[-1]), reference)
            rows += fidelity(place, "vae", scored[-1], real)
    records = [record for images in scored for record in images.records]
    write_image_set(arguments.output, np.concatenate([images.pixels for images in scored]), records)
    write_metrics(arguments.metrics, rows)


if __name__ == "__main__":
    main()
