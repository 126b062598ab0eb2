"""The random numbers of a retraining: which images are a batch, and what happens to each."""

from dataclasses import dataclass

import numpy as np

from nepotism.runtime import streams


@dataclass(frozen=True)
class Draws:
    """The random numbers of one image in one epoch: numpy scalars, and float32 arrays of the latents' shape."""

    flip: bool
    drop_caption: bool
    timestep: int
    posterior: np.ndarray
    noise: np.ndarray


def draw_numbers(
    key: streams.StreamKey, shape: tuple[int, ...], timesteps: int, random_flip: bool, caption_dropout: float
) -> Draws:
    """All draws of one image in one epoch, always in this order, so that a setting never shifts the other numbers."""
    rng = streams.generator(*key)
    coins = rng.random(2)
    timestep = int(rng.integers(timesteps))
    posterior, noise = rng.standard_normal((2, *shape), dtype=np.float32)
    return Draws(bool(random_flip and coins[0] < 0.5), bool(coins[1] < caption_dropout), timestep, posterior, noise)


def batches_of_epoch(
    rows: int, batch_size: int, seed: int, iteration: int, epoch: int, most: int | None = None
) -> list[list[int]]:
    """Indices of an epoch's batches: a keyed permutation of ``rows``, or the first ``most`` of it, cut into pieces; the last
    may be short."""
    order = streams.generator(seed, iteration, "finetune", epoch).permutation(rows)[:most]
    return [[int(index) for index in order[start : start + batch_size]] for start in range(0, len(order), batch_size)]
