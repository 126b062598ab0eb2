"""What the pretraining loops share: batches, a cosine schedule and an average of the weights."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from nepotism.families.diffusion.pipeline import to_unit_range
from nepotism.runtime import streams
from nepotism.runtime.progress import Progress
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from pretraining.data import NAMES, PretrainData

DIGIT_SHARE = 0.15
Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def batches(data: PretrainData, steps: int, size: int, *key: str | int) -> Iterator[NDArray[np.int64]]:
    """Indices of ``steps`` batches; `DIGIT_SHARE` of the rows are digits, whatever their share of the data."""
    rng = streams.generator("pretrain", *key)
    digit = np.flatnonzero(data.factors[:, -1] >= 0)
    portrait = np.flatnonzero(data.factors[:, -1] < 0)
    for _ in range(steps):
        is_digit = rng.random(size) < DIGIT_SHARE
        yield np.where(is_digit, rng.choice(digit, size), rng.choice(portrait, size))


def to_tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (N, H, W, 3) as float32 (N, 3, H, W) in [-1, 1], channels last in memory."""
    return to_unit_range(pixels).contiguous(memory_format=torch.channels_last)


def factor_loss(logits: torch.Tensor, factors: NDArray[np.int64]) -> torch.Tensor:
    """Mean cross-entropy of each factor's names, over the rows that have the factor.

    Args:
        logits: (N, P) similarities of N pictures or captions to the P names of all factors, in the order of `NAMES`.
        factors: (N, F) as in `PretrainData`.
    """
    losses, column = [], 0
    for index, names in enumerate(NAMES.values()):
        shown = torch.from_numpy(factors[:, index] >= 0)
        if shown.any():
            answers = torch.from_numpy(factors[:, index])[shown]
            losses.append(cross_entropy(logits[shown, column : column + len(names)], answers))
        column += len(names)
    return torch.stack(losses).mean()


def train(
    model: nn.Module,
    loss_of: Callable[[NDArray[np.int64]], torch.Tensor],
    indices: Iterator[NDArray[np.int64]],
    steps: int,
    learning_rate: float,
    label: str,
    bf16: bool,
    average: float = 0.999,
    weight_decay: float = 1e-3,
) -> nn.Module:
    """AdamW with a linear warm-up and a cosine decay to zero; returns the exponential moving average of the weights.

    With ``bf16``, matrix products run in bfloat16: three times faster for large pictures on processors with AMX, slower
    for small latents.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay)
    warmup = max(1, min(200, steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=_average(average))
    with Progress(steps, label, interval=30) as progress:
        for batch in indices:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = loss_of(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            averaged.update_parameters(model)
            progress.advance(loss=float(loss.detach()))
    return averaged.module


def _average(longest: float) -> Callable[[Tensors, Tensors, torch.Tensor | int], None]:
    """An exponential average whose memory grows with the training: a short one must not remember its first weights."""

    @torch.no_grad()
    def update(averages: Tensors, current: Tensors, updates: torch.Tensor | int) -> None:
        decay = min(longest, (1 + int(updates)) / (10 + int(updates)))
        torch._foreach_lerp_(list(averages), list(current), 1 - decay)

    return update
