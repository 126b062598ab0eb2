"""Draw figure 2: one slot through all iterations, a row per ratio; below it the unseen captions at the last iteration."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nepotism.data.images import Pixels, read_records
from nepotism.draw import figures
from nepotism.experiment.cells import cell_in
from nepotism.measure.embeddings import read_embedded
from nepotism.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__, stage="figure_2")
    cli.add_figure(parser)
    shown = parser.add_mutually_exclusive_group(required=True)
    shown.add_argument("--slot", help="slot to show")
    shown.add_argument(
        "--embeddings",
        type=Path,
        help="of one of the cells (.npz): the slot whose CLIP score is the median there is shown",
    )
    parser.add_argument("--base-samples", type=Path, required=True, help="samples of the base model")
    parser.add_argument("--base-unseen", type=Path, required=True, help="unseen samples of the base model")
    parser.add_argument("--samples", type=Path, nargs="+", required=True, help="samples of the cells, chain by chain")
    parser.add_argument(
        "--unseen", type=Path, nargs="+", required=True, help="unseen samples of each chain's last cell"
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    pixels: dict[str, Pixels] = {}
    pictures = through_iterations(arguments, pixels) + unseen(arguments, pixels)
    figures.write_grid(arguments.output, pictures, pixels, arguments.dpi)


def through_iterations(arguments: argparse.Namespace, pixels: dict[str, Pixels]) -> list[figures.Picture]:
    """The upper panel: a row per ratio, a column per iteration, starting from the base model."""
    slots = [record.slot for record in read_records(arguments.base_samples)]
    slot = arguments.slot or typical_slot(arguments.embeddings, arguments.samples)
    if slot not in slots:
        raise cli.UserError(f"`figures.slot`: there is no slot {slot}; there are, for instance: {', '.join(slots[:3])}")
    base = figures.read_slots(arguments.base_samples, {slot}, pixels)[0]
    pictures = []
    for file in arguments.samples:
        record, cell = figures.read_slots(file, {slot}, pixels)[0], cell_in(str(file))
        assert cell is not None, file
        name, row = f"“{record.prompt}”, by iteration", f"{cell.ratio} %"
        if cell.iteration == 1:
            pictures.append(figures.Picture(name, row, "base", base.prompt, base.id, str(arguments.base_samples)))
        pictures.append(figures.Picture(name, row, str(cell.iteration), record.prompt, record.id, str(file)))
    return pictures


def typical_slot(embeddings: Path, samples: Sequence[Path]) -> str:
    """The slot whose image fits its caption as well as the median of its cell's does, so that nobody chooses what is shown.

    Of an even number of images it is the lower of the two in the middle, which is the score of an image; of equal ones the first.

    Args:
        embeddings: of a cell.
        samples: of cells, this one among them.
    """
    embedded = read_embedded(embeddings, "samples")
    scores = embedded.values["clip_score"]
    median = np.sort(scores)[(len(scores) - 1) // 2]
    shown = embedded.ids[int(np.argmax(scores == median))]
    file = next(each for each in samples if cell_in(str(each)) == cell_in(str(embeddings)))
    return next(record.slot for record in read_records(file) if record.id == shown)


def unseen(arguments: argparse.Namespace, pixels: dict[str, Pixels]) -> list[figures.Picture]:
    """The lower panel: a row per model, a column per caption, the first image of each."""
    slots = {record.slot for record in read_records(arguments.base_unseen) if record.slot.endswith("/000")}
    pictures = []
    for file in (arguments.base_unseen, *arguments.unseen):
        cell = cell_in(str(file))
        row = f"{cell.ratio} %" if cell else "base"
        for record in figures.read_slots(file, slots, pixels):
            last = cell_in(str(arguments.unseen[0]))
            assert last is not None
            name = f"captions never trained on, after iteration {last.iteration}"
            pictures.append(figures.Picture(name, row, record.prompt, record.prompt, record.id, str(file)))
    return pictures


if __name__ == "__main__":
    main()
