"""Which GPU a process takes: on a workstation jobs that run side by side never share one by accident.

Snakemake counts GPUs (``--resources gpu=2``) but does not say which one a job may use; without this, all would take the
first. A taken GPU has a locked file in the folder for temporary files; the lock goes with the process, however it ends.
Standard library only.
"""

import fcntl
import logging
import os
import random
import tempfile
import time
from pathlib import Path

from nepotism.runtime.errors import UserError

logger = logging.getLogger(__name__)

_held: list[int] = []


def nvidia_gpus() -> int:
    """Number of GPUs of this machine, by its driver: quicker than asking torch."""
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except FileNotFoundError:
        return 0


def claim(count: int, devices: int) -> list[int]:
    """Take ``count`` free GPUs until the process ends; wait for them if others of this project's jobs have them.

    In a SLURM job the first ones are taken: SLURM shows a job its own GPUs only.

    Args:
        count: how many.
        devices: number of GPUs that torch sees.

    Returns:
        Their numbers, as torch counts.

    Raises:
        UserError: if the machine has fewer.
    """
    if "SLURM_JOB_ID" in os.environ:
        return list(range(count))
    if count > devices:
        raise UserError(f"`execution.num_processes`: {count} GPUs wanted, but torch sees {devices}")
    said = False
    while True:
        locks = _free(visible(devices), count)
        if len(locks) == count:
            _held.extend(locks.values())
            return list(locks)
        # All or none: two jobs that each hold one and want two would wait for ever.
        for file in locks.values():
            os.close(file)
        if not said:
            said = True
            logger.info("waiting for a GPU; tell Snakemake how many there are: --resources gpu=%d", devices)
        time.sleep(random.uniform(0.5, 1.5))


def visible(devices: int) -> list[str]:
    """What CUDA calls the GPUs that torch counts: their names in CUDA_VISIBLE_DEVICES, or their numbers."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [name.strip() for name in listed.split(",")][:devices] if listed else [str(i) for i in range(devices)]


def _free(names: list[str], count: int) -> dict[int, int]:
    """Up to ``count`` GPUs that nobody has, with the open files of their locks."""
    locks: dict[int, int] = {}
    for index, name in enumerate(names):
        if len(locks) < count and (file := _lock(name)) is not None:
            locks[index] = file
    return locks


def _lock(name: str) -> int | None:
    folder = Path(tempfile.gettempdir()) / f"nepotism-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    safe = "".join(character if character.isalnum() or character in "-." else "_" for character in name)
    file = os.open(folder / f"{safe}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    # Kept open until the process ends, and across `exec`.
    os.set_inheritable(file, True)
    return file
