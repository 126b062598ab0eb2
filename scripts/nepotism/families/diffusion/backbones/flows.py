"""What flow models have in common: noise in straight lines, and one loop that draws, with or without images to start from.

Their pipelines in diffusers differ in what they can do: some cannot start from images, most cannot change guidance between two
steps. The loop here can do both for each of them, and a test holds it against every pipeline's own images.
"""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from nepotism.experiment.intervals import guided
from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones.base import Backbone
from nepotism.families.diffusion.objectives import Density, Flow, Objective
from nepotism.families.diffusion.schedulers import FLOW, flow_scheduler
from nepotism.families.diffusion.text import Text
from nepotism.runtime.errors import UserError


class FlowBackbone(Backbone):
    """A transformer that predicts noise minus image.

    Attributes:
        density: of the noise level in the model's own training, before it is shifted.
        own_levels: whether the pipeline gives its scheduler noise levels (`set_timesteps`), which not every class takes.
    """

    denoiser = "transformer"
    any_scheduler = FLOW
    density: Density = "logit_normal"
    own_levels = False

    def scheduler(self, base_model: Path, name: str) -> Any:
        made = flow_scheduler(base_model, name)
        if self.own_levels and "sigmas" not in signature(made.set_timesteps).parameters:
            raise UserError(
                f"`scheduler`: a {name} has noise levels of its own, while this model is drawn at others; {FLOW} is a safe choice"
            )
        return made

    def objective(self, base_model: Path) -> Objective:
        return Flow(flow_scheduler(base_model), self.predict, self.density)

    def pixel_step(self, pipeline: Any) -> int:
        return autoencoders.shrinks(pipeline.vae) * int(pipeline.transformer.config.get("patch_size") or 1)

    def set_timesteps(self, pipeline: Any, steps: int, shape: Sequence[int]) -> None:
        """Give the pipeline's scheduler its steps, shifted as the pipeline does for latents of ``shape`` (N, C, h, w)."""
        pipeline.scheduler.set_timesteps(steps)

    def draw(
        self,
        pipeline: Any,
        text: Text,
        empty: Text,
        generators: list[torch.Generator],
        guidance_scale: float,
        num_inference_steps: int,
        resolution: int,
        sources: torch.Tensor | None = None,
        strength: float | None = None,
        interval: Sequence[float] | None = None,
    ) -> torch.Tensor:
        network, scheduler, device = getattr(pipeline, self.denoiser), pipeline.scheduler, pipeline.device
        side = resolution // autoencoders.shrinks(pipeline.vae)
        shape = (len(generators), autoencoders.channels(pipeline.vae), side, side)
        self.set_timesteps(pipeline, num_inference_steps, shape)
        steps = scheduler.timesteps.to(device)
        begin = 0
        if sources is None:
            latents = randn_tensor(shape, generators, device=torch.device("cpu")).to(device)
        else:
            # As StableDiffusion3Img2ImgPipeline: a share of the steps, the last ones.
            assert strength is not None
            begin = int(max(num_inference_steps - min(num_inference_steps * strength, num_inference_steps), 0))
            # Some schedulers call the network more often than they have steps.
            begin *= scheduler.order
            scheduler.set_begin_index(begin)
            mean, deviation = autoencoders.posterior(pipeline.vae, (sources * 2 - 1).to(device, pipeline.vae.dtype))
            drawn, noise = (randn_tensor(shape, generators, device=torch.device("cpu")).to(device) for _ in range(2))
            clean = (mean.float() + deviation.float() * drawn) * autoencoders.scaling_factor(pipeline.vae)
            latents = scheduler.scale_noise(clean, steps[begin].repeat(len(generators)), noise)
        scheduler.set_begin_index(begin)
        is_guided = guided(len(steps), interval) if interval else [True] * len(steps)
        both = texts.joined([empty, text])
        for number in range(begin, len(steps)):
            time = steps[number]
            if guidance_scale > 1 and is_guided[number]:
                times = time.repeat(2 * len(latents))
                blind, seeing = self.predict(network, torch.cat([latents, latents]), times, both).float().chunk(2)
                flow = blind + guidance_scale * (seeing - blind)
            else:
                flow = self.predict(network, latents, time.repeat(len(latents)), text).float()
            latents = scheduler.step(flow, time, latents, generator=generators, return_dict=False)[0]
        return latents
