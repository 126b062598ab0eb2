"""Starting torch: threads, devices, determinism, and quiet libraries."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from nepotism.runtime import gpus
from nepotism.runtime.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

# Of NVIDIA's matrix products: with another workspace their sums may differ from run to run.
REPRODUCIBLE_WORKSPACES = (":4096:8", ":16:8")


def start(device: str, threads: int) -> torch.device:
    """Set up torch and the libraries around it for one process and return its device: `choose`."""
    warnings.filterwarnings("ignore", message=".*safety checker.*")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return choose(device, threads)


def choose(device: str, threads: int) -> torch.device:
    """Set up torch alone for one process and return its device.

    Args:
        device: ``auto`` takes CUDA, then Apple's MPS, then the CPU. Of several GPUs, the process takes a free one.
        threads: torch threads; a setting, because the number of threads changes the last bits of sums.

    Raises:
        UserError: if the named device is not there, or every GPU is taken.
    """
    torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("`execution.device`: cuda was asked for, but torch sees no CUDA device; use auto or cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("`execution.device`: mps was asked for, but this machine has none; use auto or cpu")
    if device == "cuda":
        if not _launched():
            torch.cuda.set_device(gpus.claim(1, torch.cuda.device_count())[0])
        if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in REPRODUCIBLE_WORKSPACES:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = REPRODUCIBLE_WORKSPACES[0]
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Else every tensor is written twice, once by torch, in case that a program reads what it has not written.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(device)


@contextmanager
def reproducible_gradients(device: torch.device) -> Iterator[None]:
    """Inside, the gradients of attention are the same in every run on a GPU, too.

    Torch makes them so only where it was told that anything else is an error: after `choose`, it would but warn.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)


def accelerator(device: torch.device, precision: str) -> "Accelerator":
    """Accelerate's handle on the devices.

    Args:
        device: kind of device.
        precision: ``fp32``, ``tf32`` for NVIDIA's shorter products of float32, or ``bf16`` for mixed precision.

    Raises:
        UserError: if tf32 is asked for where there is none.
    """
    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability() < (8, 0)):
        raise UserError("`finetune.precision`: tf32 needs an NVIDIA GPU of the Ampere generation or later; use fp32")
    # fp32 means fp32, in convolutions too.
    from accelerate import Accelerator

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")


def launch(devices: int, device: str) -> None:
    """Become ``accelerate launch`` of this same command on several devices, which does not return; or do nothing for one.

    Args:
        devices: how many.
        device: kind of device: on the CPU, processes stand for devices.

    Raises:
        UserError: if the machine has fewer GPUs.
    """
    if devices == 1 or _launched():
        return
    if device != "cpu" and torch.cuda.is_available():
        count = torch.cuda.device_count()
        names = gpus.visible(count)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[index] for index in gpus.claim(devices, count))
    command = [
        sys.executable, "-m", "accelerate.commands.launch",
        "--num_machines", "1", "--num_processes", str(devices), "--main_process_port", "0",
        # For processes on a CPU too: accelerate starts only one otherwise. The script itself says which device it is.
        "--mixed_precision", "no", "--dynamo_backend", "no", "--multi_gpu", "--gpu_ids", "all",
        *sys.argv,
    ]  # fmt: skip
    os.execv(command[0], command)  # noqa: S606


def _launched() -> bool:
    """Whether ``accelerate launch`` started this process, and has chosen its device."""
    return "LOCAL_RANK" in os.environ
