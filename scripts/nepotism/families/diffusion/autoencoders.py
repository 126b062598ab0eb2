"""What the autoencoders of different models call a latent, on one scale: Gaussians that a factor turns into what denoisers see.

Which it is, the autoencoder's class and configuration tell, whatever the denoiser:

- AutoencoderKL: a Gaussian; denoisers see (z - shift) times the scaling factor, where Stable Diffusion 1, 2 and XL have no shift.
- AutoencoderKLFlux2: two by two latents as channels of one, normalised by the statistics that its batch normalisation keeps.
- AutoencoderDC: a point, times the scaling factor.
"""

from typing import Any

import torch


def posterior(vae: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (N, C, h, w) of the latents of float (N, 3, H, W) images in [-1, 1], before `scaling_factor`.

    A training draws mean + deviation * noise at every step, times the factor.
    """
    encoded = vae.encode(images)
    if hasattr(encoded, "latent"):
        return encoded.latent, torch.zeros_like(encoded.latent)
    mean, deviation = encoded.latent_dist.mean, encoded.latent_dist.std
    if is_packed(vae):
        centre, spread = _statistics(vae, mean)
        return (_packed(mean) - centre) / spread, _packed(deviation) / spread
    if (shift := vae.config.get("shift_factor")) is not None:
        mean = mean - shift
    return mean, deviation


def scaling_factor(vae: Any) -> float:
    """What latents are multiplied by, to be what the denoiser sees."""
    return 1.0 if is_packed(vae) else float(vae.config.scaling_factor)


def decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Images (N, 3, H, W), about [-1, 1], of latents as the denoiser sees them."""
    if is_packed(vae):
        centre, spread = _statistics(vae, latents)
        latents = _unpacked(latents * spread + centre)
    else:
        latents = latents / vae.config.scaling_factor
        if (shift := vae.config.get("shift_factor")) is not None:
            latents = latents + shift
    decoded: torch.Tensor = vae.decode(latents, return_dict=False)[0]
    return decoded


def restored(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """Images encoded, to the posterior's mean, and decoded."""
    encoded = vae.encode(images)
    latents = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mean
    decoded: torch.Tensor = vae.decode(latents).sample
    return decoded


def is_packed(vae: Any) -> bool:
    """Whether denoisers see two by two of its latents as one."""
    return type(vae).__name__ == "AutoencoderKLFlux2"


def shrinks(vae: Any) -> int:
    """How many pixels the side of a latent has, as the denoiser sees it."""
    ratio = getattr(vae, "spatial_compression_ratio", None) or 2 ** (len(vae.config.block_out_channels) - 1)
    return int(ratio) * (2 if is_packed(vae) else 1)


def channels(vae: Any) -> int:
    """Channels of a latent, as the denoiser sees it."""
    return int(vae.config.latent_channels) * (4 if is_packed(vae) else 1)


def _statistics(vae: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (1, 4 C, 1, 1) by which packed latents are normalised (diffusers' Flux2KleinPipeline)."""
    mean = vae.bn.running_mean.view(1, -1, 1, 1)
    deviation = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps)
    return mean.to(like.device, like.dtype), deviation.to(like.device, like.dtype)


def _packed(latents: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) as (N, 4 C, h / 2, w / 2)."""
    return torch.nn.functional.pixel_unshuffle(latents, 2)


def _unpacked(latents: torch.Tensor) -> torch.Tensor:
    """The inverse of `_packed`."""
    return torch.nn.functional.pixel_shuffle(latents, 2)
