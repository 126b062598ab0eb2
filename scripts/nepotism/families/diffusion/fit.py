"""Retraining the denoiser with the semantics of diffusers' train_text_to_image.py, on cached encodings.

As there: AdamW (0.9, 0.999, 1e-8, weight decay 1e-2), constant learning rate, gradients clipped at norm 1, uniform
noise levels, plain mean squared error on the objective's target, the last batch of an epoch may be short. Unlike there,
every random number is keyed by (seed, iteration, epoch, slot), so that the same slot sees the same noise at every ratio,
and so that training goes on exactly where it stopped: position, weights and moments are all there is to keep.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch.nn.functional import mse_loss

from nepotism.families import fit_state
from nepotism.families.diffusion import optimizers
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.average import Average
from nepotism.families.diffusion.draws import batches_of_epoch, draw_numbers
from nepotism.families.diffusion.low_rank import Adapter, Lora, adapted
from nepotism.families.diffusion.objectives import Objective
from nepotism.families.diffusion.training_set import TrainingSet
from nepotism.runtime.devices import reproducible_gradients
from nepotism.runtime.errors import UserError
from nepotism.runtime.prefetch import prefetch
from nepotism.runtime.progress import Progress
from nepotism.runtime.resume.checkpoints import Checkpoints

logger = logging.getLogger(__name__)

# Reading a loss makes the processor wait for the accelerator, so that is done once in this many steps.
STEPS_BETWEEN_LOSSES = 10


# What training sets of different sizes have in common: the number of optimiser steps, or how often each image is seen.
Budget = Literal["steps", "epochs"]


@dataclass(frozen=True)
class FitSettings:
    """What decides the weights, besides the data; keys of the config's `finetune`. Either epochs or steps must be given."""

    learning_rate: float
    epochs: int | None
    batch_size: int
    random_flip: bool
    caption_dropout: float
    budget: Budget = "steps"
    steps: int | None = None
    lora: Lora | None = None
    ema: float | None = None
    snr_gamma: float | None = None
    optimizer: optimizers.Optimizer | None = None


@dataclass(frozen=True)
class ExecutionOptions:
    """How the weights are computed: they change by rounding only. Keys of the config's `execution`.

    Attributes:
        per_device_batch_size: images that one device holds at a time, their gradients adding up to the batch's; None is all.
        gradient_checkpointing: compute activations twice instead of storing them.
        compile: compile the network: minutes at the start, faster steps.
    """

    per_device_batch_size: int | None = None
    gradient_checkpointing: bool = False
    compile: bool = False


def images_of_epoch(data: TrainingSet, settings: FitSettings) -> int:
    """How many images an epoch has: all, or, at equal steps, no more than there are slots, chosen anew in each epoch."""
    rows = len(data.rows)
    return rows if settings.budget == "epochs" or data.slots is None else min(rows, data.slots)


def number_of_steps(data: TrainingSet, settings: FitSettings) -> int:
    """How many steps a retraining has: as many as it is told, or those of its epochs."""
    if settings.steps is not None:
        return settings.steps
    assert settings.epochs is not None
    return settings.epochs * math.ceil(images_of_epoch(data, settings) / settings.batch_size)


def seen(data: TrainingSet, settings: FitSettings) -> list[tuple[int, float]]:
    """After every step, how many images have been trained on, and how often that is the whole training set."""
    images, size = images_of_epoch(data, settings), settings.batch_size
    places = (divmod(step, math.ceil(images / size)) for step in range(number_of_steps(data, settings)))
    counts = [epoch * images + min((position + 1) * size, images) for epoch, position in places]
    return [(count, count * data.repeats / len(data.rows)) for count in counts]


@dataclass(frozen=True)
class Piece:
    """Images that one device computes together: a part of a batch, with their random numbers.

    Attributes:
        rows: B indices into the training set.
        mirrors, levels, prompts: int64 (B,); noise levels by their number.
        posterior, noise: float32 (B, C, h, w).
        share: B over the size of the whole batch.
        last: whether it is this device's last of the batch.
    """

    rows: NDArray[np.int64]
    mirrors: NDArray[np.int64]
    levels: NDArray[np.int64]
    prompts: NDArray[np.int64]
    posterior: NDArray[np.float32]
    noise: NDArray[np.float32]
    share: float
    last: bool


class Plan:
    """Every step's pieces, as a pure function of its number.

    Args:
        data: the encoded training set.
        settings, seed, iteration: see `fit`.
        timesteps: of the training schedule.
        per_device_batch_size: most images of a piece; None is no limit.
        device, devices: whose pieces, of how many devices that share each batch.
    """

    def __init__(
        self, data: TrainingSet, settings: FitSettings, seed: int, iteration: int, timesteps: int,
        per_device_batch_size: int | None = None, device: int = 0, devices: int = 1,
    ) -> None:  # fmt: skip
        self._data, self._settings, self._seed, self._iteration = data, settings, seed, iteration
        self._timesteps, self._micro = timesteps, per_device_batch_size or settings.batch_size
        self._device, self._devices = device, devices
        # At equal steps, an epoch of a larger training set is as many of its images, chosen anew each time.
        self._most = images_of_epoch(data, settings)
        self._per_epoch = math.ceil(self._most / settings.batch_size)
        self.total = number_of_steps(data, settings)
        """Number of steps."""

    def steps(self, start: int) -> Iterator[int]:
        """The steps from ``start`` (0-based) to the end."""
        return iter(range(start, self.total))

    def pieces(self, step: int) -> list[Piece]:
        """What this device computes in a step, in one or more pieces.

        Where a short last batch does not reach it, it computes an image that does not count: all devices meet at every step.
        """
        epoch, position = divmod(step, self._per_epoch)
        chosen = self._settings
        batch = batches_of_epoch(
            len(self._data.rows), chosen.batch_size, self._seed, self._iteration, epoch, self._most
        )[position]
        mine = batch[self._device :: self._devices]
        if not mine:
            return [self._piece(batch[:1], epoch, share=0.0, last=True)]
        starts = range(0, len(mine), self._micro)
        parts = [mine[at : at + self._micro] for at in starts]
        return [self._piece(part, epoch, len(part) / len(batch), part is parts[-1]) for part in parts]

    def _piece(self, rows: list[int], epoch: int, share: float, last: bool) -> Piece:
        data, settings = self._data, self._settings
        shape = tuple(data.posteriors.mean.shape[2:])
        draws = [
            draw_numbers(
                (self._seed, self._iteration, "finetune", epoch, data.rows[row]),
                shape, self._timesteps, settings.random_flip, settings.caption_dropout,
            )
            for row in rows
        ]  # fmt: skip
        empty = texts.count(data.text) - 1
        return Piece(
            np.array(rows),
            np.array([int(each.flip) for each in draws]),
            np.array([each.timestep for each in draws]),
            np.array([empty if each.drop_caption else data.prompt_of[row] for each, row in zip(draws, rows, strict=True)]),
            np.stack([each.posterior for each in draws]),
            np.stack([each.noise for each in draws]),
            share,
            last,
        )  # fmt: skip


class Loss:
    """The training loss of a piece, with all encodings held on the device; ``snr_gamma`` is of `Objective.min_snr`, if any."""

    def __init__(
        self, objective: Objective, data: TrainingSet, device: torch.device, snr_gamma: float | None = None
    ) -> None:
        self._objective, self._device, self._scaling_factor = objective, device, data.scaling_factor
        self._mean, self._deviation = data.posteriors.mean.to(device), data.posteriors.deviation.to(device)
        self._text = texts.moved(data.text, device)
        self._weights = None if snr_gamma is None else objective.min_snr(snr_gamma).to(device)

    def __call__(self, network: torch.nn.Module, piece: Piece) -> torch.Tensor:
        """Mean squared error, weighted by noise level if so told, times the piece's share of its batch."""
        rows, mirrors, levels, prompts, posterior, noise = (
            torch.from_numpy(array).to(self._device)
            for array in (piece.rows, piece.mirrors, piece.levels, piece.prompts, piece.posterior, piece.noise)
        )
        latents = (self._mean[rows, mirrors] + self._deviation[rows, mirrors] * posterior) * self._scaling_factor
        asked = self._objective
        noisy, target = asked.noised(latents, noise, levels), asked.target(latents, noise, levels)
        predicted = asked.predict(network, noisy, asked.times(levels), texts.rows(self._text, prompts))
        if self._weights is None:
            return mse_loss(predicted.float(), target.float()) * piece.share
        errors = mse_loss(predicted.float(), target.float(), reduction="none").mean(dim=(1, 2, 3))
        return (errors * self._weights[levels]).mean() * piece.share


def fit(
    network: Any,
    objective: Objective,
    data: TrainingSet,
    settings: FitSettings,
    seed: int,
    iteration: int,
    accelerator: Accelerator,
    label: str,
    execution: ExecutionOptions = ExecutionOptions(),
    checkpoints: Checkpoints | None = None,
    keep_updates: Callable[[Adapter], None] | None = None,
) -> tuple[Any, list[float]]:
    """Retrain ``network`` in place and return it, with plain weights however they were trained, and the loss of every step.

    Args:
        network: weights to start from, float32.
        objective: what the model was trained to predict.
        data: the encoded training set.
        settings: see `FitSettings`.
        seed: replicate seed.
        iteration: of the cell; keys the random streams together with the seed.
        accelerator: devices and precision.
        label: what the progress bar says.
        execution: see `ExecutionOptions`.
        checkpoints: where to go on from, and where to save; None keeps nothing.
        keep_updates: is given the trained updates of LoRA before they are added to the weights; not called without LoRA.

    Raises:
        UserError: if the loss is not finite, naming the step and what to change.
        Interrupted: if the process was told to stop; a checkpoint has been saved.
    """
    device = accelerator.device
    adapter = adapted(network, settings.lora, seed, iteration) if settings.lora else None
    network.to(device).train()
    if device.type == "cuda" and not optimizers.lays_out_anew(settings.optimizer):
        network.to(memory_format=torch.channels_last)
    if execution.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    trained = fit_state.trained(network)
    optimizer = optimizers.made(settings.optimizer, trained.values(), settings.learning_rate, device)
    average = Average(trained, settings.ema) if settings.ema else None
    plan = Plan(
        data, settings, seed, iteration, objective.timesteps,
        execution.per_device_batch_size, accelerator.process_index, accelerator.num_processes,
    )  # fmt: skip
    start, losses = 0, list[float]()
    if checkpoints and (found := checkpoints.newest()):
        if average:
            average.restore(found.tensors)
        fit_state.restore(network, optimizer, found.tensors)
        start, losses = found.position, found.values["losses"]
        logger.info("%s: resumed at step %d of %d", label, start, plan.total)
    accelerator.wait_for_everyone()
    prepared, stepper = accelerator.prepare(network, optimizer)
    if execution.compile:
        prepared = torch.compile(prepared)
    loss = Loss(objective, data, device, settings.snr_gamma)
    pending: list[torch.Tensor] = []
    deferred = checkpoints.defer_signals() if checkpoints else nullcontext()
    with Progress(plan.total, label, done=start) as progress, deferred, reproducible_gradients(device):
        for step, pieces in prefetch(plan.pieces, plan.steps(start), threaded=device.type != "cpu"):
            pending.append(_gradients(prepared, loss, pieces, accelerator))
            accelerator.clip_grad_norm_(network.parameters(), 1.0)
            stepper.step()
            stepper.zero_grad()
            if average:
                average.update()
            if not _is_time_to_read(step + 1, plan.total, accelerator, checkpoints):
                continue
            losses.extend(accelerator.reduce(torch.stack(pending), "sum").tolist())
            progress.advance(len(pending), loss=losses[-1])
            pending = []
            _check_finite(losses, plan.total, label, settings.learning_rate)
            if checkpoints and step + 1 < plan.total:
                checkpoints.offer(step + 1, lambda: (_state(network, optimizer, average), {"losses": losses}))
    if average:
        average.put_into_place()
    if adapter:
        if keep_updates:
            keep_updates(Adapter.of(adapter))
        network = adapter.merge_and_unload().requires_grad_(True)
    return network, losses


def _state(
    network: torch.nn.Module, optimizer: torch.optim.Optimizer, average: Average | None
) -> dict[str, torch.Tensor]:
    return fit_state.tensors(network, optimizer) | (average.tensors() if average else {})


def _is_time_to_read(done: int, total: int, accelerator: Accelerator, checkpoints: Checkpoints | None) -> bool:
    """Whether losses are read after this step, and a checkpoint may be written."""
    if accelerator.device.type == "cpu" or done % STEPS_BETWEEN_LOSSES == 0 or done == total:
        return True
    # Alone, a process that was told to stop does so at once; several meet at the next reading.
    return bool(accelerator.num_processes == 1 and checkpoints and checkpoints.told_to_stop())


def _gradients(network: torch.nn.Module, loss: Loss, pieces: list[Piece], accelerator: Accelerator) -> torch.Tensor:
    """Add up the batch's gradients, and return this device's part of its loss."""
    # Gradients are averaged over devices, while losses are shares of the batch's.
    devices = accelerator.num_processes
    total = torch.zeros((), device=accelerator.device)
    for piece in pieces:
        with nullcontext() if piece.last else accelerator.no_sync(network):
            lost = loss(network, piece)
            accelerator.backward(lost * devices if devices > 1 else lost)
        total = total + lost.detach()
    return total


def _check_finite(losses: list[float], total: int, label: str, learning_rate: float) -> None:
    for step in range(max(0, len(losses) - STEPS_BETWEEN_LOSSES), len(losses)):
        if not math.isfinite(losses[step]):
            raise UserError(
                f"{label}: the loss is {losses[step]} at step {step + 1} of {total}; lower `finetune.learning_rate` "
                f"({learning_rate:g}), or use `finetune.precision: fp32`"
            )
