"""Features in which single images are compared: an early block of the model's own autoencoder, or torchvision's Inception."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from nepotism.controls.sifid_cull.sifid import Patches, patches
from nepotism.families.diffusion.pipeline import load_vae, to_unit_range
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import recorded, sha256
from nepotism.runtime.progress import Progress
from nepotism.weights import loading

BATCH = 4

Extractor = Callable[[torch.Tensor], torch.Tensor]


def extractor(
    name: str, base_model: Path, inception: Path | None, checksum: str | None, device: torch.device
) -> Extractor:
    """A function from float32 (N, 3, H, W) in [-1, 1] to features (N, C, h, w).

    Args:
        name: ``vae``, ``inception-64`` or ``inception-192``.
        base_model: the pipeline whose autoencoder is used.
        inception: torchvision's inception_v3 weights as safetensors.
        checksum: their sha256.
        device: where it runs.

    Raises:
        UserError: if Inception's weights are missing or not those of inception_v3.
    """
    if name == "vae":
        encoder = load_vae(base_model, "fp32").encoder.to(device).eval()
        return _vae(encoder)
    return _inception_stem(64 if name == "inception-64" else 192, inception, checksum).to(device).eval()


def _vae(encoder: Any) -> Extractor:
    """The first block, before it shrinks: many positions and few channels, so that covariances are regular."""

    def features(batch: torch.Tensor) -> torch.Tensor:
        hidden = encoder.conv_in(batch)
        for block in encoder.down_blocks[0].resnets:
            hidden = block(hidden, None)
        return hidden

    return features


def _inception_stem(channels: int, weights: Path | None, checksum: str | None) -> nn.Module:
    from torchvision.models.inception import BasicConv2d

    if weights is None or not weights.is_file() or weights.suffix != ".safetensors":
        raise UserError(
            f"`inception`: {weights} must be an existing .safetensors file with torchvision's inception_v3 weights; "
            "`inception: torchvision` downloads and converts them"
        )
    checksum = (checksum or recorded(weights) or "").lower()
    if (found := sha256(weights)) != checksum:
        wanted = checksum or "one that is given"
        raise UserError(f"`inception_sha256`: {weights} has {found}, not {wanted}; fetch it again or correct the key")
    layers = {
        "Conv2d_1a_3x3": BasicConv2d(3, 32, kernel_size=3, stride=2),
        "Conv2d_2a_3x3": BasicConv2d(32, 32, kernel_size=3),
        "Conv2d_2b_3x3": BasicConv2d(32, 64, kernel_size=3, padding=1),
    }
    if channels == 192:
        layers |= {
            "maxpool1": nn.MaxPool2d(kernel_size=3, stride=2),
            "Conv2d_3b_1x1": BasicConv2d(64, 80, kernel_size=1),
            "Conv2d_4a_3x3": BasicConv2d(80, 192, kernel_size=3),
        }
    stem = nn.Sequential()
    for name, layer in layers.items():
        stem.add_module(name, layer)
    loading.names_of_tensors(weights, "inception")
    stored = load_file(weights)
    # Of the whole network only its beginning is used; where that is missing, all names tell why.
    own = {name: tensor for name, tensor in stored.items() if name in stem.state_dict()}
    what, advice = f"`inception`: {weights}", "The weights of torchvision's inception_v3 are wanted"
    return loading.fill(stem, own or stored, what, advice).requires_grad_(False)


@torch.no_grad()
def all_patches(extract: Extractor, pixels: NDArray[np.uint8], device: torch.device, label: str) -> Patches:
    """Patch statistics of uint8 (N, H, W, 3) images, in their own size; float64, on the CPU."""
    parts = []
    with Progress(len(pixels), label, "image") as progress:
        for start in range(0, len(pixels), BATCH):
            batch = to_unit_range(pixels[start : start + BATCH]).to(device)
            # Apple's devices have no float64: statistics are made on the CPU.
            parts.append(patches(extract(batch).cpu()))
            progress.advance(len(batch))
    return Patches(torch.cat([part.mean for part in parts]), torch.cat([part.covariance for part in parts]))
