"""Train a detector of generated images: a linear probe on the features of the CLIP that scores."""

import argparse
import logging
from pathlib import Path

from nepotism.controls.filter import detector
from nepotism.data.images import read_image_set
from nepotism.measure.features import clip_image_features, load_clip
from nepotism.runtime import cli
from nepotism.runtime.devices import start
from nepotism.runtime.options import add_keys


def main() -> None:
    parser = cli.parser(__doc__, stage="train_detector")
    cli.add_device(parser)
    add_keys(parser, "score", "clip")
    add_keys(parser, "execution", "embed_batch_size")
    parser.add_argument("--real", type=Path, required=True, help="image set of real images that nothing else uses")
    parser.add_argument(
        "--generated", type=Path, required=True, help="image set of generated images that nothing else uses"
    )
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument("--output", type=Path, required=True, help="output: the detector (JSON)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    clip = load_clip(arguments.clip, start(arguments.device, arguments.threads))
    real, generated = (
        clip_image_features(clip, read_image_set(path).pixels, arguments.embed_batch_size)
        for path in (arguments.real, arguments.generated)
    )
    made = detector.trained(real, generated, arguments.seed)
    detector.write(arguments.output, made)
    logging.info("%s: AUC %.3f on %d held-out images", arguments.output, made.auc, made.held_out)


if __name__ == "__main__":
    main()
