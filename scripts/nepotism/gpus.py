"""Which GPU a process takes: on a workstation jobs that run side by side never share one by accident.

Snakemake counts GPUs (``--resources gpu=2``) but does not say which one a job may use; without this, all would take the
first. A taken GPU has a locked file in the folder for temporary files; the lock goes with the process, however it ends.
"""

import fcntl
import os
import tempfile
from pathlib import Path

from nepotism.errors import UserError

_held: list[int] = []


def claim(count: int, devices: int) -> list[int]:
    """Take ``count`` free GPUs until the process ends.

    In a SLURM job the first ones are taken: SLURM shows a job its own GPUs only.

    Args:
        count: how many.
        devices: number of GPUs that torch sees.

    Returns:
        Their numbers, as torch counts.

    Raises:
        UserError: if fewer are free.
    """
    if "SLURM_JOB_ID" in os.environ:
        return list(range(count))
    names = visible(devices)
    taken: list[int] = []
    for index, name in enumerate(names):
        if len(taken) < count and _lock(name):
            taken.append(index)
    if len(taken) < count:
        raise UserError(
            f"{count} GPU(s) wanted, but {devices - len(taken)} of {devices} are taken by other jobs of this project; "
            f"tell Snakemake how many there are: --resources gpu={devices}"
        )
    return taken


def visible(devices: int) -> list[str]:
    """What CUDA calls the GPUs that torch counts: their names in CUDA_VISIBLE_DEVICES, or their numbers."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [name.strip() for name in listed.split(",")][:devices] if listed else [str(i) for i in range(devices)]


def _lock(name: str) -> bool:
    folder = Path(tempfile.gettempdir()) / f"nepotism-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    safe = "".join(character if character.isalnum() or character in "-." else "_" for character in name)
    file = os.open(folder / f"{safe}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    # Kept open until the process ends, and across `exec`.
    os.set_inheritable(file, True)
    _held.append(file)
    return True
