"""The state of a training as named tensors: weights, and Adam's or AdamW's moments and step counts.

Parameters that ask for no gradient are frozen: they are no part of it, and the optimiser has only the others.
"""

from collections.abc import Mapping

import torch
from torch import nn

from nepotism.weights import loading

WEIGHTS = "weights/"


def tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Everything that changes while training, on the CPU."""
    found = {WEIGHTS + name: value for name, value in _changing(network).items()}
    states = optimizer.state_dict()["state"]
    for index, name in enumerate(trained(network)):
        found |= {f"{kind}/{name}": value for kind, value in states.get(index, {}).items()}
    return {name: value.detach().cpu().contiguous() for name, value in found.items()}


def restore(network: nn.Module, optimizer: torch.optim.Optimizer, found: Mapping[str, torch.Tensor]) -> None:
    """Set ``network`` and ``optimizer`` to what `tensors` returned of such ones.

    Raises:
        UserError: if the tensors belong to another network.
    """
    parameters = trained(network)
    wanted = {WEIGHTS + name: value.shape for name, value in _changing(network).items()}
    for name, parameter in parameters.items():
        wanted |= {
            f"step/{name}": torch.Size(),
            f"exp_avg/{name}": parameter.shape,
            f"exp_avg_sq/{name}": parameter.shape,
        }
    loading.check_shapes(
        "The checkpoint of this training", wanted, found,
        "It is of another network: delete the job's checkpoints, a hidden folder beside its output",
    )  # fmt: skip
    changed = {name: found[WEIGHTS + name] for name in _changing(network)}
    network.load_state_dict({**network.state_dict(), **changed})
    state = optimizer.state_dict()
    state["state"] = {
        index: {kind: found[f"{kind}/{name}"] for kind in ("step", "exp_avg", "exp_avg_sq")}
        for index, name in enumerate(parameters)
    }
    optimizer.load_state_dict(state)
    # Files hold plain layouts, but fused AdamW wants moments laid out as their weights, which may be channels last.
    for parameter in parameters.values():
        held = optimizer.state[parameter]
        for kind in ("exp_avg", "exp_avg_sq"):
            held[kind] = torch.empty_like(parameter).copy_(held[kind])


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a training changes, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def _changing(network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and buffers without the frozen parameters."""
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in frozen}
