"""Frozen encoders run once: posterior mean and deviation of every image and of its mirror, one embedding per prompt.

Storing the posterior, not a sample, changes nothing: training draws from it at every step, as encoding anew would.
The mirror is encoded separately, because encoding does not commute with flipping.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.pipeline import to_unit_range
from nepotism.families.diffusion.text import Text
from nepotism.runtime.files import atomic_write
from nepotism.runtime.progress import Progress

PIXELS_AT_A_TIME = 20 * 64 * 64


@dataclass(frozen=True)
class Posteriors:
    """Gaussians over latents before their `autoencoders.scaling_factor`: ``mean`` and ``deviation`` are float32 (N, 2, C, h, w);
    index 1 is the mirror."""

    mean: torch.Tensor
    deviation: torch.Tensor


@dataclass(frozen=True)
class Encoded:
    """What the frozen encoders say of real images.

    Attributes:
        posteriors: of the images, in the order of ``ids``.
        ids: one per image.
        text: float32 embeddings of ``prompts``.
        prompts: P distinct prompts; the last is empty.
    """

    posteriors: Posteriors
    ids: list[str]
    text: Text
    prompts: list[str]


@torch.no_grad()
def encode_images(vae: Any, pixels: NDArray[np.uint8]) -> Posteriors:
    """Encode uint8 (N, H, W, 3) images and their mirrors."""
    device, batch_size = vae.device, _batch_size(pixels)
    means, deviations = [], []
    with Progress(len(pixels), "encoding", "image") as progress:
        for start in range(0, len(pixels), batch_size):
            batch = to_unit_range(pixels[start : start + batch_size]).to(device)
            mean, deviation = autoencoders.posterior(vae, torch.cat([batch, batch.flip(-1)]))
            means.append(torch.stack(mean.chunk(2), 1).cpu())
            deviations.append(torch.stack(deviation.chunk(2), 1).cpu())
            progress.advance(len(batch))
    return Posteriors(torch.cat(means), torch.cat(deviations))


@torch.no_grad()
def round_trip(vae: Any, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Encode (posterior mean) and decode uint8 (N, H, W, 3) images once."""
    made, batch_size = [], _batch_size(pixels)
    with Progress(len(pixels), "round trip", "image") as progress:
        for start in range(0, len(pixels), batch_size):
            batch = to_unit_range(pixels[start : start + batch_size]).to(vae.device)
            decoded = autoencoders.restored(vae, batch)
            made.append(((decoded.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8))
            progress.advance(len(batch))
    return np.concatenate(made)


def _batch_size(pixels: NDArray[np.uint8]) -> int:
    """Images at a time: few, so that they fit into a processor's cache, and large ones into any GPU's memory."""
    return max(1, PIXELS_AT_A_TIME // (pixels.shape[1] * pixels.shape[2]))


def write_encoded(path: Path, encoded: Encoded) -> None:
    """Write as safetensors, whole or not at all."""
    tensors = {
        **texts.moved(encoded.text, "cpu"),
        "mean": encoded.posteriors.mean,
        "deviation": encoded.posteriors.deviation,
    }
    with atomic_write(path) as temporary:
        # One key only: safetensors writes several in random order.
        metadata = {"encoded": json.dumps({"ids": encoded.ids, "prompts": encoded.prompts})}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Encodings of several image sets as one, in their order; a prompt's embedding is that of the first that has it."""
    text: dict[str, Text] = {}
    for part in parts:
        for index, prompt in enumerate(part.prompts):
            text.setdefault(prompt, texts.rows(part.text, [index]))
    # The empty one last.
    prompts = [*filter(None, text), ""]
    posteriors = Posteriors(
        torch.cat([part.posteriors.mean for part in parts]), torch.cat([part.posteriors.deviation for part in parts])
    )
    ids = [name for part in parts for name in part.ids]
    return Encoded(posteriors, ids, texts.joined([text[prompt] for prompt in prompts]), prompts)


def read_encoded(path: Path) -> Encoded:
    """Read a file that `write_encoded` wrote."""
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["encoded"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        posteriors = Posteriors(tensors.pop("mean"), tensors.pop("deviation"))
        return Encoded(posteriors, metadata["ids"], tensors, metadata["prompts"])
