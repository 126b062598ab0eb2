"""Retrain the U-Net on a cell's training set; autoencoder and text encoder stay frozen."""

import argparse
import logging
import os
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from nepotism import cli
from nepotism.devices import start
from nepotism.families.diffusion.fit import FitSettings, TrainingSet, fit
from nepotism.families.diffusion.latents import Posteriors, encode_images, read_encoded
from nepotism.families.diffusion.pipeline import load_noise_scheduler, load_unet, load_vae
from nepotism.images import read_image_set, read_manifest
from nepotism.tables import write_csv


def main() -> None:
    parser = cli.parser(__doc__, stage="finetune")
    cli.add_base_model(parser)
    cli.add_device(parser)
    parser.add_argument("--learning-rate", type=float, required=True, help="constant learning rate of AdamW")
    parser.add_argument("--epochs", type=int, required=True, help="passes over the training set")
    parser.add_argument("--batch-size", type=int, required=True, help="images per step")
    parser.add_argument(
        "--flip", action=argparse.BooleanOptionalAction, required=True, help="mirror half of the images"
    )
    parser.add_argument("--precision", choices=["fp32", "bf16"], required=True, help="arithmetic of the forward pass")
    parser.add_argument("--caption-dropout", type=float, required=True, help="probability of training without caption")
    parser.add_argument("--mix", type=Path, required=True, help="manifest of the training set")
    parser.add_argument("--latents", type=Path, required=True, help="encodings of the real images and the captions")
    parser.add_argument(
        "--parent-model", type=Path, help="folder of the U-Net to start from; without it, the base model's"
    )
    parser.add_argument("--cell", required=True, help="name of the cell, for messages")
    parser.add_argument("--seed", type=int, required=True, help="replicate seed")
    parser.add_argument("--iteration", type=int, required=True, help="the how-manieth retraining this is")
    parser.add_argument("--model", type=Path, required=True, help="output: folder of the retrained U-Net")
    parser.add_argument("--losses", type=Path, required=True, help="output: step, loss, lr (CSV)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    device = start(arguments.device, arguments.threads)
    mixed = "no" if arguments.precision == "fp32" else arguments.precision
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=mixed)
    data = load_training_set(arguments.mix, arguments.latents, arguments.base_model, device)
    losses: list[tuple[int, float, float]] = []
    unet = fit(
        load_unet(arguments.base_model, arguments.parent_model),
        load_noise_scheduler(arguments.base_model),
        data,
        FitSettings(
            arguments.learning_rate, arguments.epochs, arguments.batch_size, arguments.flip, arguments.caption_dropout
        ),
        arguments.seed,
        arguments.iteration,
        accelerator,
        f"finetune {arguments.cell}",
        on_step=lambda step, loss: losses.append((step, loss, arguments.learning_rate)),
    )
    write_csv(arguments.losses, losses, ["step", "loss", "lr"])
    save_model(unet, arguments.model)


def load_training_set(mix: Path, latents: Path, base_model: Path, device: torch.device) -> TrainingSet:
    """Real images come encoded; only the generated ones of this cell go through the autoencoder."""
    manifest = read_manifest(mix)
    encoded = read_encoded(latents)
    row_of = {slot: row for row, slot in enumerate(encoded.slots)}
    rows = [row_of[record.slot] for record, _ in manifest]
    mean, deviation = encoded.posteriors.mean[rows], encoded.posteriors.deviation[rows]
    vae = load_vae(base_model).to(device)
    for file in sorted({file for record, file in manifest if record.origin == "generated"}):
        at = {record.slot: row for row, (record, name) in enumerate(manifest) if name == file}
        images = read_image_set(Path(file), set(at))
        fresh = encode_images(vae, images.pixels)
        where = [at[record.slot] for record in images.records]
        mean[where], deviation[where] = fresh.mean, fresh.deviation
    logging.info("%d slots, %d generated", len(manifest), sum(record.origin == "generated" for record, _ in manifest))
    prompt_of = [encoded.prompts.index(record.prompt) for record, _ in manifest]
    slots = [record.slot for record, _ in manifest]
    return TrainingSet(slots, Posteriors(mean, deviation), vae.config.scaling_factor, encoded.text, prompt_of)


def save_model(unet: torch.nn.Module, folder: Path) -> None:
    """Save beside ``folder`` first, then move file by file: weights last, so that they never lack their config."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        unet.save_pretrained(temporary, safe_serialization=True)  # type: ignore[operator]
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(temporary.iterdir()):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    main()
