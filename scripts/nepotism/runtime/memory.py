"""Memory of accelerators: what a step takes, and what to change when it does not fit."""

from collections.abc import Callable

import torch

from nepotism.runtime.errors import UserError


def training_advice(gradient_checkpointing: bool, precision: str) -> str:
    """What else than fewer images at a time makes retraining take less, of what is not so yet."""
    ways = ["" if gradient_checkpointing else ", or `execution.gradient_checkpointing: true`"]
    ways += ["" if precision == "bf16" else ", or `finetune.precision: bf16`"]
    return "".join(ways)


def is_measured(device: torch.device) -> bool:
    """Whether torch tells how much memory a device has, and what of it is taken."""
    return device.type == "cuda"


def peak_bytes(run: Callable[[], object]) -> float:
    """Most bytes that were allocated on the current GPU while ``run`` ran."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run()
    return float(torch.cuda.max_memory_allocated())


def total_bytes() -> float:
    """Bytes of the current GPU, of those that this process may take."""
    device = torch.cuda.current_device()
    share = torch.cuda.get_per_process_memory_fraction(device)
    return float(torch.cuda.get_device_properties(device).total_memory * share)


def fitting_batch(total: float, at_one: float, at_two: float) -> int:
    """Largest number of images that fits, from the peaks at one and at two images; a tenth of the memory is kept free."""
    each = max(at_two - at_one, 1.0)
    return int((0.9 * total - (at_one - each)) // each)


def _peak(probe: Callable[[int], float], count: int) -> float | None:
    """Peak bytes of ``count`` images; None if they do not fit."""
    try:
        return probe(count)
    except torch.OutOfMemoryError:
        return None


def tried(
    what: str, count: int, key: str, probe: Callable[[int], float], total: float | None = None, other: str = ""
) -> float:
    """Peak bytes of ``probe(count)``.

    Raises:
        UserError: if ``count`` images do not fit, as `too_large` says it.
    """
    try:
        return probe(count)
    except torch.OutOfMemoryError:
        # Outside of this block the failed step's tensors are still alive.
        pass
    raise too_large(what, count, key, probe, total or total_bytes(), other)


def too_large(
    what: str, tried: int, key: str, probe: Callable[[int], float], total: float, other: str = ""
) -> UserError:
    """The error for images that did not fit together: which keys to change, and how many should fit.

    Args:
        what: was tried, for the message.
        tried: number of images at a time.
        key: of the config that says how many.
        probe: peak bytes by number of images; raises torch.OutOfMemoryError if they do not fit.
        total: bytes of the device.
        other: what else helps.
    """
    peaks = [peak for count in (1, 2) if count < tried and (peak := _peak(probe, count)) is not None]
    most = len(peaks) if len(peaks) < 2 else min(max(2, fitting_batch(total, *peaks)), tried - 1)
    advice = f"`{key}: {most}` should fit" if most > 0 else f"not even `{key}: 1` fits"
    return UserError(f"{what}: {tried} images at a time do not fit into {total / 2**30:.3g} GiB; {advice}{other}")
