"""Draw one image per slot for the training captions, and some for captions that were never trained on."""

import argparse
import logging
from pathlib import Path

from nepotism import cli
from nepotism.devices import start
from nepotism.families.diffusion.pipeline import load_pipeline, unet_digest
from nepotism.families.diffusion.sample import sample
from nepotism.images import ImageSet, Record, contact_sheet, read_records, write_image_set
from nepotism.streams import Key, name


def main() -> None:
    parser = cli.parser(__doc__, stage="sample")
    cli.add_base_model(parser)
    cli.add_device(parser)
    cli.add_sampling(parser)
    parser.add_argument("--unseen-prompts", nargs="+", required=True, help="captions that are never trained on")
    parser.add_argument("--images-per-prompt", type=int, required=True, help="images of each unseen caption")
    parser.add_argument("--resolution", type=int, required=True, help="height and width in pixels")
    parser.add_argument("--model", type=Path, help="folder of the retrained U-Net; without it, the base model's")
    parser.add_argument("--real", type=Path, required=True, help="image set whose slots and captions are sampled")
    parser.add_argument("--cell", required=True, help="whose samples these are: the first part of their ids")
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument("--iteration", type=int, required=True, help="how often the model was retrained")
    parser.add_argument("--samples", type=Path, required=True, help="output: image set for the training captions")
    parser.add_argument("--unseen", type=Path, required=True, help="output: image set for the unseen captions")
    parser.add_argument("--samples-sheet", type=Path, required=True, help="output: PNG of the samples")
    parser.add_argument("--unseen-sheet", type=Path, required=True, help="output: PNG of the unseen samples")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    device = start(arguments.device, arguments.threads)
    seed, iteration, cell = arguments.seed, arguments.iteration, arguments.cell
    wanted: list[tuple[Record, Key]] = []
    digest = unet_digest(arguments.base_model, arguments.model)
    for real in read_records(arguments.real):
        key: Key = (seed, iteration, "sample", real.slot)
        wanted.append((_record(f"{cell}/samples", real.prompt, real.group, real.slot, iteration, digest, key), key))
    trained = len(wanted)
    for position, prompt in enumerate(arguments.unseen_prompts):
        group = f"unseen-{position:02d}"
        for index in range(arguments.images_per_prompt):
            # Keyed by the caption itself: adding or reordering captions changes no other image.
            key = (seed, iteration, "unseen", prompt, index)
            record = _record(f"{cell}/unseen", prompt, group, f"{group}/{index:03d}", iteration, digest, key)
            wanted.append((record, key))
    pipeline = load_pipeline(arguments.base_model, arguments.model, arguments.scheduler, device)
    pixels = sample(
        pipeline,
        [record.prompt for record, _ in wanted],
        [key for _, key in wanted],
        arguments.guidance_scale,
        arguments.num_inference_steps,
        arguments.resolution,
        arguments.sample_batch_size,
        f"sample {cell}",
    )
    records = [record for record, _ in wanted]
    outputs = {
        (arguments.samples, arguments.samples_sheet): ImageSet(pixels[:trained], records[:trained]),
        (arguments.unseen, arguments.unseen_sheet): ImageSet(pixels[trained:], records[trained:]),
    }
    for (table, sheet), images in outputs.items():
        write_image_set(table, images.pixels, images.records)
        contact_sheet(sheet, images)
        logging.info("%s: %d images", table, len(images.records))


def _record(prefix: str, prompt: str, group: str, slot: str, iteration: int, digest: str, key: Key) -> Record:
    return Record(f"{prefix}/{slot}", prompt, group, slot, "generated", iteration, (), digest, name(key))


if __name__ == "__main__":
    main()
