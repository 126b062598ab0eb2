"""Clean a training set whose rows are of unknown origin: drop, replace or resample what is taken for generated."""

import argparse
import logging
from pathlib import Path

import numpy as np
from nepotism.chain.mix import Images
from nepotism.chain.slots import row_names
from nepotism.controls.filter import CONTROL
from nepotism.controls.filter.filtering import Confidence, Row, Verdict, filtered, oracle
from nepotism.data import watermark
from nepotism.data.images import ImageSet, read_image_set, read_manifest, read_records, write_manifest
from nepotism.data.tables import write_csv
from nepotism.runtime import cli
from nepotism.runtime.options import add_keys, add_parameters
from scipy.stats import norm


def main() -> None:
    parser = cli.parser(__doc__, stage="filter")
    cli.add_cell(parser)
    cli.add_device(parser)
    add_parameters(parser, CONTROL.parameters)
    add_keys(parser, "score", "clip", required=False)
    add_keys(parser, "sample", "watermark")
    add_keys(parser, "execution", "embed_batch_size")
    parser.add_argument("--mix", type=Path, required=True, help="manifest of the training set")
    parser.add_argument("--real", type=Path, required=True, help="image set with the real image of every slot")
    parser.add_argument("--fresh", type=Path, help="image set of real images that are reserved for this training set")
    parser.add_argument("--detector", type=Path, help="from train_detector (JSON)")
    parser.add_argument("--output", type=Path, required=True, help="output: the manifest after the filter (Parquet)")
    parser.add_argument("--table", type=Path, required=True, help="output: what happened to each row (CSV)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    rows = read_manifest(arguments.mix)
    spare = [Images(read_records(path), str(path)) for path in (arguments.real, arguments.fresh) if path is not None]
    kept, verdicts = filtered(
        rows, confidence(arguments, rows), arguments.threshold, arguments.action, spare,
        arguments.seed, arguments.iteration,
    )  # fmt: skip
    write_csv(arguments.table, verdicts, Verdict)
    write_manifest(arguments.output, [record for record, _ in kept], [file for _, file in kept])
    flagged, made = (sum(each) for each in zip(*((v.flagged, v.origin == "generated") for v in verdicts), strict=True))
    logging.info(
        "%s: %d rows, %d of them generated; %d taken for generated; %d rows are left",
        arguments.output, len(rows), made, flagged, len(kept),
    )  # fmt: skip


def confidence(arguments: argparse.Namespace, rows: list[Row]) -> Confidence:
    """How sure the filter is of each row that it is generated."""
    if arguments.source == "oracle":
        records = [record for record, _ in rows]
        generated = [record.origin == "generated" for record in records]
        return oracle(row_names(records), generated, arguments.fpr, arguments.fnr, arguments.seed, arguments.iteration)
    if arguments.source == "watermark":
        # Of an image without the mark it is below any share of 1 in as many cases as that share says.
        return np.asarray(norm.cdf(watermark.detect(images_of(rows).pixels, arguments.watermark["key"])))
    # Torch takes seconds, which the others do not need.
    from nepotism.controls.filter import detector
    from nepotism.measure.features import clip_image_features, load_clip
    from nepotism.runtime.devices import start

    device = start(arguments.device, arguments.threads)
    clip = load_clip(arguments.clip, device)
    pixels = images_of(rows).pixels
    return detector.read(arguments.detector).confidence(clip_image_features(clip, pixels, arguments.embed_batch_size))


def images_of(rows: list[Row]) -> ImageSet:
    """The pictures of a manifest's rows, in their order."""
    slots: dict[str, set[str]] = {}
    for record, file in rows:
        slots.setdefault(file, set()).add(record.slot)
    files = {file: read_image_set(Path(file), taken) for file, taken in slots.items()}
    at = {
        (file, record.slot): image
        for file, held in files.items()
        for image, record in zip(held.pixels, held.records, strict=True)
    }
    return ImageSet(np.stack([at[file, record.slot] for record, file in rows]), [record for record, _ in rows])


if __name__ == "__main__":
    main()
