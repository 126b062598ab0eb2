"""The tiny autoencoder: 64 x 64 RGB to 8 x 8 latents, as Stable Diffusion's maps 512 x 512 to 64 x 64.

It is trained in four stages: with 4 latent channels, which blurs eyes and mouths; widened to 8; the decoder alone; the
decoder against a discriminator, as latent diffusion's is.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from nepotism.runtime import streams
from nepotism.weights import loading
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import relu

from pretraining.data import PretrainData
from pretraining.training import batches, to_tensor, train

KL_WEIGHT = 1e-4
GRADIENT_WEIGHT = 1.0
# Pull of the discriminator on each picture, as a share of the restoration loss's pull.
ADVERSARIAL_SHARE = 0.4
# Batches after which the discriminator tells restored from real pictures.
YOUNG = 200
# Errors near the middle of the picture, where faces have their features, count up to four times as much.
CENTRE_WEIGHT, CENTRE_RADIUS = 3.0, 0.18


def new(latent_channels: int) -> AutoencoderKL:
    """An untrained autoencoder."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=64,
    ).to(memory_format=torch.channels_last)


def widen(narrow: AutoencoderKL, latent_channels: int) -> AutoencoderKL:
    """An autoencoder with more latent channels that keeps all weights of ``narrow`` but those around the bottleneck."""
    wide = new(latent_channels)
    weights = wide.state_dict()
    kept = {name: value for name, value in narrow.state_dict().items() if value.shape == weights[name].shape}
    wide.load_state_dict({**weights, **kept})
    return wide


def centre_weights(size: int) -> torch.Tensor:
    """float32 (size, size) weights of mean 1, largest in the middle."""
    axis = (torch.arange(size) + 0.5) / size - 0.5
    bump = torch.exp(-(axis[:, None] ** 2 + axis**2) / (2 * CENTRE_RADIUS**2))
    weights = 1 + CENTRE_WEIGHT * bump
    return weights / weights.mean()


def fit(
    data: PretrainData,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    latent_channels: int,
    narrow: AutoencoderKL | None = None,
) -> AutoencoderKL:
    """Train on L1 of pixels and of their finite differences (edges: eyes, brows, mouths), with a small KL term.

    With ``narrow``, its weights are widened to ``latent_channels`` and the loss looks more closely at the middle. The
    scaling factor is set so that scaled latents have unit standard deviation, as in latent diffusion.
    """
    torch.manual_seed(seed)
    vae = new(latent_channels) if narrow is None else widen(narrow, latent_channels)
    weights = centre_weights(data.pixels.shape[1]) if narrow is not None else torch.ones(data.pixels.shape[1:3])
    coin = streams.generator("pretrain", "vae", seed, "flip")

    def loss_of(batch: NDArray[np.int64]) -> torch.Tensor:
        images = to_tensor(data.pixels[batch])
        mirrored = torch.from_numpy(coin.random(len(batch)) < 0.5)
        images[mirrored] = images[mirrored].flip(-1)
        posterior = vae.encode(images).latent_dist
        restored = vae.decode(posterior.sample()).sample.float()
        divergence = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        return restoration_loss(restored, images, weights) + KL_WEIGHT * divergence

    indices = batches(data, steps, batch_size, "vae", seed)
    averaged = train(vae, loss_of, indices, steps, learning_rate, "pretrain_vae", bf16=True)
    assert isinstance(averaged, AutoencoderKL)
    averaged.eval()
    deviation = float(encode(averaged, data.pixels[:: max(1, len(data.pixels) // 1000)])[0].std())
    averaged.register_to_config(scaling_factor=1 / deviation)
    return averaged


def refine_decoder(
    vae: AutoencoderKL,
    data: PretrainData,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    adversarial: bool,
    bf16: bool,
) -> AutoencoderKL:
    """Train the decoder on, with the encoder frozen: latents stay as they are, pictures become sharper.

    With ``adversarial``, a discriminator joins in. Where latents leave open what a small mouth does, the least absolute
    error is a blur of all that it may do; a blur is what the discriminator tells from pictures.
    """
    torch.manual_seed(seed)
    mean, deviation = encode(vae, data.pixels)
    vae.requires_grad_(False)
    half = Decoding(vae)
    half.requires_grad_(True)
    weights = centre_weights(data.pixels.shape[1])
    rng = streams.generator("pretrain", "decoder", seed, "posterior")
    critic = Critic() if adversarial else None

    def loss_of(batch: NDArray[np.int64]) -> torch.Tensor:
        noise = torch.from_numpy(rng.standard_normal((len(batch), *mean.shape[1:]), dtype=np.float32))
        restored = half(mean[batch] + deviation[batch] * noise).float()
        images = to_tensor(data.pixels[batch])
        loss = restoration_loss(restored, images, weights)
        return loss if critic is None else loss + critic.pull(restored, images, loss)

    indices = batches(data, steps, batch_size, "decoder", seed)
    averaged = train(half, loss_of, indices, steps, learning_rate, "pretrain_decoder", bf16=bf16)
    assert isinstance(averaged, Decoding)
    vae.decoder, vae.post_quant_conv = averaged.decoder, averaged.post_quant_conv
    return vae.eval()


class Critic:
    """A discriminator of small patches (hinge loss) that learns with every batch that it judges."""

    def __init__(self) -> None:
        self.score = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(32, 64, 4, 2, 1), nn.GroupNorm(8, 64), nn.LeakyReLU(0.2),
            nn.Conv2d(64, 128, 4, 1, 1), nn.GroupNorm(8, 128), nn.LeakyReLU(0.2),
            nn.Conv2d(128, 1, 3, padding=1),
        ).to(memory_format=torch.channels_last)  # fmt: skip
        self.optimizer = torch.optim.AdamW(self.score.parameters(), lr=1e-3, betas=(0.5, 0.9))
        self.judged = 0

    def pull(self, restored: torch.Tensor, images: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
        """Learn to tell ``restored`` from ``images``, then the loss that moves ``restored`` towards pictures.

        It is scaled so that its gradient is `ADVERSARIAL_SHARE` of the gradient of ``loss``, and zero while the
        discriminator is still too young to tell one from the other.
        """
        real, made = self.score(torch.cat([images, restored.detach()])).float().chunk(2)
        (relu(1 - real).mean() + relu(1 + made).mean()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.judged += 1
        if self.judged <= YOUNG:
            return torch.zeros(())
        self.score.requires_grad_(False)
        towards = -self.score(restored).float().mean()
        self.score.requires_grad_(True)
        anchor, gradient = (torch.autograd.grad(each, restored, retain_graph=True)[0] for each in (loss, towards))
        return ADVERSARIAL_SHARE * anchor.norm() / (gradient.norm() + 1e-8) * towards


class Decoding(nn.Module):
    """The decoding half of an autoencoder."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Unscaled latents (N, C, h, w) to pictures (N, 3, H, W)."""
        return self.decoder(self.post_quant_conv(latents))


def restoration_loss(restored: torch.Tensor, images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """L1 of weighted errors and of their finite differences: edges are eyes, brows and mouths."""
    error = (restored - images) * weights
    return error.abs().mean() + GRADIENT_WEIGHT * sum(torch.diff(error, dim=dim).abs().mean() for dim in (2, 3))


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: NDArray[np.uint8], batch_size: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior mean and standard deviation, unscaled: float32 (N, C, 8, 8) each."""
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


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """An autoencoder that `fit` trained, frozen."""
    trained: AutoencoderKL = loading.load_model(AutoencoderKL, folder, "pretrain", dtype=torch.float32)
    return trained.requires_grad_(False).eval()
