"""The state of a training as named tensors: weights, and Adam's or AdamW's moments and step counts."""

from collections.abc import Mapping

import torch
from torch import nn

from nepotism.weights import loading

WEIGHTS = "weights/"


def tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Everything that changes while training, on the CPU."""
    found = {WEIGHTS + name: value for name, value in network.state_dict().items()}
    states = optimizer.state_dict()["state"]
    for index, (name, _) in enumerate(network.named_parameters()):
        found |= {f"{kind}/{name}": value for kind, value in states.get(index, {}).items()}
    return {name: value.detach().cpu().contiguous() for name, value in found.items()}


def restore(network: nn.Module, optimizer: torch.optim.Optimizer, found: Mapping[str, torch.Tensor]) -> None:
    """Set ``network`` and ``optimizer`` to what `tensors` returned of such ones.

    Raises:
        UserError: if the tensors belong to another network.
    """
    wanted = {WEIGHTS + name: value.shape for name, value in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        wanted |= {
            f"step/{name}": torch.Size(),
            f"exp_avg/{name}": parameter.shape,
            f"exp_avg_sq/{name}": parameter.shape,
        }
    loading.check_shapes(
        "The checkpoint of this training", wanted, found,
        "It is of another network: delete the job's checkpoints, a hidden folder beside its output",
    )  # fmt: skip
    network.load_state_dict({name: found[WEIGHTS + name] for name in network.state_dict()})
    state = optimizer.state_dict()
    state["state"] = {
        index: {kind: found[f"{kind}/{name}"] for kind in ("step", "exp_avg", "exp_avg_sq")}
        for index, (name, _) in enumerate(network.named_parameters())
    }
    optimizer.load_state_dict(state)
    # Files hold plain layouts, but fused AdamW wants moments laid out as their weights, which may be channels last.
    for parameter in network.parameters():
        held = optimizer.state[parameter]
        for kind in ("exp_avg", "exp_avg_sq"):
            held[kind] = torch.empty_like(parameter).copy_(held[kind])
