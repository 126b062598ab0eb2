"""Steps of training that a killed job goes on with: weights, the optimiser's moments and how far it came."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nepotism.families import fit_state
from nepotism.runtime.resume.checkpoints import Store

logger = logging.getLogger(__name__)

_KEPT = "kept/"


class Training:
    """The state of a training by Adam or AdamW, from its last checkpoint on if there is one.

    Args:
        network: is given the weights of that checkpoint.
        optimizer: of all its parameters; is given their moments.
        checkpoints: where to go on from, and where to save.

    Attributes:
        done: steps made.
        kept: other tensors that the steps change, by name.
        values: numbers that they change.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, checkpoints: Store) -> None:
        self._network, self._optimizer, self._checkpoints = network, optimizer, checkpoints
        self.done = 0
        self.kept: dict[str, Tensor] = {}
        self.values: dict[str, float] = {}
        if (found := checkpoints.newest()) is not None:
            tensors = {name: torch.from_numpy(array) for name, array in found.tensors.items()}
            self.kept = {
                name.removeprefix(_KEPT): tensors.pop(name) for name in list(tensors) if name.startswith(_KEPT)
            }
            fit_state.restore(network, optimizer, tensors)
            self.done, self.values = found.position, found.values
            logger.info("resumed at step %d", self.done)

    def steps(self, total: int) -> Iterator[int]:
        """The numbers of the steps that are left, of ``total``; when the next is asked for, the last was made."""
        for step in range(self.done, total):
            yield step
            self.done = step + 1
            self._checkpoints.offer(self.done, self._state)

    def pause(self) -> None:
        """Save and end if the process was told to stop: for work inside a step that has changed nothing so far."""
        if self._checkpoints.told_to_stop():
            self._checkpoints.offer(self.done, self._state)

    def _state(self) -> tuple[dict[str, Any], Mapping[str, Any]]:
        kept = {_KEPT + name: tensor.detach().cpu().contiguous() for name, tensor in self.kept.items()}
        tensors = fit_state.tensors(self._network, self._optimizer) | kept
        return {name: tensor.numpy() for name, tensor in tensors.items()}, self.values
