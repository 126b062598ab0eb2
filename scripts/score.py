"""Embed a cell's image sets and score them: distances to the holdout, CLIP scores, intervals."""

import argparse
from pathlib import Path

from nepotism import cli
from nepotism.devices import start
from nepotism.evaluation import Place, captions, compare, embed, from_arguments, read_embedded, write_embedded
from nepotism.images import read_image_set
from nepotism.tables import write_metrics


def main() -> None:
    parser = cli.parser(__doc__, stage="score")
    cli.add_device(parser)
    cli.add_evaluator(parser)
    parser.add_argument("--samples", type=Path, required=True, help="image set for the training captions")
    parser.add_argument("--unseen", type=Path, required=True, help="image set for the unseen captions")
    parser.add_argument(
        "--seed-images", type=Path, help="img2img images of iteration 0; scores the holdout's floor too"
    )
    parser.add_argument("--reference", type=Path, required=True, help="features of the holdout (.npz)")
    parser.add_argument("--experiment", required=True, help="column of the table")
    parser.add_argument("--control", required=True, help="column of the table")
    parser.add_argument("--ratio", default="", help="column of the table; empty for the base model")
    parser.add_argument("--seed", type=int, required=True, help="column of the table")
    parser.add_argument("--iteration", type=int, required=True, help="column of the table")
    parser.add_argument("--embeddings", type=Path, required=True, help="output: features (.npz)")
    parser.add_argument("--metrics", type=Path, required=True, help="output: scores (JSON)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    evaluator = from_arguments(arguments, start(arguments.device, arguments.threads))
    files = {"samples": arguments.samples, "unseen": arguments.unseen, "seed_images": arguments.seed_images}
    sets = {name: embed(evaluator, read_image_set(path)) for name, path in files.items() if path is not None}
    write_embedded(arguments.embeddings, sets)
    holdout = read_embedded(arguments.reference, "holdout")
    place = Place(arguments.experiment, arguments.control, arguments.ratio, arguments.seed, arguments.iteration)
    rows = [*compare(place, "samples", sets["samples"], holdout), *captions(place, "unseen", sets["unseen"])]
    if "seed_images" in sets:
        rows += compare(place, "seed_images", sets["seed_images"], holdout)
        rows += compare(place, "real", holdout, holdout)
    write_metrics(arguments.metrics, rows)


if __name__ == "__main__":
    main()
