"""Starting torch: threads, device, determinism, and quiet libraries."""

import os
import warnings

import torch
from accelerate import Accelerator

from nepotism.errors import UserError


def start(device: str, threads: int) -> torch.device:
    """Set up torch for one process and return its device.

    Args:
        device: ``auto`` takes CUDA, then Apple's MPS, then the CPU. Which CUDA device is CUDA_VISIBLE_DEVICES' business.
        threads: torch threads; a setting, because the number of threads changes the last bits of sums.

    Raises:
        UserError: if the named device is not there.
    """
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", message=".*safety checker.*")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("`how.device`: cuda was asked for, but torch sees no CUDA device; use auto or cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("`how.device`: mps was asked for, but this machine has none; use auto or cpu")
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # fp32 means fp32, in convolutions too.
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(device)


def accelerator(device: torch.device, precision: str) -> Accelerator:
    """Accelerate's handle on ``device``; ``precision`` is ``fp32``, or ``bf16`` for mixed precision."""
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no" if precision == "fp32" else precision)
