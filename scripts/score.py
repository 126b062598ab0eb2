"""Draw images for the unseen captions, embed all image sets and score them.

One process does all three: starting torch and its libraries takes longer than any of them on the embedded experiment.
"""

import argparse
from pathlib import Path

from nepotism.data.images import read_image_set
from nepotism.data.tables import read_text_csv, write_metrics
from nepotism.experiment.cells import cell_in
from nepotism.families.diffusion import sampling
from nepotism.measure.embeddings import write_embedded
from nepotism.measure.evaluation import (
    RowKey,
    apart,
    captions,
    compare,
    curation,
    embed,
    from_arguments,
    read_reference,
)
from nepotism.runtime import cli
from nepotism.runtime.devices import start
from nepotism.runtime.options import add_keys
from nepotism.runtime.resume.job import Job


def main() -> None:
    parser = cli.parser(__doc__, stage="score")
    sampling.add_options(parser)
    cli.add_evaluator(parser)
    add_keys(parser, "unseen", "prompts", "images_per_prompt")
    parser.add_argument("--samples", type=Path, required=True, help="image set for the training captions")
    parser.add_argument(
        "--initial-images", type=Path, help="img2img images of iteration 0; scores the holdout's floor too"
    )
    parser.add_argument("--curated", type=Path, help="image set after the cell's control")
    parser.add_argument("--curated-table", type=Path, help="what the control did to each image (CSV)")
    parser.add_argument(
        "--other-samples",
        type=Path,
        help="image set of the chain that feeds the cell's, at the same iteration: how far they are apart",
    )
    parser.add_argument("--reference", type=Path, required=True, help="features of the real images (.npz)")
    parser.add_argument("--experiment", required=True, help="column of the table")
    parser.add_argument("--unseen", type=Path, required=True, help="output: image set for the unseen captions")
    parser.add_argument("--embeddings", type=Path, required=True, help="output: features (.npz)")
    parser.add_argument("--metrics", type=Path, required=True, help="output: scores (JSON)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    with Job(arguments.unseen, arguments.checkpoint_seconds) as job:
        draw_and_score(arguments, job)


def draw_and_score(arguments: argparse.Namespace, job: Job) -> None:
    device = start(arguments.device, arguments.threads)
    wanted = sampling.per_prompt(arguments.prompts, arguments.images_per_prompt, arguments.seed, arguments.iteration)
    images = {"unseen": sampling.draw_image_set(arguments, device, job, "unseen", wanted, arguments.unseen)}
    images["samples"] = read_image_set(arguments.samples)
    for name, path in (("initial_images", arguments.initial_images), ("curated", arguments.curated)):
        if path is not None:
            images[name] = read_image_set(path)
    evaluator = from_arguments(arguments, device)
    sets = {name: embed(evaluator, each) for name, each in images.items()}
    job.check()
    write_embedded(arguments.embeddings, sets)
    reference = read_reference(arguments.reference)
    cell = cell_in(arguments.cell)
    control, ratio = (cell.control, cell.ratio) if cell else (arguments.cell.split("/")[0], "")
    place = RowKey(arguments.experiment, control, ratio, arguments.seed, arguments.iteration)
    rows = [*captions(place, "unseen", sets["unseen"])]
    for name in [name for name in sets if name != "unseen"]:
        rows += compare(place, name, sets[name], reference)
    if arguments.other_samples is not None:
        rows += apart(place, sets["samples"], embed(evaluator, read_image_set(arguments.other_samples)), reference)
    if "initial_images" in sets:
        rows += compare(place, "real", reference.holdout, reference)
    if "curated" in sets:
        treated = read_text_csv(arguments.curated_table)
        rows += curation(place, images["curated"].records, len(treated), kept_column(treated))
    write_metrics(arguments.metrics, rows)


def kept_column(rows: list[dict[str, str]]) -> list[bool] | None:
    """The column ``kept`` of a control's table, a row per slot; None for a control that keeps everything."""
    return [row["kept"] == "True" for row in rows] if rows and "kept" in rows[0] else None


if __name__ == "__main__":
    main()
