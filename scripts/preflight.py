"""Before hours are spent: does the model load, do captions, resolution, batches and results fit."""

import argparse
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from nepotism.experiment.declared import schema_of_key
from nepotism.families.diffusion import autoencoders, optimizers, preflight
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones import backbone_of
from nepotism.families.diffusion.fit import FitSettings
from nepotism.families.diffusion.low_rank import Lora, lora_problems
from nepotism.families.diffusion.pipeline import (
    check_base_model,
    encode_prompts,
    load_pipeline,
)
from nepotism.families.diffusion.sample import sample
from nepotism.measure.features import load_clip
from nepotism.runtime import cli
from nepotism.runtime.devices import accelerator, start
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import write_text
from nepotism.runtime.memory import is_measured, peak_bytes, total_bytes, training_advice, tried
from nepotism.runtime.options import add_key, add_keys


def main() -> None:
    parser = cli.parser(__doc__, stage="preflight")
    cli.add_base_model(parser)
    cli.add_device(parser)
    cli.add_sampling(parser)
    cli.add_step_size(parser)
    add_key(parser, "training_precision", schema_of_key("finetune.precision"))
    add_keys(parser, "model", "resolution")
    add_keys(parser, "unseen", "prompts")
    parser.add_argument("--schedulers", nargs="*", default=[], help="all that any arm samples with")
    parser.add_argument(
        "--samplings",
        type=json.loads,
        nargs="*",
        default=[],
        help="how any arm draws, as JSON: precision, whether guided, and how many networks at once",
    )
    parser.add_argument(
        "--trainings",
        type=training,
        nargs="*",
        default=[],
        help="what any arm trains and averages, and with what, as JSON: lora, ema and, where it is not adamw, optimizer",
    )
    # Only if its weights are there already.
    add_keys(parser, "score", "clip", required=False)
    parser.add_argument("--disk-bytes", type=int, default=0, help="what the experiment takes of the disk at most")
    parser.add_argument("--output", type=Path, required=True, help="output: what was found (JSON)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    device = start(arguments.device, arguments.threads)
    hardware = accelerator(device, arguments.training_precision)
    # Of all that any arm trains with, what cannot work is told first.
    for name in dict.fromkeys(each.optimizer for each in arguments.trainings):
        optimizers.check(name, device)
    check_base_model(arguments.base_model)
    # All that jobs will load, before one has made anything.
    if arguments.clip:
        load_clip(arguments.clip, torch.device("cpu"))
    backbone = backbone_of(arguments.base_model)
    for name in arguments.schedulers:
        backbone.scheduler(arguments.base_model, name)
    objective = backbone.objective(arguments.base_model)
    pipeline = load_or_tell(arguments, device, arguments.precision)
    network = getattr(pipeline, backbone.denoiser)
    problems = [*preflight.resolution_problems(pipeline, arguments.resolution), *disk_problems(arguments)]
    adapters = dict.fromkeys(each.lora for each in arguments.trainings if each.lora)
    problems += dict.fromkeys(problem for each in adapters for problem in lora_problems(network, each))
    preflight.warn_of_truncated(pipeline, arguments.prompts)
    if (usual := backbone.usual_resolution(pipeline)) not in (None, arguments.resolution):
        logging.warning(
            "warning: the model was trained at %s pixels, `model.resolution` is %d", usual, arguments.resolution
        )
    if problems:
        raise UserError("the experiment cannot run:\n" + "\n".join(f"  - {problem}" for problem in problems))
    if is_measured(device):
        check_memory(arguments, pipeline, hardware)
    # Nothing of the machine: checking again on another leaves what follows as it is.
    found = {
        "parameters": sum(each.numel() for each in network.parameters()),
        "prediction_type": objective.kind,
    }
    write_text(arguments.output, json.dumps(found, indent=1) + "\n")


def training(text: str) -> FitSettings:
    """A way of training from JSON."""
    given = json.loads(text)
    lora = given["lora"] and Lora(**{**given["lora"], "target_modules": tuple(given["lora"]["target_modules"])})
    return FitSettings(
        1e-6,
        1,
        1,
        random_flip=False,
        caption_dropout=0.0,
        lora=lora,
        ema=given["ema"],
        optimizer=given.get("optimizer"),
    )


def load_or_tell(arguments: argparse.Namespace, device: torch.device, precision: str, **two: Any) -> Any:
    """The pipeline that draws, with two networks if ``two`` names another.

    Raises:
        UserError: if it does not fit into the GPU's memory.
    """
    try:
        return load_pipeline(arguments.base_model, None, arguments.scheduler, device, precision, **two)
    except torch.OutOfMemoryError:
        networks = ", with the two networks that arms of the regime sims draw with," if two else ""
        raise UserError(
            f"`model.path`: its weights alone{networks} do not fit into {total_bytes() / 2**30:.3g} GiB of GPU memory; use `precision: "
            "bf16` in the config's `sample` and `initial_images`, or a larger GPU"
        ) from None


def disk_problems(arguments: argparse.Namespace) -> Iterator[str]:
    """What is wrong with the room for results; nothing if there is enough."""
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(arguments.output.parent).free
    if free < arguments.disk_bytes:
        yield (
            f"{arguments.output.parent}: {free / 1e9:.1f} GB are free, but the experiment takes up to "
            f"{arguments.disk_bytes / 1e9:.1f} GB; make room, or use `execution.keep_models: last`"
        )


def check_memory(arguments: argparse.Namespace, pipeline: Any, hardware: Accelerator) -> None:
    """Try a batch of sampling and a step of retraining on the GPU, those that take most, and tell what they take.

    Raises:
        UserError: if one does not fit, with the keys to change.
    """

    channels, shrinks = autoencoders.channels(pipeline.vae), autoencoders.shrinks(pipeline.vae)
    text = texts.single(encode_prompts(pipeline, ["a face"]))
    own = {"precision": arguments.precision, "guided": arguments.guidance_scale > 1, "networks": 1}
    heaviest = max(
        [own, *arguments.samplings], key=lambda way: (way["networks"], way["precision"] == "fp32", way["guided"])
    )
    if (heaviest["networks"], heaviest["precision"]) != (1, arguments.precision):
        # The one that is there leaves the device first.
        pipeline.to("cpu")
        two = (
            {"copy": arguments.base_model / backbone_of(arguments.base_model).denoiser, "negative_weight": 1.0}
            if heaviest["networks"] == 2
            else {}
        )
        pipeline = load_or_tell(arguments, hardware.device, heaviest["precision"], **two)

    def sampled(count: int) -> float:
        keys = [("preflight", index) for index in range(count)]
        prompts = ["a face"] * count
        guidance, size = max(arguments.guidance_scale, 2.0 if heaviest["guided"] else 1.0), arguments.resolution
        # Not every scheduler can do with one step.
        steps = min(4, arguments.num_inference_steps)
        return peak_bytes(lambda: sample(pipeline, prompts, keys, guidance, steps, size, count, "preflight"))

    drawn = tried("sampling", arguments.sample_batch_size, "execution.sample_batch_size", sampled)
    side = arguments.resolution // shrinks
    shape = (channels, side, side)
    # Sampling's models leave the device first.
    pipeline.to("cpu")
    # Of all that is trained, what takes most.
    most = max(
        arguments.trainings,
        key=lambda each: (
            each.lora is None,
            each.optimizer is None,
            each.ema is not None,
            each.lora.rank if each.lora else 0,
        ),
        default=None,
    )
    probe = preflight.training_peak(
        arguments.base_model, shape, text, hardware, arguments.gradient_checkpointing,
        -(-arguments.batch_size // arguments.num_processes), most,
    )  # fmt: skip
    count = cli.images_at_a_time(arguments)
    others = training_advice(arguments.gradient_checkpointing, arguments.training_precision)
    step = tried("retraining", count, "execution.per_device_batch_size", probe, other=others)
    logging.info(
        "GPU memory: sampling %.3g GiB, retraining %.3g GiB of %.3g GiB",
        *(each / 2**30 for each in (drawn, step, total_bytes())),
    )


if __name__ == "__main__":
    main()
