"""What an experiment would take with other ways of retraining: GPU memory, hours and disk of each. Standard library only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nepotism.plan.denoisers import WEIGHT_BYTES, Denoiser
from nepotism.plan.forecast import Forecast, checkpoint_bytes
from nepotism.plan.grid import Grid
from nepotism.plan.knobs import MOMENT_BYTES, laid_over, lora, optimizer, way_of_training
from nepotism.plan.rates import Rate, fitting_rates

# What differs from the experiment in `finetune`, and whether activations are computed twice, by name. All but the first are in
# bf16, with which larger models are trained.
FULL: Mapping[str, Any] = {"method": "full", "optimizer": "adamw", "ema": None}
WAYS: Mapping[str, tuple[Mapping[str, Any], bool]] = {
    "all weights, fp32": ({**FULL, "precision": "fp32"}, False),
    "all weights, bf16": ({**FULL, "precision": "bf16"}, False),
    "all weights, bf16, gradient checkpointing": ({**FULL, "precision": "bf16"}, True),
    "the same with 8-bit AdamW": ({**FULL, "precision": "bf16", "optimizer": "adamw_8bit"}, True),
    "the same with 8-bit AdamW, averaged (ema)": (
        {**FULL, "precision": "bf16", "optimizer": "adamw_8bit", "ema": 0.99},
        True,
    ),
    "LoRA, bf16": ({**FULL, "precision": "bf16", "method": "lora"}, False),
    "LoRA, bf16, gradient checkpointing": ({**FULL, "precision": "bf16", "method": "lora"}, True),
}
GIB = 2.0**30


@dataclass(frozen=True)
class Budget:
    """What one way of retraining takes.

    Attributes:
        name: of the way.
        state_gib: GPU memory of weights, gradients, moments, average and copies in bf16, by formula; None if it is not known how
            large the model, or an update of its layers, is.
        peak_gib: most GPU memory that was measured, with all else that is in it.
        images: that a step held at a time then.
        device: that it was measured on.
        hours: of that device for the whole experiment; None where no speed was measured.
        model_bytes: of disk for what is left of retraining at the end: models and, of LoRA, the updates of every cell.
        checkpoint_bytes: of disk for the two checkpoints of a running job.
    """

    name: str
    state_gib: float | None
    peak_gib: float | None
    images: int | None
    device: str | None
    hours: float | None
    model_bytes: int | None
    checkpoint_bytes: int | None


def budgets(grid: Grid, expected: Forecast, rates: Iterable[Rate]) -> list[Budget]:
    """The experiment's own way of retraining, and `WAYS`.

    Args:
        grid: of the experiment; what arms override is not looked at.
        expected: of it.
        rates: measured speeds.
    """
    own = grid.config["finetune"], bool(grid.config["execution"]["gradient_checkpointing"])
    ways = {"this experiment": own} | {
        name: (laid_over(own[0], changes), recomputed) for name, (changes, recomputed) in WAYS.items()
    }
    known = list(rates)
    return [_budget(name, grid, expected, known, *way) for name, way in ways.items()]


def _budget(
    name: str, grid: Grid, expected: Forecast, rates: Sequence[Rate], block: Mapping[str, Any], recomputed: bool
) -> Budget:
    network = expected.denoiser
    if network is None:
        return Budget(name, None, None, None, None, None, None, None)
    updates = _updates(network, block)
    way = way_of_training(block, {"gradient_checkpointing": recomputed})
    fitting = fitting_rates(grid, rates, network.parameters / 1e6, way, block["precision"])
    # Of several devices, the fastest.
    rate = min(fitting, key=expected.hours, default=None)
    state = state_bytes(network, block)
    kept = expected.models * network.bytes
    checkpoint = checkpoint_bytes(network, block)
    if updates:
        kept += expected.cells * WEIGHT_BYTES * updates
        checkpoint += round(updates * (WEIGHT_BYTES * (1 + bool(block["ema"])) + MOMENT_BYTES[optimizer(block)]))
    unknown = updates is None
    return Budget(
        name,
        None if state is None else state / GIB,
        rate.peak_gib if rate else None,
        rate.images if rate else None,
        rate.device if rate else None,
        expected.hours(rate) if rate else None,
        None if unknown else kept,
        None if unknown else 2 * checkpoint,
    )


def state_bytes(network: Denoiser, block: Mapping[str, Any]) -> float | None:
    """GPU memory of retraining beside activations: what is there before the first image.

    A weight has 4 bytes (mixed precision keeps float32), and 2 more as bf16 computes with it; one that is trained has 4 of its
    gradient, 8 or about 2 of its moments, and 4 of its average.

    Args:
        network: what is retrained.
        block: the config's `finetune`.

    Returns:
        Bytes; None if it is not known how large the updates of LoRA are.
    """
    updates = _updates(network, block)
    if updates is None:
        return None
    added = updates if lora(block) else 0
    trained = added or network.parameters
    copies = 2 * (network.parameters + added) if block["precision"] == "bf16" else 0
    of_trained = WEIGHT_BYTES + MOMENT_BYTES[optimizer(block)] + WEIGHT_BYTES * bool(block["ema"])
    return network.bytes + WEIGHT_BYTES * added + copies + of_trained * trained


def _updates(network: Denoiser, block: Mapping[str, Any]) -> int | None:
    """Parameters of the updates of LoRA: 0 where all weights are trained, None if it is not known how many they are."""
    found = lora(block)
    return network.updates(found["rank"], found["target_modules"]) if found else 0


def render_budgets(grid: Grid, made: Sequence[Budget]) -> list[str]:
    """The budgets as a table in lines of text."""
    wide = max(len(budget.name) for budget in made)
    lines = [
        "",
        f"{'retraining':<{wide}}  {'GPU memory, GiB':<28}  {'hours':<10}  {'models, GB':<10}  checkpoints, GB",
    ]
    for budget in made:
        memory = _told(budget.state_gib, ".3g", "not known")
        memory += f" + images ({budget.peak_gib:.3g} measured)" if budget.peak_gib else " + images"
        lines.append(
            f"{budget.name:<{wide}}  {memory:<28}  {_told(budget.hours, '.1f', 'unmeasured'):<10}"
            f"  {_told(_gigabytes(budget.model_bytes), '.1f', 'not known'):<10}"
            f"  {_told(_gigabytes(budget.checkpoint_bytes), '.1f', 'not known')}"
        )
    updates, kept = grid.config["finetune"]["lora"], grid.config["execution"]["keep_models"]
    lines += [
        "",
        "GPU memory: weights, gradients, moments, average and bf16 copies are computed, not measured. Images add activations, whose",
        "memory is known only where resources/rates.csv has a measured peak. Hours are of measured speeds only.",
        f"Models: those that `keep_models: {kept}` leaves and, of LoRA, the updates of every cell (rank {updates['rank']} of "
        f"{' '.join(updates['target_modules'])}).",
        "Checkpoints: the two of one job that retrains.",
    ]
    for budget in made:
        if budget.peak_gib:
            lines.append(f"{budget.name}: measured on {budget.device} with {budget.images or '?'} images at a time")
    return lines


def _gigabytes(size: int | None) -> float | None:
    return None if size is None else size / 1e9


def _told(value: float | None, form: str, otherwise: str) -> str:
    return otherwise if value is None else format(value, form)
