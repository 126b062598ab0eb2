"""The one protocol that rules talk to, whatever the architecture of the model that they retrain."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion.objectives import Objective
from nepotism.families.diffusion.text import Text

# The config's key that names a model's folder.
KEY = "model.path"


class Backbone(ABC):
    """An architecture: how its folder is laid out, what its denoiser is given and asked, and how it draws.

    It holds no weights: a pipeline of diffusers does, which `nepotism.families.diffusion.pipeline` loads.

    Attributes:
        denoiser: folder of the network that is retrained, which is also its name in pipelines.
        any_scheduler: class of a scheduler that every model of this kind can draw with.
        parts: class of each folder that has weights: the denoiser, ``vae`` and the text encoders; several where
            model_index.json decides.
        tokenizers: class names that each tokenizer's folder may have; the first is what is loaded.
        optional: parts that a model of this kind may come without.
        pipeline_class: of diffusers.
        extras: what its constructor is given beside the parts.
    """

    denoiser: str
    any_scheduler: str
    parts: Mapping[str, Any]
    tokenizers: Mapping[str, tuple[str, ...]]
    optional: frozenset[str] = frozenset()
    pipeline_class: Any
    extras: Mapping[str, Any] = {}

    # ---- The folder

    def may_lack(self, part: str) -> bool:
        """Whether a model of this kind may come without a part."""
        return part in self.optional

    def classes(self, part: str) -> tuple[Any, ...]:
        """What a part with weights may be of."""
        found = self.parts[part]
        return found if isinstance(found, tuple) else (found,)

    def unusable(self, index: Mapping[str, Any]) -> Iterator[str]:
        """Why a model of this class cannot be used, by the content of its model_index.json; nothing if it can."""
        yield from ()

    def text_encoders(self) -> list[str]:
        """Folders of the text encoders."""
        return [part for part in self.parts if part.startswith("text_encoder")]

    def reach(self, text_encoder: Any) -> int | None:
        """Most tokens that a text encoder reads; None if its tokenizer's file decides."""
        return None

    @abstractmethod
    def scheduler(self, base_model: Path, name: str) -> Any:
        """The model's scheduler, as one of the class ``name``.

        Raises:
            UserError: if it cannot be read, or the class is not for models of this kind.
        """

    @abstractmethod
    def objective(self, base_model: Path) -> Objective:
        """What the model was trained to predict.

        Raises:
            UserError: if that cannot be retrained.
        """

    def options(self, base_model: Path) -> Mapping[str, Any]:
        """What the constructor of a pipeline is given beside the parts."""
        return self.extras

    def vae_precision(self, base_model: Path, precision: str) -> str:
        """In which precision the autoencoder works where the other parts work in ``precision``."""
        return precision

    def pipeline_of(self, image_to_image: bool) -> Any:
        """Class of the pipeline that draws, from images if so told."""
        return self.pipeline_class

    # ---- Parts that fit each other

    def unfit(self, network: Any, vae: Any, encoders: Mapping[str, Any]) -> Iterator[str]:
        """Why these cannot draw pictures from text; nothing if they can."""
        latent, seen = autoencoders.channels(vae), network.config.in_channels
        if seen != latent:
            yield f"its {self.denoiser} takes {seen} channels, where the autoencoder has {latent}; they are of two models"

    @abstractmethod
    def pixel_step(self, pipeline: Any) -> int:
        """What the side of an image, in pixels, must be a multiple of."""

    def usual_resolution(self, pipeline: Any) -> int | None:
        """The side in pixels that the model was trained at; None if it does not say."""
        size = getattr(pipeline, self.denoiser).config.get("sample_size")
        return size * autoencoders.shrinks(pipeline.vae) if isinstance(size, int) else None

    # ---- What the denoiser is given and asked

    @abstractmethod
    def encode_text(self, pipeline: Any, prompts: list[str]) -> Text:
        """Captions on the pipeline's device; equal ones give equal rows."""

    @abstractmethod
    def predict(self, network: Any, noisy: torch.Tensor, times: torch.Tensor, text: Text) -> torch.Tensor:
        """A pass of the denoiser, as its pipeline makes it, in the sign and scale of its objective.

        Args:
            network: the denoiser.
            noisy: (B, C, h, w).
            times: (B,), from 0 to the number of timesteps.
            text: B captions.
        """

    # ---- Drawing

    @abstractmethod
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
        """Latents (B, C, h, w) of B captions, as the denoiser sees them.

        Args:
            pipeline: loaded, with a scheduler.
            text: B captions.
            empty: B times the empty one.
            generators: B, on the CPU, for all of an image's noise.
            guidance_scale: of classifier-free guidance; 1 is none.
            num_inference_steps: of the scheduler.
            resolution: height and width in pixels.
            sources: float32 (B, 3, H, W) images in [0, 1] to start from.
            strength: share of the steps that is run on top of the sources.
            interval: shares of the steps between which images are guided; None guides all.
        """
