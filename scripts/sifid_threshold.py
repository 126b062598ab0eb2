"""Fix the culling threshold: the mean single-image FID between iteration 0's images and the real ones (paper, section 3.4)."""

import argparse
import json
import logging
from pathlib import Path

from nepotism.controls.sifid_cull import CONTROL
from nepotism.controls.sifid_cull.sifid import RealPatches, roots, score, write_real
from nepotism.data.images import read_image_set
from nepotism.families.diffusion.sifid_features import all_patches, extractor
from nepotism.runtime import cli
from nepotism.runtime.devices import start
from nepotism.runtime.files import write_text
from nepotism.runtime.options import add_parameters


def main() -> None:
    parser = cli.parser(__doc__, stage="sifid_threshold")
    cli.add_base_model(parser)
    cli.add_device(parser)
    add_parameters(parser, CONTROL.parameters, "features", "inception", "inception_sha256", "pair")
    parser.add_argument(
        "--initial-images", type=Path, required=True, help="img2img images of iteration 0, one per slot"
    )
    parser.add_argument("--real", type=Path, required=True, help="the real images that they were made from")
    parser.add_argument("--output", type=Path, required=True, help="output: the threshold (JSON)")
    parser.add_argument("--statistics", type=Path, required=True, help="output: patch statistics of the real images")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    device = start(arguments.device, arguments.threads)
    extract = extractor(
        arguments.features, arguments.base_model, arguments.inception, arguments.inception_sha256, device
    )
    real, first = read_image_set(arguments.real), read_image_set(arguments.initial_images)
    of_real = all_patches(extract, real.pixels, device, "features (real)")
    statistics = RealPatches(of_real.mean, roots(of_real.covariance))
    of_first = all_patches(extract, first.pixels, device, "features (iteration 0)")
    scores = score(of_first, first.records, statistics, real.records, arguments.pair)
    threshold = float(scores.sifid.mean())
    write_real(arguments.statistics, statistics)
    content = {
        "threshold": threshold,
        "pair": arguments.pair,
        "features": arguments.features,
        "n": len(first.records),
        "sd": float(scores.sifid.std(ddof=1)),
        "share_above": float((scores.sifid > threshold).mean()),
        "mean_nearest_in_group": float(scores.nearest_in_group.mean()),
    }
    write_text(arguments.output, json.dumps(content, indent=1) + "\n")
    logging.info("threshold %.4g; %.0f %% of iteration 0 is above it", threshold, 100 * content["share_above"])


if __name__ == "__main__":
    main()
