"""Retrain the U-Net on a cell's training set; autoencoder and text encoder stay frozen."""

import argparse
from pathlib import Path

from nepotism import cli
from nepotism.devices import accelerator, start
from nepotism.families.diffusion.fit import FitSettings, fit
from nepotism.families.diffusion.pipeline import load_noise_scheduler, load_unet, save_unet
from nepotism.families.diffusion.training_set import load_training_set
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
    cli.add_cell(parser)
    parser.add_argument("--model", type=Path, required=True, help="output: folder of the retrained U-Net")
    parser.add_argument("--losses", type=Path, required=True, help="output: step, loss, lr (CSV)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    device = start(arguments.device, arguments.threads)
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
        accelerator(device, arguments.precision),
        f"finetune {arguments.cell}",
        on_step=lambda step, loss: losses.append((step, loss, arguments.learning_rate)),
    )
    write_csv(arguments.losses, losses, ["step", "loss", "lr"])
    save_unet(unet, arguments.model)


if __name__ == "__main__":
    main()
