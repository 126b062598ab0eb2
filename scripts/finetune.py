"""Retrain the denoiser on a cell's training set; autoencoder and text encoders stay frozen."""

import argparse
import logging
from dataclasses import asdict
from pathlib import Path

from nepotism.chain.regimes.neon import REGIME as NEON
from nepotism.data.tables import write_csv
from nepotism.experiment.declared import schema_of_key
from nepotism.families.diffusion import optimizers
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones import backbone_of
from nepotism.families.diffusion.extrapolation import extrapolated_weights
from nepotism.families.diffusion.fit import ExecutionOptions, FitSettings, fit, number_of_steps, seen
from nepotism.families.diffusion.low_rank import Adapter, Lora, discard
from nepotism.families.diffusion.pipeline import denoiser_digest, identity, load_denoiser, save_denoiser
from nepotism.families.diffusion.preflight import training_peak
from nepotism.families.diffusion.training_set import load_training_set
from nepotism.runtime import cli
from nepotism.runtime.devices import accelerator, launch, start
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import sha256
from nepotism.runtime.memory import too_large, total_bytes, training_advice
from nepotism.runtime.options import add_key, add_keys
from nepotism.runtime.resume.job import Job
from torch import OutOfMemoryError

# Folder beside the model's that the updates of LoRA are saved in, by themselves.
ADAPTER = "adapter"


def main() -> None:
    parser = cli.parser(__doc__, stage="finetune")
    cli.add_base_model(parser)
    cli.add_device(parser)
    cli.add_step_size(parser)
    add_keys(parser, "finetune", "learning_rate", "random_flip", "precision", "caption_dropout", "budget")
    add_training(parser)
    parser.add_argument(
        "--fill-up",
        action="store_true",
        help="repeat the images of a smaller training set until there is one for every slot",
    )
    add_key(parser, "negative_weight", NEON.parameters["weight"], None)
    parser.add_argument("--mix", type=Path, required=True, help="manifest of the training set")
    parser.add_argument(
        "--latents",
        type=Path,
        nargs="+",
        required=True,
        help="encodings of the real images and the captions: of the reference, and of images reserved for this training set",
    )
    parser.add_argument(
        "--parent-model", type=Path, help="folder of the U-Net to start from; without it, the base model's"
    )
    cli.add_cell(parser)
    cli.add_resume(parser)
    add_keys(parser, "execution", "compile")
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        help=f"output: folder of the retrained denoiser; of LoRA, its updates alone are beside it, in the folder {ADAPTER}",
    )
    parser.add_argument(
        "--losses", type=Path, required=True, help="output: step, loss, lr, images and epochs so far (CSV)"
    )
    cli.run(run, parser.parse_args())


def add_training(parser: argparse.ArgumentParser) -> None:
    """How long, and what is trained: all weights, or with the options of LoRA low-rank updates."""
    add_keys(parser, "finetune", "epochs", required=False)
    add_keys(parser, "finetune", "steps", "ema", "snr_gamma")
    add_keys(parser, "finetune", "optimizer", required=False)
    for name in ("rank", "alpha", "target_modules"):
        add_key(parser, f"lora_{name}", schema_of_key(f"finetune.lora.{name}"), None)


def lora(arguments: argparse.Namespace) -> Lora | None:
    """What the options of LoRA say; None without them.

    Raises:
        UserError: if one is missing.
    """
    given = (arguments.lora_rank, arguments.lora_alpha, arguments.lora_target_modules)
    if given == (None, None, None):
        return None
    if None in given:
        raise UserError("LoRA needs all of --lora-rank, --lora-alpha and --lora-target-modules")
    return Lora(arguments.lora_rank, arguments.lora_alpha, tuple(arguments.lora_target_modules))


def warn_of_slow_average(settings: FitSettings, steps: int) -> None:
    """Say where an average over the steps is hardly any of them: nearly the weights after the first."""
    if settings.ema and (window := 1 / (1 - settings.ema)) > steps:
        logging.warning(
            "warning: `finetune.ema`: %g averages about %.0f steps, and there are %d, so that most of it is the weights after the "
            "first one; use a decay of at most 1 - 1 / %d",
            settings.ema, window, steps, steps,
        )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    if arguments.epochs is None and arguments.steps is None:
        raise UserError("either --epochs or --steps must be given")
    launch(arguments.num_processes, arguments.device)
    hardware = accelerator(start(arguments.device, arguments.threads), arguments.precision)
    optimizers.check(arguments.optimizer, hardware.device)
    with Job(arguments.model, arguments.checkpoint_seconds, main=hardware.is_main_process) as job:
        if hardware.is_main_process:
            # No rule knows it: that of an earlier run would stay.
            discard(arguments.model.with_name(ADAPTER))
        data = load_training_set(
            arguments.mix, arguments.latents, arguments.base_model, hardware.device, arguments.fill_up
        )
        settings = FitSettings(
            arguments.learning_rate, arguments.epochs, arguments.batch_size, arguments.random_flip, arguments.caption_dropout,
            arguments.budget, arguments.steps, lora(arguments), arguments.ema, arguments.snr_gamma,
            arguments.optimizer,
        )  # fmt: skip
        warn_of_slow_average(settings, number_of_steps(data, settings))
        checkpoints = job.checkpoints(
            "finetune",
            stage_version=arguments.stage_version,
            # Checkpoints from before there was a key stay, where it is not used.
            settings={key: value for key, value in asdict(settings).items() if value is not None},
            precision=arguments.precision,
            repeats=data.repeats,
            cell=[arguments.seed, arguments.iteration],
            base_model=identity(arguments.base_model),
            inputs=[
                sha256(arguments.mix),
                *map(sha256, arguments.latents),
                denoiser_digest(arguments.base_model, arguments.parent_model),
            ],
        )
        network = load_denoiser(arguments.base_model, arguments.parent_model)
        objective = backbone_of(arguments.base_model).objective(arguments.base_model)
        execution = ExecutionOptions(
            arguments.per_device_batch_size, arguments.gradient_checkpointing, arguments.compile
        )
        label = f"finetune {arguments.cell}"
        updates = list[Adapter]()
        fits = True
        try:
            network, losses = fit(
                network,
                objective,
                data,
                settings,
                arguments.seed,
                arguments.iteration,
                hardware,
                label,
                execution,
                checkpoints,
                updates.append,
            )
        except OutOfMemoryError:
            fits = False
        if not fits:
            del network
            others = training_advice(arguments.gradient_checkpointing, arguments.precision)
            # Accelerate holds on to every model that it has prepared.
            hardware.free_memory()
            if hardware.num_processes > 1:
                # Others may have had room, and would wait for this one in vain.
                raise UserError(
                    f"{label}: {cli.images_at_a_time(arguments)} images at a time do not fit into a device's memory; lower "
                    f"`execution.per_device_batch_size`{others}"
                )
            shape = tuple(data.posteriors.mean.shape[2:])
            probe = training_peak(
                arguments.base_model,
                shape,
                texts.rows(data.text, [0]),
                hardware,
                arguments.gradient_checkpointing,
                arguments.batch_size,
                settings,
            )
            count = cli.images_at_a_time(arguments)
            raise too_large(label, count, "execution.per_device_batch_size", probe, total_bytes(), others)
        if hardware.is_main_process:
            job.check()
            rows = [
                (step, loss, arguments.learning_rate, images, epochs)
                for step, (loss, (images, epochs)) in enumerate(zip(losses, seen(data, settings), strict=True), 1)
            ]
            write_csv(arguments.losses, rows, ["step", "loss", "lr", "images", "epochs"])
            if arguments.negative_weight is not None:
                before = load_denoiser(arguments.base_model, arguments.parent_model)
                network = extrapolated_weights(before, network, arguments.negative_weight)
                # Of weights that went the other way, so that model and adapter say the same.
                updates = [each.scaled(-arguments.negative_weight) for each in updates]
            for each in updates:
                each.save(arguments.model.with_name(ADAPTER))
            save_denoiser(network, arguments.model)


if __name__ == "__main__":
    main()
