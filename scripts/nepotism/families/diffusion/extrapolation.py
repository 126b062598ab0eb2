"""Going on from a model, away from a copy of it that was trained on its own images: in weights (neon), or in scores (sims).

The sources are abstracts and summaries, and of neon the rule in its released evaluation; see `nepotism.chain.regimes`.
"""

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput


@torch.no_grad()
def extrapolated_weights(unet: UNet2DConditionModel, copy: UNet2DConditionModel, weight: float) -> UNet2DConditionModel:
    """``unet`` with (1 + weight) times its own tensors minus weight times those of ``copy``, in place.

    Weight 0 leaves every bit as it is, -1 gives the copy's numbers. Neon (arXiv 2510.03597).

    Args:
        unet: the model before it was trained on its own images, float32.
        copy: the model after that; on any device.
        weight: w.
    """
    if weight == 0:
        # A sum would turn -0 into 0.
        return unet
    others = copy.state_dict()
    for name, tensor in unet.state_dict().items():
        tensor.copy_((1 + weight) * tensor - weight * others[name].to(tensor.device))
    return unet


class ExtrapolatedUNet(torch.nn.Module):
    """Two U-Nets as one, for diffusers' pipelines: (1 + weight) times the prediction of ``unet`` minus weight times ``copy``'s.

    The rule of SIMS (arXiv 2408.16333) is about scores after classifier-free guidance. Guidance at scale g is linear in a
    network's two predictions, u + g (c - u), and so is this, so that at one scale for both networks it may as well come before
    guidance. (Pipelines also offer to rescale guided predictions, which is not linear; it is off unless asked for.)
    What networks predict, noise or velocity, is a score times a number, plus a multiple of the noisy image; the latter's
    weights sum to 1 and leave it as it is. The sum is made in float32 whatever the precision.

    Args:
        unet: the model that images are drawn from.
        copy: the one that was trained on its images.
        weight: omega; 0 gives the predictions of ``unet`` to the bit, -1 those of ``copy``.
    """

    def __init__(self, unet: UNet2DConditionModel, copy: UNet2DConditionModel, weight: float) -> None:
        super().__init__()
        self.unet, self.copy, self.weight = unet, copy, weight

    @property
    def config(self) -> Any:
        """Of both."""
        return self.unet.config

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.unet.dtype

    @property
    def device(self) -> torch.device:
        """Where both are."""
        return self.unet.device

    def forward(self, *inputs: Any, return_dict: bool = True, **options: Any) -> Any:
        """As that of a U-Net; both networks are given the same."""
        own, others = (network(*inputs, return_dict=False, **options)[0].float() for network in (self.unet, self.copy))
        predicted = ((1 + self.weight) * own - self.weight * others).to(self.dtype)
        return UNet2DConditionOutput(sample=predicted) if return_dict else (predicted,)
