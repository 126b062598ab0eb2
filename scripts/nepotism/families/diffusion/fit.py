"""Retraining the U-Net with the semantics of diffusers' train_text_to_image.py, on cached encodings.

As there: AdamW (0.9, 0.999, 1e-8, weight decay 1e-2), constant learning rate, gradients clipped at norm 1, uniform
timesteps, plain mean squared error on the scheduler's target, the last batch of an epoch may be short. Unlike there,
every random number is keyed by (seed, iteration, epoch, slot), so that the same slot sees the same noise at every ratio.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch.nn.functional import mse_loss

from nepotism import streams
from nepotism.errors import UserError
from nepotism.families.diffusion.training_set import TrainingSet
from nepotism.progress import Progress


@dataclass(frozen=True)
class FitSettings:
    """What decides the weights, besides the data; keys of the config's `finetune`."""

    learning_rate: float
    epochs: int
    batch_size: int
    flip: bool
    caption_dropout: float


@dataclass(frozen=True)
class Draws:
    """The random numbers of one image in one epoch: numpy scalars, and float32 arrays of the latents' shape."""

    flip: bool
    drop_caption: bool
    timestep: int
    posterior: np.ndarray
    noise: np.ndarray


def draw(key: streams.Key, shape: tuple[int, ...], timesteps: int, flip: bool, caption_dropout: float) -> Draws:
    """All draws of one image in one epoch, always in this order, so that a setting never shifts the other numbers."""
    rng = streams.generator(*key)
    coins = rng.random(2)
    timestep = int(rng.integers(timesteps))
    posterior, noise = rng.standard_normal((2, *shape), dtype=np.float32)
    return Draws(bool(flip and coins[0] < 0.5), bool(coins[1] < caption_dropout), timestep, posterior, noise)


def batches_of_epoch(slots: int, batch_size: int, seed: int, iteration: int, epoch: int) -> list[list[int]]:
    """Indices of an epoch's batches: a keyed permutation, cut into pieces; the last may be short."""
    order = streams.generator(seed, iteration, "finetune", epoch).permutation(slots)
    return [[int(index) for index in order[start : start + batch_size]] for start in range(0, slots, batch_size)]


def fit(
    unet: UNet2DConditionModel,
    scheduler: DDPMScheduler,
    data: TrainingSet,
    settings: FitSettings,
    seed: int,
    iteration: int,
    accelerator: Accelerator,
    label: str,
    on_step: Callable[[int, float], None],
) -> UNet2DConditionModel:
    """Retrain ``unet`` in place and return it.

    Args:
        unet: weights to start from, float32.
        scheduler: gives betas, timesteps and the prediction type (epsilon or v_prediction).
        data: the encoded training set.
        settings: see `FitSettings`.
        seed: replicate seed.
        iteration: of the cell; keys the random streams together with the seed.
        accelerator: device and precision.
        label: what the progress bar says.
        on_step: called with every step's number (from 1) and loss.

    Raises:
        UserError: if the loss is not finite, naming the step and what to change; if the prediction type is another.
    """
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise UserError(
            f"`model.path`: its scheduler predicts '{kind}'; only epsilon and v_prediction can be retrained"
        )
    unet.train()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=settings.learning_rate, weight_decay=1e-2, foreach=True)
    unet, optimizer = accelerator.prepare(unet, optimizer)
    device = accelerator.device
    mean, deviation, text = (
        tensor.to(device) for tensor in (data.posteriors.mean, data.posteriors.deviation, data.text)
    )
    shape = tuple(mean.shape[2:])
    timesteps = scheduler.config.num_train_timesteps
    prompt_of = np.asarray(data.prompt_of)
    empty_prompt = len(text) - 1
    total = settings.epochs * math.ceil(len(data.slots) / settings.batch_size)
    step = 0
    with Progress(total, label) as progress:
        for epoch in range(settings.epochs):
            for batch in batches_of_epoch(len(data.slots), settings.batch_size, seed, iteration, epoch):
                draws = [
                    draw(
                        (seed, iteration, "finetune", epoch, data.slots[i]),
                        shape,
                        timesteps,
                        settings.flip,
                        settings.caption_dropout,
                    )
                    for i in batch
                ]
                mirror = torch.tensor([int(d.flip) for d in draws], device=device)
                rows = torch.tensor(batch, device=device)
                posterior_noise = torch.from_numpy(np.stack([d.posterior for d in draws])).to(device)
                noise = torch.from_numpy(np.stack([d.noise for d in draws])).to(device)
                time = torch.tensor([d.timestep for d in draws], device=device)
                prompt = [empty_prompt if d.drop_caption else prompt_of[i] for d, i in zip(draws, batch, strict=True)]

                latents = (mean[rows, mirror] + deviation[rows, mirror] * posterior_noise) * data.scaling_factor
                noisy = scheduler.add_noise(latents, noise, time)
                target = noise if kind == "epsilon" else scheduler.get_velocity(latents, noise, time)
                predicted = unet(noisy, time, text[torch.tensor(prompt, device=device)], return_dict=False)[0]
                loss = mse_loss(predicted.float(), target.float())
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(unet.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise UserError(
                        f"{label}: the loss is {value} at step {step} of {total}; lower `finetune.learning_rate` "
                        f"({settings.learning_rate:g}), or use `finetune.precision: fp32`"
                    )
                on_step(step, value)
                progress.advance(loss=value)
    return accelerator.unwrap_model(unet)
