"""The tiny autoencoder: 64 x 64 RGB to 8 x 8 latents of 4 channels, as Stable Diffusion's maps 512 x 512 to 64 x 64."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from nepotism import streams
from nepotism.pretrain.data import PretrainData
from nepotism.pretrain.training import batches, to_tensor, train

KL_WEIGHT = 1e-4
GRADIENT_WEIGHT = 1.0


def new() -> AutoencoderKL:
    """An untrained autoencoder. Widths are multiples of 32, which processors handle far better than 24 or 48."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
    ).to(memory_format=torch.channels_last)


def fit(data: PretrainData, steps: int, batch_size: int, learning_rate: float, seed: int) -> AutoencoderKL:
    """Train on L1 of pixels and of their finite differences (edges: eyes, brows, mouths), with a small KL term.

    The scaling factor is set so that scaled latents have unit standard deviation, as in latent diffusion.
    """
    torch.manual_seed(seed)
    vae = new()
    coin = streams.generator("pretrain", "vae", seed, "flip")

    def loss_of(batch: NDArray[np.int64]) -> torch.Tensor:
        images = to_tensor(data.pixels[batch])
        mirrored = torch.from_numpy(coin.random(len(batch)) < 0.5)
        images[mirrored] = images[mirrored].flip(-1)
        posterior = vae.encode(images).latent_dist
        restored = vae.decode(posterior.sample()).sample.float()
        edges = sum((torch.diff(restored, dim=dim) - torch.diff(images, dim=dim)).abs().mean() for dim in (2, 3))
        divergence = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        return (restored - images).abs().mean() + GRADIENT_WEIGHT * edges + KL_WEIGHT * divergence

    indices = batches(data, steps, batch_size, "vae", seed)
    averaged = train(vae, loss_of, indices, steps, learning_rate, "pretrain_vae", bf16=True)
    assert isinstance(averaged, AutoencoderKL)
    averaged.eval()
    deviation = float(encode(averaged, data.pixels[:: max(1, len(data.pixels) // 1000)])[0].std())
    averaged.register_to_config(scaling_factor=1 / deviation)
    return averaged


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: NDArray[np.uint8], batch_size: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior mean and standard deviation, unscaled: float32 (N, 4, 8, 8) each."""
    means, deviations = [], []
    for start in range(0, len(pixels), batch_size):
        posterior = vae.encode(to_tensor(pixels[start : start + batch_size])).latent_dist
        means.append(posterior.mean)
        deviations.append(posterior.std)
    return torch.cat(means), torch.cat(deviations)


@torch.no_grad()
def restoration_error(vae: AutoencoderKL, pixels: NDArray[np.uint8], batch_size: int = 50) -> float:
    """Mean absolute error of decode(encode(x)) on [-1, 1]."""
    total = 0.0
    for start in range(0, len(pixels), batch_size):
        images = to_tensor(pixels[start : start + batch_size])
        total += float((vae.decode(vae.encode(images).latent_dist.mean).sample - images).abs().mean((1, 2, 3)).sum())
    return total / len(pixels)
