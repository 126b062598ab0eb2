"""Trying a model out before hours are spent on it: does it load, is it what it says, does it fit."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones import backbone_of, of_pipeline
from nepotism.families.diffusion.latents import Posteriors
from nepotism.families.diffusion.objectives import Objective
from nepotism.families.diffusion.pipeline import load_denoiser
from nepotism.families.diffusion.text import Text
from nepotism.families.diffusion.training_set import TrainingSet
from nepotism.runtime import streams
from nepotism.runtime.memory import peak_bytes

logger = logging.getLogger(__name__)

# How much better another prediction type has to fit before a model is said to be mislabelled.
CLEARLY_BETTER = 0.5
# Noise levels, as shares, at which the prediction type shows.
TIMES = (0.3, 0.5, 0.7)


def resolution_problems(pipeline: Any, resolution: int) -> Iterator[str]:
    """What is wrong with a resolution, in pixels, for this model; nothing if it fits."""
    step = of_pipeline(pipeline).pixel_step(pipeline)
    if resolution % step:
        near = max(step, round(resolution / step) * step)
        yield f"`model.resolution`: {resolution} is no multiple of {step}, as this model needs; {near} is the nearest that is"


def truncated(tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    """The prompts that are longer than the text encoder reads."""
    longest = tokenizer.model_max_length
    return [prompt for prompt in prompts if len(tokenizer(prompt).input_ids) > longest]


def warn_of_truncated(pipeline: Any, prompts: Sequence[str]) -> None:
    """Tell which captions the text encoder does not read to their end; of several, the one that reads least."""
    tokenizers = [getattr(pipeline, name) for name in of_pipeline(pipeline).tokenizers]
    tokenizer = min((each for each in tokenizers if each is not None), key=lambda each: int(each.model_max_length))
    cut = truncated(tokenizer, prompts)
    for prompt in cut[:5]:
        logger.warning("warning: longer than the %d tokens of the text encoder: %s", tokenizer.model_max_length, prompt)
    if len(cut) > 5:
        logger.warning("warning: and %d captions more", len(cut) - 5)


@torch.no_grad()
def prediction_problems(network: Any, objective: Objective, latents: torch.Tensor, text: Text) -> Iterator[str]:
    """Whether the model predicts what its files say, in type and sign, tried on real images; nothing if so.

    Args:
        network: the base model's denoiser.
        objective: what it was trained to predict, by its files.
        latents: float32 (N, C, h, w), as the denoiser sees them, of real images.
        text: N captions.
    """
    said = objective.kind
    errors: dict[str, float] = defaultdict(float)
    for share in TIMES:
        levels = torch.full((len(latents),), objective.level(share), device=latents.device)
        drawn = streams.generator("preflight", int(100 * share)).standard_normal(latents.shape, dtype="float32")
        noise = torch.from_numpy(drawn).to(latents.device)
        noisy = objective.noised(latents, noise, levels)
        predicted = objective.predict(network, noisy, objective.times(levels), text).float()
        for kind, target in objective.alternatives(latents, noise, levels).items():
            # Relative to its target's power: a model that predicts nothing at all has the same error in both.
            errors[kind] += float(((predicted - target) ** 2).mean() / (target**2).mean()) / len(TIMES)
    best = min(errors, key=lambda kind: errors[kind])
    if errors[best] < CLEARLY_BETTER * errors[said]:
        yield (
            f"`model.path`: its scheduler says {said}, but on real images the model fits {best} better (relative error "
            f"{errors[best]:.3g} against {errors[said]:.3g}); {objective.mislabelled(best)}"
        )


def training_peak(
    base_model: Path, shape: tuple[int, ...], text: Text, hardware: Accelerator, gradient_checkpointing: bool,
    batch_size: int, like: fitting.FitSettings | None = None,
) -> Callable[[int], float]:  # fmt: skip
    """A function that tells the most bytes that retraining takes, from the number of images that a device holds at a time.

    It raises torch.OutOfMemoryError if they do not fit. It takes a second step, which begins with the optimiser's moments in
    memory, and, if the batch is larger, a second piece, which begins with the gradients of the first.

    Args:
        base_model: folder of the pipeline.
        shape: (C, h, w) of latents.
        text: float32, of any one caption.
        hardware: device and precision.
        gradient_checkpointing: see `fit.ExecutionOptions`.
        batch_size: a device's images of a step, in one or more pieces.
        like: how weights are trained and averaged; without it, all are trained.
    """

    def probe(count: int) -> float:
        network, objective = load_denoiser(base_model, None), backbone_of(base_model).objective(base_model)
        rows = min(2 * count, max(count, batch_size))
        mean = torch.zeros(rows, 2, *shape)
        slots = [f"preflight/{index:03d}" for index in range(rows)]
        data = TrainingSet(slots, Posteriors(mean, mean), 1.0, texts.repeated(texts.moved(text, "cpu"), 2), [0] * rows)
        settings = fitting.FitSettings(
            1e-6, 2, rows, random_flip=False, caption_dropout=0.0,
            lora=like.lora if like else None, ema=like.ema if like else None, optimizer=like.optimizer if like else None,
        )  # fmt: skip
        execution = fitting.ExecutionOptions(count, gradient_checkpointing)
        try:
            return peak_bytes(
                lambda: fitting.fit(network, objective, data, settings, 0, 0, hardware, "preflight", execution)
            )
        finally:
            # Accelerate holds on to every model that it has prepared.
            hardware.free_memory()

    return probe
