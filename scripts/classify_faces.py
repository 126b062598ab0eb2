"""Label one shard of FFHQ's images with age, gender and race by DeepFace."""

import argparse
import logging
from pathlib import Path

from nepotism.runtime import cli
from nepotism.runtime.errors import UserError
from nepotism.runtime.progress import Progress
from nepotism.sources.ffhq.deepface import Classifier
from nepotism.sources.ffhq.labels import images_folder, official_name, write_labels


def main() -> None:
    parser = cli.parser(__doc__, stage="classify_faces")
    parser.add_argument("--path", type=Path, required=True, help="FFHQ's folder, with images1024x1024 inside")
    parser.add_argument("--images", type=int, required=True, help="number of images of the data set")
    parser.add_argument("--shard", type=int, required=True, help="which shard, from 0")
    parser.add_argument("--shard-size", type=int, required=True, help="images of a shard")
    parser.add_argument("--detector", choices=["opencv", "skip"], required=True, help="skip takes the whole image")
    parser.add_argument("--weights", type=Path, required=True, help="DeepFace's home, with .deepface/weights inside")
    parser.add_argument("--threads", type=int, default=1, help="threads of each model")
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
