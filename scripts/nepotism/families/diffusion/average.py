"""The exponential moving average of weights over the steps of a retraining."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

PREFIX = "average/"


class Average:
    """Averages parameters: a_1 = w_1 and a_k = decay a_(k-1) + (1 - decay) w_k, where w_k are the weights after step k.

    So the weights from before the first step have no part in it, as in torch's AveragedModel, which would copy the frozen ones of
    a network, too. About the last 1 / (1 - decay) steps count.

    Args:
        parameters: by name.
        decay: in (0, 1).
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters, self._update = parameters, get_ema_multi_avg_fn(decay)
        self._held: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after another step into account."""
        now = {name: parameter.detach() for name, parameter in self._parameters.items()}
        if self._held:
            self._update(list(self._held.values()), list(now.values()), 0)
        else:
            self._held = {name: value.clone() for name, value in now.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The average so far, on the CPU, for a checkpoint."""
        return {PREFIX + name: value.cpu().contiguous() for name, value in self._held.items()}

    @torch.no_grad()
    def restore(self, found: dict[str, torch.Tensor]) -> None:
        """Go on from what `tensors` returned, and take it out of ``found``."""
        # Laid out in memory as the weights.
        self._held = {
            name: torch.empty_like(parameter).copy_(found.pop(PREFIX + name))
            for name, parameter in self._parameters.items()
        }

    @torch.no_grad()
    def put_into_place(self) -> None:
        """Give the parameters their averages."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self._held[name])
