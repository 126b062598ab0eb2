"""What architectures with a U-Net have in common: a schedule of betas, and diffusers' own pipelines, which draw."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion.backbones.base import KEY, Backbone
from nepotism.families.diffusion.interval import guided_between
from nepotism.families.diffusion.objectives import Diffusion, Objective
from nepotism.families.diffusion.schedulers import diffusion_scheduler
from nepotism.families.diffusion.text import Text
from nepotism.runtime.errors import UserError

PREDICTED = ("epsilon", "v_prediction")


class UNetBackbone(Backbone):
    """A U-Net between an autoencoder and text encoders.

    Attributes:
        image_to_image_class: the pipeline that starts from images.
    """

    denoiser = "unet"
    any_scheduler = "DDIMScheduler"
    image_to_image_class: Any

    def scheduler(self, base_model: Path, name: str) -> Any:
        return diffusion_scheduler(base_model, name)

    def objective(self, base_model: Path) -> Objective:
        found = Diffusion(diffusion_scheduler(base_model, "DDPMScheduler"), self.predict)
        if found.kind not in PREDICTED:
            raise UserError(
                f"`{KEY}`: its scheduler predicts '{found.kind}'; only epsilon and v_prediction can be retrained"
            )
        return found

    def pipeline_of(self, image_to_image: bool) -> Any:
        return self.image_to_image_class if image_to_image else self.pipeline_class

    def unfit(self, network: Any, vae: Any, encoders: Mapping[str, Any]) -> Iterator[str]:
        channels = (network.config.in_channels, network.config.out_channels)
        latent = autoencoders.channels(vae)
        if channels != (latent, latent):
            yield (
                f"its U-Net takes {channels[0]} channels and gives {channels[1]}, where the autoencoder has {latent}: models "
                "for inpainting, depth or upscaling, which are given more than text, cannot be used"
            )
        if not vae.config.scaling_factor or vae.config.get("shift_factor") is not None:
            yield (
                "its autoencoder has no `scaling_factor`, or a `shift_factor` beside it, which belongs to other kinds of models; "
                "see vae/config.json"
            )

    def pixel_step(self, pipeline: Any) -> int:
        halvings = len(pipeline.unet.config.block_out_channels) - 1
        return int(pipeline.vae_scale_factor * 2**halvings)

    @abstractmethod
    def embeddings(self, text: Text, empty: Text) -> dict[str, Any]:
        """Captions and the empty one as options of a call of the pipeline."""

    @abstractmethod
    def guided_tensors(self, text: Text, empty: Text | None) -> dict[str, torch.Tensor]:
        """What the pipeline's loop holds of captions, by name, where a step is guided; without ``empty``, where it is not."""

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
        options: dict[str, Any] = {
            **self.embeddings(text, empty),
            "guidance_scale": guidance_scale,
            "num_inference_steps": num_inference_steps,
            "generator": generators,
            "output_type": "latent",
        }
        if sources is None:
            options |= {"height": resolution, "width": resolution}
        else:
            # In [0, 1]: the pipeline guesses from the batch's minimum whether pixels are in [-1, 1] already.
            options |= {"image": sources, "strength": strength}
        if interval and guidance_scale > 1:
            tensors = (self.guided_tensors(text, empty), self.guided_tensors(text, None))
            options |= guided_between(pipeline, interval, guidance_scale, num_inference_steps, *tensors)
        latents: torch.Tensor = pipeline(**options).images
        return latents
