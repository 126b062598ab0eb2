"""The optimisers that weights can be retrained with: torch's AdamW, or one that keeps its moments in 8 bits."""

import importlib
from collections.abc import Iterable
from typing import Any, Literal

import torch

from nepotism.runtime.errors import UserError

# Keys of the config's `finetune.optimizer`; of torch's own, job options say nothing.
Optimizer = Literal["adamw", "adamw_8bit"]

# Those of diffusers' train_text_to_image.py; rates for moments and epsilon are the libraries' defaults: 0.9, 0.999, 1e-8.
WEIGHT_DECAY = 1e-2
# The version that tests ran with: 0.50.2, on the CPU.
PACKAGE = "bitsandbytes"
KEY = "finetune.optimizer"
# Smaller tensors keep their moments in 32 bits, by the package's default.
_LEAST_8_BIT = 4096


def made(
    name: Optimizer | None, parameters: Iterable[torch.nn.Parameter], learning_rate: float, device: torch.device
) -> torch.optim.Optimizer:
    """An optimiser of ``parameters``, which are on ``device``.

    Args:
        name: which; None is adamw.
        parameters: those that are trained.
        learning_rate: constant.
        device: decides how torch's AdamW goes over the weights.

    Raises:
        UserError: if adamw_8bit was asked for where it is not.
    """
    if name == "adamw_8bit":
        # Blocks of 256 numbers share a scale (Dettmers et al., arXiv 2110.02861).
        optimizer: torch.optim.Optimizer = _package().optim.AdamW8bit(
            parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY
        )
        return optimizer
    fused = device.type in ("cpu", "cuda")
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=fused, foreach=not fused)


def lays_out_anew(name: Optimizer | None) -> bool:
    """Whether an optimiser gives weights a plain layout in memory at its first step.

    A retraining that goes on would have another layout up to its next step then, and with it other sums; so it begins plainly.
    """
    return name == "adamw_8bit"


def check(name: Optimizer | None, device: torch.device) -> None:
    """Make a step of an optimiser on a small weight: what is missing shows there, before anything is trained.

    Raises:
        UserError: if the package is not installed, or cannot do it on this device.
    """
    if name != "adamw_8bit":
        return
    weight = torch.nn.Parameter(torch.ones(_LEAST_8_BIT, device=device))
    optimizer = made(name, [weight], 1e-3, device)
    weight.grad = torch.ones_like(weight)
    try:
        optimizer.step()
        changed = bool((weight < 1).all())
    except Exception as error:  # Whatever it is made of: libraries that are not found, kernels that are not there.
        raise UserError(f"`{KEY}`: adamw_8bit cannot work on {_named(device)} ({_line(error)}); {_INSTEAD}") from None
    if not changed:
        raise UserError(f"`{KEY}`: adamw_8bit does nothing on {_named(device)}; {_INSTEAD}")


_INSTEAD = "use an NVIDIA GPU that the package supports, or adamw"


def _package() -> Any:
    """The package of 8-bit optimisers.

    Raises:
        UserError: if it cannot be imported.
    """
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as error:
        raise UserError(
            f"`{KEY}`: adamw_8bit needs the package {PACKAGE} ({_line(error)}); pip install {PACKAGE}, or use adamw"
        ) from None
    except Exception as error:  # It looks for CUDA's libraries when it is imported.
        raise UserError(f"`{KEY}`: the package {PACKAGE} cannot be loaded ({_line(error)}); use adamw") from None


def _named(device: torch.device) -> str:
    """What a device is called, for messages."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"the device {device.type}"


def _line(error: Exception) -> str:
    """An error in one line."""
    words = " ".join(str(error).split())
    return words[:200] or type(error).__name__
