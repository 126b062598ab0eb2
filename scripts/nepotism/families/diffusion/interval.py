"""Guidance in a part of the sampling steps only (Kynkaanniemi et al., arXiv 2404.07724)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nepotism.experiment.intervals import guided


def guided_between(
    pipeline: Any, interval: Sequence[float], scale: float, steps: int,
    inside: Mapping[str, torch.Tensor], outside: Mapping[str, torch.Tensor],
) -> dict[str, Any]:  # fmt: skip
    """Options of a call of ``pipeline`` by which only steps in an interval are guided; the others take one network pass.

    What the pipeline asks at every step is its scale and its embeddings, which its callback may change between two steps: see
    "Pipeline callbacks" in the documentation of diffusers.

    Args:
        pipeline: a pipeline with a U-Net.
        interval: its two ends as shares of the steps, from noise (0) to image (1); a step belongs to it by its middle.
        scale: of guidance inside; outside it is 1.
        steps: of the scheduler.
        inside: what the pipeline's loop holds of captions where steps are guided, by name: of the empty ones, then of the others.
        outside: of the others alone.
    """
    # Some schedulers call the network more often than they have steps.
    pipeline.scheduler.set_timesteps(steps)
    count = len(pipeline.scheduler.timesteps)
    is_guided = guided(count, interval)

    def between(running: Any, step: int, time: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        following = is_guided[min(step + 1, count - 1)]
        if following != is_guided[step]:
            running._guidance_scale = scale if following else 1.0
            tensors.update(inside if following else outside)
        return tensors

    return {
        "guidance_scale": scale if is_guided[0] else 1.0,
        "callback_on_step_end": between,
        "callback_on_step_end_tensor_inputs": list(inside),
    }
