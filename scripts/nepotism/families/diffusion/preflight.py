"""Trying a model out before hours are spent on it: does it load, is it what it says, does it fit."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DConditionModel

from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion.latents import Posteriors
from nepotism.families.diffusion.pipeline import load_noise_scheduler, load_unet
from nepotism.families.diffusion.training_set import TrainingSet
from nepotism.runtime import streams
from nepotism.runtime.memory import peak_bytes

logger = logging.getLogger(__name__)

# How much better the other prediction type has to fit before a model is said to be mislabelled.
CLEARLY_BETTER = 0.5
# Noise levels, as shares of the schedule, at which the prediction type shows.
TIMES = (0.3, 0.5, 0.7)


def resolution_problems(pipeline: Any, resolution: int) -> Iterator[str]:
    """What is wrong with a resolution, in pixels, for this model; nothing if it fits."""
    step = pipeline.vae_scale_factor * 2 ** (len(pipeline.unet.config.block_out_channels) - 1)
    if resolution % step:
        near = max(step, round(resolution / step) * step)
        yield f"`model.resolution`: {resolution} is no multiple of {step}, as this model needs; {near} is the nearest that is"


def usual_resolution(pipeline: Any) -> int | None:
    """The resolution that the model was trained at, in pixels; None if it does not say."""
    size = pipeline.unet.config.sample_size
    return int(size * pipeline.vae_scale_factor) if isinstance(size, int) else None


def truncated(tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    """The prompts that are longer than the text encoder reads."""
    longest = tokenizer.model_max_length
    return [prompt for prompt in prompts if len(tokenizer(prompt).input_ids) > longest]


def warn_of_truncated(tokenizer: Any, prompts: Sequence[str]) -> None:
    """Tell which captions the text encoder does not read to their end."""
    cut = truncated(tokenizer, prompts)
    for prompt in cut[:5]:
        logger.warning("warning: longer than the %d tokens of the text encoder: %s", tokenizer.model_max_length, prompt)
    if len(cut) > 5:
        logger.warning("warning: and %d captions more", len(cut) - 5)


@torch.no_grad()
def prediction_problems(
    unet: UNet2DConditionModel, scheduler: DDPMScheduler, latents: torch.Tensor, text: torch.Tensor
) -> Iterator[str]:
    """Whether the model predicts what its scheduler says, tried on real images; nothing if so.

    Args:
        unet: the base model's.
        scheduler: its training schedule.
        latents: float32 (N, C, h, w), scaled, of real images.
        text: float32 (N, L, D) of their captions.
    """
    said = scheduler.config.prediction_type
    errors = {"epsilon": 0.0, "v_prediction": 0.0}
    for share in TIMES:
        time = torch.full((len(latents),), int(share * scheduler.config.num_train_timesteps), device=latents.device)
        drawn = streams.generator("preflight", int(100 * share)).standard_normal(latents.shape, dtype="float32")
        noise = torch.from_numpy(drawn).to(latents.device)
        noisy = scheduler.add_noise(latents, noise, time)
        predicted = unet(noisy, time, text, return_dict=False)[0]
        for kind, target in (("epsilon", noise), ("v_prediction", scheduler.get_velocity(latents, noise, time))):
            # Relative to its target's power: a model that predicts nothing at all has the same error in both.
            errors[kind] += float(((predicted - target) ** 2).mean() / (target**2).mean()) / len(TIMES)
    other = "v_prediction" if said == "epsilon" else "epsilon"
    if errors[other] < CLEARLY_BETTER * errors[said]:
        yield (
            f"`model.path`: its scheduler says {said}, but on real images the model fits {other} better (relative error "
            f"{errors[other]:.3g} against {errors[said]:.3g}); correct prediction_type in scheduler/scheduler_config.json"
        )


def training_peak(
    base_model: Path, shape: tuple[int, ...], text: torch.Tensor, hardware: Accelerator, gradient_checkpointing: bool,
    like: fitting.FitSettings | None = None,
) -> Callable[[int], float]:  # fmt: skip
    """A function that tells the most bytes that a step of retraining takes, from the number of its images.

    It raises torch.OutOfMemoryError if they do not fit.

    Args:
        base_model: folder of the pipeline.
        shape: (C, h, w) of latents.
        text: float32 (1, L, D), of any caption.
        hardware: device and precision.
        gradient_checkpointing: see `fit.ExecutionOptions`.
        like: how weights are trained and averaged; without it, all are trained.
    """

    def probe(count: int) -> float:
        unet, scheduler = load_unet(base_model, None), load_noise_scheduler(base_model)
        mean = torch.zeros(count, 2, *shape)
        slots = [f"preflight/{index:03d}" for index in range(count)]
        data = TrainingSet(slots, Posteriors(mean, mean), 1.0, text.cpu().repeat(2, 1, 1), [0] * count)
        settings = fitting.FitSettings(
            1e-6, 1, count, random_flip=False, caption_dropout=0.0,
            lora=like.lora if like else None, ema=like.ema if like else None,
        )  # fmt: skip
        execution = fitting.ExecutionOptions(gradient_checkpointing=gradient_checkpointing)
        try:
            return peak_bytes(
                lambda: fitting.fit(unet, scheduler, data, settings, 0, 0, hardware, "preflight", execution)
            )
        finally:
            # Accelerate holds on to every model that it has prepared.
            hardware.free_memory()

    return probe
