"""The state of a training as named tensors: weights, and all that the optimiser keeps, such as AdamW's moments and step counts.

Parameters that ask for no gradient are frozen: they are no part of it, and the optimiser has only the others.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from nepotism.weights import loading

WEIGHTS = "weights/"


def tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Everything that changes while training, on the CPU; numbers that an optimiser keeps are tensors without dimensions."""
    found = {WEIGHTS + name: value for name, value in _changing(network).items()}
    for name, parameter in trained(network).items():
        # Of the optimiser itself: what its `state_dict` returns may be wrapped anew.
        held = optimizer.state.get(parameter, {})
        found |= {f"{kind}/{name}": torch.as_tensor(value) for kind, value in held.items()}
    plain = {name: value.detach().cpu().contiguous() for name, value in found.items()}
    # Tables that an optimiser has once for all weights; files hold no tensor under two names.
    taken = set[int]()
    for name, value in plain.items():
        if value.numel() and value.data_ptr() in taken:
            plain[name] = value.clone()
        taken.add(value.data_ptr())
    return plain


def restore(network: nn.Module, optimizer: torch.optim.Optimizer, found: Mapping[str, torch.Tensor]) -> None:
    """Set ``network`` and ``optimizer`` to what `tensors` returned of such ones.

    Raises:
        UserError: if the tensors belong to another network or optimiser.
    """
    parameters = trained(network)
    fresh = {name: _fresh(optimizer, index, parameter) for index, (name, parameter) in enumerate(parameters.items())}
    wanted = {WEIGHTS + name: value.shape for name, value in _changing(network).items()}
    for name, state in fresh.items():
        wanted |= {f"{kind}/{name}": torch.as_tensor(value).shape for kind, value in state.items()}
    loading.check_shapes(
        "The checkpoint of this training", wanted, found,
        "It is of another network: delete the job's checkpoints, a hidden folder beside its output",
    )  # fmt: skip
    changed = {name: found[WEIGHTS + name] for name in _changing(network)}
    network.load_state_dict({**network.state_dict(), **changed})
    state = optimizer.state_dict()
    state["state"] = {
        index: {kind: _like(value, found[f"{kind}/{name}"]) for kind, value in fresh[name].items()}
        for index, name in enumerate(parameters)
    }
    optimizer.load_state_dict(state)
    # Files hold plain layouts, but optimisers want moments laid out as their weights, which may be channels last.
    for parameter in parameters.values():
        held = optimizer.state[parameter]
        for kind, value in held.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                held[kind] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _fresh(optimizer: torch.optim.Optimizer, index: int, parameter: nn.Parameter) -> dict[str, Any]:
    """What an optimiser keeps of one parameter, before its first step.

    Args:
        optimizer: torch's Adam or AdamW, or one that makes states by ``init_state``, as those of bitsandbytes do, which keep
            moments of large tensors in 8 bits with a scale for each block, and those of small ones in 32.
        index: of the parameter.
        parameter: one of the optimiser's.
    """
    if hasattr(optimizer, "init_state"):
        optimizer.init_state(optimizer.param_groups[0], parameter, 0, index)
        return dict(optimizer.state.pop(parameter))
    return {"step": torch.zeros(()), "exp_avg": parameter.detach(), "exp_avg_sq": parameter.detach()}


def _like(fresh: Any, value: torch.Tensor) -> Any:
    """A tensor of a checkpoint as what an optimiser keeps: a plain number where it keeps such."""
    return value if isinstance(fresh, torch.Tensor) else type(fresh)(value.item())


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a training changes, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def _changing(network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and buffers without the frozen parameters."""
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in frozen}
