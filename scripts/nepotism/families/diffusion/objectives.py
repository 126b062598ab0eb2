"""What a denoiser is trained to predict, of which mixture of image and noise: the objectives of diffusion and of flow models."""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Literal, Protocol

import torch
from diffusers import DDPMScheduler

from nepotism.families.diffusion.min_snr import min_snr_weights
from nepotism.families.diffusion.text import Text

# A pass of a denoiser: from (network, noisy latents (B, C, h, w), times (B,), captions) to its prediction (B, C, h, w).
Predict = Callable[[Any, torch.Tensor, torch.Tensor, Text], torch.Tensor]
# How models of this kind draw the noise level of a training step: evenly, or by a logit-normal density (Esser et al., arXiv
# 2403.03206), which prefers the middle, or by that in nine of ten cases.
Density = Literal["uniform", "logit_normal", "mostly_logit_normal"]


class Objective(Protocol):
    """What a step of retraining does to latents, and what it wants of the denoiser.

    Attributes:
        kind: what is predicted, as messages and preflight's record name it.
        timesteps: number of noise levels; a step draws one of them evenly, by its number.
        predict: a pass of the denoiser.
    """

    kind: str
    timesteps: int
    predict: Predict

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, h, w) with noise, at int64 (B,) noise levels."""
        ...

    def target(self, latents: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """What the denoiser is to predict."""
        ...

    def times(self, levels: torch.Tensor) -> torch.Tensor:
        """What the denoiser is told of noise levels, from 0 to the number of timesteps."""
        ...

    def alternatives(self, latents: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Targets of objectives that a model of this kind might have been trained with instead, by name; its own among them."""
        ...

    def level(self, share: float) -> int:
        """The number of the level with about so large a share of noise, from 0 to 1."""
        ...

    def min_snr(self, gamma: float) -> torch.Tensor:
        """The weight of each level by min-SNR-gamma, float32 (timesteps,): see `min_snr`."""
        ...

    def mislabelled(self, other: str) -> str:
        """What to do about a model that predicts another thing."""
        ...


class Diffusion:
    """Noise, or velocity, at one of the timesteps of a schedule of betas, all equally likely (Ho et al., arXiv 2006.11239; Salimans
    & Ho, 2202.00512).

    Args:
        scheduler: gives betas, timesteps and the prediction type.
        predict: a pass of the denoiser, which is told the timestep.
    """

    def __init__(self, scheduler: DDPMScheduler, predict: Predict) -> None:
        self.scheduler, self.predict = scheduler, predict
        self.kind = str(scheduler.config.prediction_type)
        self.timesteps = int(scheduler.config.num_train_timesteps)

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        return self.scheduler.add_noise(latents, noise, levels)

    def target(self, latents: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        return noise if self.kind == "epsilon" else self.scheduler.get_velocity(latents, noise, levels)

    def times(self, levels: torch.Tensor) -> torch.Tensor:
        return levels

    def alternatives(self, latents: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"epsilon": noise, "v_prediction": self.scheduler.get_velocity(latents, noise, levels)}

    def level(self, share: float) -> int:
        return int(share * self.timesteps)

    def min_snr(self, gamma: float) -> torch.Tensor:
        return min_snr_weights(self.scheduler, gamma)

    def mislabelled(self, other: str) -> str:
        return "correct prediction_type in scheduler/scheduler_config.json"


class Flow:
    """Rectified flow: of x_s = (1 - s) x + s e, the difference e - x (Liu et al., arXiv 2209.03003; Esser et al., 2403.03206).

    A level's number is a quantile of the density that noise levels are drawn from: all equally likely, they have that density.

    Args:
        scheduler: a FlowMatchEulerDiscreteScheduler, whose noise levels are shifted as its file says.
        predict: a pass of the denoiser, which is told s times the number of timesteps.
        density: of the noise level before it is shifted.
    """

    kind = "flow"

    def __init__(self, scheduler: Any, predict: Predict, density: Density) -> None:
        self.predict = predict
        self.timesteps = int(scheduler.config.num_train_timesteps)
        levels = scheduler.sigmas[: self.timesteps].double().cpu()
        # Those drawn evenly beside the others are not shifted, as in the published trainer of PRX.
        even = self.timesteps // 10 if density == "mostly_logit_normal" else 0
        quantiles = _middles(self.timesteps - even)
        if density != "uniform":
            quantiles = [1 / (1 + math.exp(-NormalDist().inv_cdf(quantile))) for quantile in quantiles]
        # As diffusers' training scripts, which take the level of that share of the schedule; the schedule falls.
        chosen = [self.timesteps - 1 - int(quantile * self.timesteps) for quantile in quantiles]
        beside = torch.tensor(_middles(even), dtype=torch.float64)
        self._sigmas = torch.cat([levels[chosen], beside]).sort().values.float()

    def sigma(self, levels: torch.Tensor) -> torch.Tensor:
        """Shares of noise in [0, 1], float32, of int64 levels."""
        return self._sigmas.to(levels.device)[levels]

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        share = self.sigma(levels).view(-1, 1, 1, 1)
        return (1 - share) * latents + share * noise

    def target(self, latents: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        return noise - latents

    def times(self, levels: torch.Tensor) -> torch.Tensor:
        return self.sigma(levels) * self.timesteps

    def alternatives(self, latents: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "flow": noise - latents, "flow with the other sign": latents - noise, "the noise": noise, "the image": latents,
        }  # fmt: skip

    def level(self, share: float) -> int:
        return int((self._sigmas - share).abs().argmin())

    def min_snr(self, gamma: float) -> torch.Tensor:
        # An error of the flow is 1 / s of one of the image, whose weight is min(SNR, gamma), with SNR = ((1 - s) / s)^2.
        sigmas = self._sigmas.double()
        return torch.minimum((1 - sigmas) ** 2, gamma * sigmas**2).float()

    def mislabelled(self, other: str) -> str:
        return "retraining it would undo what it knows; take a model whose files are those of its kind"


def _middles(count: int) -> list[float]:
    """The middles of so many equal parts of [0, 1]."""
    return [(number + 0.5) / count for number in range(count)]
