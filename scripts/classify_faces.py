"""Label one shard of FFHQ's images with age, gender and race by DeepFace."""

import argparse
import logging
from pathlib import Path

from nepotism.runtime import cli
from nepotism.runtime.errors import UserError
from nepotism.runtime.options import add_keys
from nepotism.runtime.progress import Progress
from nepotism.sources.ffhq.deepface import Classifier
from nepotism.sources.ffhq.labels import images_folder, official_name, write_labels


def main() -> None:
    parser = cli.parser(__doc__, stage="classify_faces")
    add_keys(parser, "reference.ffhq", "path", "images", "shard_size", "detector", "weights", required=True)
    parser.add_argument("--shard", type=int, required=True, help="which shard, from 0")
    add_keys(parser, "execution", "threads")
    parser.add_argument("--face-batch-size", type=int, default=32, help="faces classified together")
    parser.add_argument("--output", type=Path, required=True, help="output: labels (Parquet)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    folder = images_folder(arguments.path)
    if not folder.is_dir():
        raise UserError(f"`reference.ffhq.path`: there is no folder {arguments.path}")
    first = arguments.shard * arguments.shard_size
    files = [official_name(number) for number in range(first, min(first + arguments.shard_size, arguments.images))]
    classifier = Classifier(arguments.weights, arguments.detector, arguments.threads)
    labels = []
    with Progress(len(files), f"classifying shard {arguments.shard}", "face") as progress:
        for label in classifier.classify(folder, files, arguments.face_batch_size):
            labels.append(label)
            progress.advance()
    wrong = [label for label in labels if label.error]
    for label in wrong[:10]:
        logging.warning("warning: %s: %s", label.file, label.error)
    logging.info("%s: %d faces, %d without a label", arguments.output, len(labels), len(wrong))
    if len(wrong) == len(labels):
        raise UserError(
            f"`reference.ffhq.path`: no image of {folder} has a label; the first: {wrong[0].file}: {wrong[0].error}"
        )
    write_labels(arguments.output, labels)


if __name__ == "__main__":
    main()
