"""Going on from a model, away from a copy of it that was trained on its own images: in weights (neon), or in scores (sims).

The sources are abstracts and summaries, and of neon the rule in its released evaluation; see `nepotism.chain.regimes`.
"""

from typing import Any, TypeVar

import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput

Network = TypeVar("Network", bound=torch.nn.Module)


@torch.no_grad()
def extrapolated_weights(network: Network, copy: torch.nn.Module, weight: float) -> Network:
    """``network`` with (1 + weight) times its own tensors minus weight times those of ``copy``, in place.

    Weight 0 leaves every bit as it is, -1 gives the copy's numbers. Neon (arXiv 2510.03597).

    Args:
        network: the denoiser before it was trained on its own images, float32.
        copy: it after that; on any device.
        weight: w.
    """
    if weight == 0:
        # A sum would turn -0 into 0.
        return network
    others = copy.state_dict()
    for name, tensor in network.state_dict().items():
        tensor.copy_((1 + weight) * tensor - weight * others[name].to(tensor.device))
    return network


class Extrapolated(torch.nn.Module):
    """Two denoisers as one: (1 + weight) times the prediction of ``network`` minus weight times ``copy``'s.

    The rule of SIMS (arXiv 2408.16333) is about scores after classifier-free guidance. Guidance at scale g is linear in a
    network's two predictions, u + g (c - u), and so is this, so that at one scale for both networks it may as well come before
    guidance. (Pipelines also offer to rescale guided predictions, which is not linear; it is off unless asked for.)
    What networks predict, noise or velocity, is a score times a number, plus a multiple of the noisy image; the latter's
    weights sum to 1 and leave it as it is. The sum is made in float32 whatever the precision.

    Args:
        network: the denoiser that images are drawn from.
        copy: the one that was trained on its images.
        weight: omega; 0 gives the predictions of ``network`` to the bit, -1 those of ``copy``.
    """

    def __init__(self, network: Any, copy: Any, weight: float) -> None:
        super().__init__()
        self.network, self.copy, self.weight = network, copy, weight

    @property
    def config(self) -> Any:
        """Of both."""
        return self.network.config

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.network.dtype

    @property
    def device(self) -> torch.device:
        """Where both are."""
        return self.network.device

    @property
    def add_embedding(self) -> Any:
        """What Stable Diffusion XL's pipeline takes a width from."""
        return self.network.add_embedding

    def forward(self, *inputs: Any, return_dict: bool = True, **options: Any) -> Any:
        """As that of a denoiser; both are given the same. One that answers with a list of images gets a list of sums."""
        own, others = (network(*inputs, return_dict=False, **options)[0] for network in (self.network, self.copy))
        summed = (
            [self._sum(*pair) for pair in zip(own, others, strict=True)]
            if isinstance(own, list)
            else self._sum(own, others)
        )
        return Transformer2DModelOutput(sample=summed) if return_dict else (summed,)

    def _sum(self, own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return ((1 + self.weight) * own.float() - self.weight * others.float()).to(self.dtype)
