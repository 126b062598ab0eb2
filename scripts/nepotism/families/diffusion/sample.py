"""Drawing images from a pipeline, each from its own random stream."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones import of_pipeline
from nepotism.families.diffusion.pipeline import encode_prompts
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.runtime.progress import Progress
from nepotism.runtime.resume.checkpoints import Checkpoints

logger = logging.getLogger(__name__)

DECODED_AT_A_TIME = 4


@torch.no_grad()
def sample(
    pipeline: Any,
    prompts: Sequence[str],
    keys: Sequence[streams.StreamKey],
    guidance_scale: float,
    num_inference_steps: int,
    resolution: int,
    batch_size: int,
    label: str,
    sources: NDArray[np.uint8] | None = None,
    strength: float | None = None,
    checkpoints: Checkpoints | None = None,
    guidance_interval: Sequence[float] | None = None,
) -> NDArray[np.uint8]:
    """One image per prompt, by txt2img, or by img2img where ``sources`` are given.

    All noise of image i (initial latents, and the steps of stochastic schedulers) comes from the stream ``keys[i]``, so
    the batch size changes results by rounding only.

    Args:
        pipeline: from `pipeline.load_pipeline`.
        prompts: N captions; equal ones are encoded once.
        keys: N stream names.
        guidance_scale: classifier-free guidance; 1 is none.
        num_inference_steps: steps of the scheduler; img2img runs a share ``strength`` of them.
        resolution: height and width in pixels.
        batch_size: images at a time.
        label: what the progress bar says.
        sources: uint8 (N, H, W, 3) images to start from.
        strength: share of the diffusion run on top of the sources.
        checkpoints: where to go on from, and where to save; None keeps nothing.
        guidance_interval: shares of the steps between which images are guided; None guides all steps.

    Returns:
        uint8 (N, resolution, resolution, 3).

    Raises:
        UserError: if an image has values that are no numbers.
        Interrupted: if the process was told to stop; a checkpoint has been saved.
    """
    made: list[NDArray[np.uint8]] = []
    begin = 0
    if checkpoints and (found := checkpoints.newest()):
        made, begin = [found.tensors["images"].numpy()], found.position
        logger.info("%s: resumed at image %d of %d", label, begin, len(prompts))
    distinct = list(dict.fromkeys(prompts))
    text = encode_prompts(pipeline, distinct)
    empty = encode_prompts(pipeline, [""])
    backbone = of_pipeline(pipeline)
    deferred = checkpoints.defer_signals() if checkpoints else nullcontext()
    with Progress(len(prompts), label, "image", done=begin) as progress, deferred:
        for start in range(begin, len(prompts), batch_size):
            chosen = slice(start, min(start + batch_size, len(prompts)))
            rows = [distinct.index(prompt) for prompt in prompts[chosen]]
            pixels = None if sources is None else torch.from_numpy(sources[chosen]).permute(0, 3, 1, 2).float() / 255
            # Noise is made on the CPU, so that it is the same on every device.
            generators = [torch.Generator("cpu").manual_seed(streams.integer_seed(*key)) for key in keys[chosen]]
            latents = backbone.draw(
                pipeline, texts.rows(text, rows), texts.repeated(empty, len(rows)), generators,
                guidance_scale, num_inference_steps, resolution, pixels, strength, guidance_interval,
            )  # fmt: skip
            images = _decoded(pipeline, latents)
            if not np.isfinite(images).all():
                raise UserError(
                    f"{label}: the model drew something that is no number; its precision does not reach that far: use "
                    "`precision: bf16` or `fp32` in the config's `sample` and `initial_images`"
                )
            made.append(np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8))
            progress.advance(len(rows))
            if checkpoints:
                checkpoints.offer(
                    chosen.stop, lambda: ({"images": torch.from_numpy(np.ascontiguousarray(np.concatenate(made)))}, {})
                )
    return np.concatenate(made)


def _decoded(pipeline: Any, latents: torch.Tensor) -> NDArray[np.float32]:
    """Images (N, H, W, 3) in [0, 1], as the pipeline itself would decode them, but a few at a time.

    The autoencoder's layers are large: more of them than fit into a processor's cache take half as long again, and large
    images would fill a GPU's memory.
    """
    latents = latents.to(pipeline.vae.dtype)
    parts = [autoencoders.decode(pipeline.vae, part) for part in latents.split(DECODED_AT_A_TIME)]
    processor = pipeline.image_processor
    return np.concatenate([processor.postprocess(part, output_type="np") for part in parts])
