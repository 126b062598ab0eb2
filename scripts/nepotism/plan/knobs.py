"""Knobs of a chain of the family diffusion: what keys of `finetune` and `sample` mean for plans. Standard library only."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nepotism.experiment.intervals import guided

Block = Mapping[str, Any]

PLAIN_OPTIMIZER = "adamw"
# Bytes that an optimiser keeps of a weight, for both moments: 8-bit ones have a scale, of 4 bytes, for each block of 256.
MOMENT_BYTES = {PLAIN_OPTIMIZER: 8.0, "adamw_8bit": 2 * (1 + 4 / 256)}


def laid_over(block: Block, over: Block) -> dict[str, Any]:
    """A block with what an arm overrides; of a block inside, keys that are not named stay."""
    merged = dict(block)
    for key, value in over.items():
        inner = merged.get(key)
        merged[key] = {**inner, **value} if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def decisive_training(finetune: Block) -> dict[str, Any]:
    """What of `finetune` decides retrained weights, as options: without what other keys make idle, and without what is null."""
    idle = {"start_from", "method", "lora", *(["epochs"] if finetune["steps"] else [])}
    # What is as it was before there was a choice is left out, too: results from then stay.
    decisive = {
        key: value
        for key, value in finetune.items()
        if key not in idle and value is not None and (key, value) != ("optimizer", PLAIN_OPTIMIZER)
    }
    return decisive | {f"lora_{key}": value for key, value in (lora(finetune) or {}).items()}


def lora(finetune: Block) -> Block | None:
    """The settings of LoRA; None where all weights are trained."""
    return finetune["lora"] if finetune["method"] == "lora" else None


def way_of_training(finetune: Block, execution: Block) -> str:
    """How weights are retrained, beside the precision: what differs from all of them by AdamW in one pass, joined by +."""
    parts = {
        "lora": lora(finetune) is not None,
        "gradient_checkpointing": execution["gradient_checkpointing"],
        optimizer(finetune): optimizer(finetune) != PLAIN_OPTIMIZER,
        "ema": finetune["ema"] is not None,
    }
    return "+".join(name for name, differs in parts.items() if differs)


def images_seen(finetune: Block, images: int) -> int:
    """How many images a retraining sees whose epochs have ``images``."""
    if not finetune["steps"]:
        return int(finetune["epochs"]) * images
    batch = int(finetune["batch_size"])
    epochs, rest = divmod(int(finetune["steps"]), math.ceil(images / batch))
    return epochs * images + min(rest * batch, images)


def ways_of_training(blocks: Iterable[Block]) -> list[str]:
    """What is trained and averaged by any of some blocks `finetune`, as JSON, each once: what is tried before anything is."""
    ways = [
        {"lora": lora(block), "ema": block["ema"]}
        | ({"optimizer": name} if (name := optimizer(block)) != PLAIN_OPTIMIZER else {})
        for block in blocks
    ]
    return sorted({json.dumps(way, sort_keys=True, separators=(",", ":")) for way in ways})


def ways_of_sampling(blocks: Iterable[tuple[Block, int]]) -> list[str]:
    """How any of some blocks `sample` and `initial_images` draws, with how many networks, as JSON, each once."""
    ways = [
        {"precision": block["precision"], "guided": most_guided(block)["guidance_scale"] > 1, "networks": networks}
        for block, networks in blocks
    ]
    return sorted({json.dumps(way, sort_keys=True, separators=(",", ":")) for way in ways})


def optimizer(finetune: Block) -> str:
    """The optimiser; the configuration of results from before there was a choice names none."""
    return str(finetune.get("optimizer", PLAIN_OPTIMIZER))


def weights_kept(finetune: Block) -> float:
    """Copies of the denoiser, in float32, that a checkpoint of retraining holds: of all weights, they, two moments and their average.

    An adapter of low rank does not count.
    """
    return 0 if lora(finetune) else 1 + MOMENT_BYTES[optimizer(finetune)] / 4 + bool(finetune["ema"])


def at_iteration(sample: Block, iteration: int, last: int) -> dict[str, Any]:
    """`sample` at one iteration: with one scale of guidance in place of a schedule of scales.

    With t = iteration / last, at most 1, a linear schedule is at (1 - t) begin + t end, an exponential one at
    begin^(1 - t) end^t; both begin with `guidance_scale` at iteration 0.

    Args:
        sample: the block.
        iteration: number of retrainings before sampling.
        last: iteration that the chain ends with.
    """
    plain = {key: value for key, value in sample.items() if key not in ("guidance_schedule", "guidance_end")}
    # The configuration of results from before there were schedules has none.
    begin, share = sample["guidance_scale"], min(1.0, iteration / last)
    end: Any = sample.get("guidance_end")
    match sample.get("guidance_schedule"):
        case "linear":
            scale = (1 - share) * begin + share * end
        case "exponential":
            scale = begin ** (1 - share) * end**share
        case _:
            return plain
    # Powers may differ in their last digit from machine to machine, which must not draw anything anew.
    return plain | {"guidance_scale": round(scale, 6)}


def most_guided(sample: Block) -> dict[str, Any]:
    """`sample` at the iteration with the largest scale: what needs most memory and most time."""
    return at_iteration(sample, int((sample.get("guidance_end") or 0) > sample["guidance_scale"]), 1)


def guided_steps(steps: int, interval: list[float] | None) -> int:
    """How many of a number of sampling steps are guided, of a scheduler with one call of the network for each."""
    return steps if interval is None else sum(guided(steps, interval))


def knob_contradictions(config: Block, arms: list[Block]) -> Iterator[str]:
    """What of `finetune` and `sample` contradicts itself, in the config's own blocks and as arms have them."""
    yield from _of_training("finetune", config["finetune"], {})
    yield from _of_sampling("sample", config["sample"])
    for index, arm in enumerate(arms):
        for name, over in arm.get("overrides", {}).items():
            key, block = f"arms[{index}].overrides.{name}", laid_over(config[name], over)
            if name == "finetune":
                yield from _of_training(key, block, over)
            elif name == "sample":
                yield from _of_sampling(key, block)


def _of_training(key: str, block: Block, over: Block) -> Iterator[str]:
    if "lora" in over and block["method"] != "lora":
        yield f"`{key}.lora`: of no use, as `method` is {block['method']}; add method: lora, or leave it out"
    if "epochs" in over and block["steps"]:
        yield f"`{key}.epochs`: of no use, as `steps` is {block['steps']}; add steps: null, or leave it out"


def _of_sampling(key: str, block: Block) -> Iterator[str]:
    schedule, end = block["guidance_schedule"], block["guidance_end"]
    if schedule != "constant" and end is None:
        yield f"`{key}.guidance_end`: missing, but `guidance_schedule` is {schedule}; give the scale of the last iteration"
    if schedule == "constant" and end is not None:
        yield f"`{key}.guidance_end`: {end:g}, but `guidance_schedule` is constant; write linear or exponential, or guidance_end: null"
    if (interval := block["guidance_interval"]) is None:
        return
    if max(block["guidance_scale"], end or 0) <= 1:
        yield f"`{key}.guidance_interval`: of no use, as `guidance_scale` is {block['guidance_scale']:g}; raise it, or write null"
    begin, end = interval
    steps = block["num_inference_steps"]
    if begin >= end:
        advice = f"; write [{end:g}, {begin:g}]" if begin > end else ""
        yield f"`{key}.guidance_interval`: ends at {end:g}, where it begins at {begin:g}{advice}"
    elif not guided_steps(steps, interval):
        yield (
            f"`{key}.guidance_interval`: the middle of none of the {steps} steps lies between {begin:g} and {end:g}; make it wider, "
            "or write guidance_scale: 1.0"
        )
