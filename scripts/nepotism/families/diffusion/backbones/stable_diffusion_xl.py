"""Stable Diffusion XL: a U-Net that is told what two CLIPs write, the second one's summary, and sizes in pixels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils.torch_utils import randn_tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion.backbones.base import KEY
from nepotism.families.diffusion.backbones.unets import UNetBackbone
from nepotism.families.diffusion.text import Text
from nepotism.weights import loading

CLIP = ("CLIPTokenizer", "CLIPTokenizerFast")
# Pixels of a latent's side, which `predict` must know to tell sizes; channels of a latent, by which diffusers tells one from an
# image.
SHRINKS, CHANNELS = 8, 4
# Numbers that the U-Net is told beside the text: height and width of the original image, where it was cropped, and its height and
# width now (Podell et al., arXiv 2307.01952). A refiner has one less: two sizes, the crop, and an aesthetic score.
SIZES = 6


class StableDiffusionXL(UNetBackbone):
    """The base model. What its pipeline's folder says of empty captions holds in training and in sampling."""

    parts = {
        "unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    }  # fmt: skip
    tokenizers = {"tokenizer": CLIP, "tokenizer_2": CLIP}
    pipeline_class = StableDiffusionXLPipeline
    image_to_image_class = StableDiffusionXLImg2ImgPipeline
    # Images would be marked where a certain package is installed, and the mark would be trained on.
    extras = {"add_watermarker": False}

    def unusable(self, index: Mapping[str, Any]) -> Iterator[str]:
        if index.get("requires_aesthetics_score"):
            yield (
                "it is a refiner (requires_aesthetics_score), which goes over the images of another model; name the base model, "
                "such as stabilityai/stable-diffusion-xl-base-1.0"
            )

    def reach(self, text_encoder: Any) -> int | None:
        return int(text_encoder.config.max_position_embeddings)

    def options(self, base_model: Path) -> Mapping[str, Any]:
        index = loading.read_json(base_model / "model_index.json", KEY)
        # A file that does not say has the default of the pipeline's class.
        return {**self.extras, "force_zeros_for_empty_prompt": index.get("force_zeros_for_empty_prompt", True)}

    def vae_precision(self, base_model: Path, precision: str) -> str:
        # Its values overflow in fp16, but for one that was retrained so that they do not and whose file says so. A file that
        # says nothing is as diffusers has it, where the class's default is to upcast.
        config = loading.read_json(base_model / "vae" / "config.json", KEY)
        return "fp32" if config.get("force_upcast", True) else precision

    def unfit(self, network: Any, vae: Any, encoders: Mapping[str, Any]) -> Iterator[str]:
        yield from super().unfit(network, vae, encoders)
        told = network.config
        if told.addition_embed_type != "text_time":
            yield (
                f"its U-Net is of another kind (addition_embed_type: {told.addition_embed_type}); Stable Diffusion XL's is told "
                "sizes beside the text (text_time)"
            )
            return
        for name in ("class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim"):
            if told.get(name) is not None:
                yield f"its U-Net is given more than text and sizes ({name}: {told[name]}); such models cannot be used"
        width, written = told.cross_attention_dim, [encoders[part].config.hidden_size for part in self.text_encoders()]
        if width != sum(written):
            yield f"its U-Net reads embeddings {width} wide, its text encoders write {' and '.join(map(str, written))}"
        projected, each = encoders["text_encoder_2"].config.projection_dim, told.addition_time_embed_dim
        if (found := told.projection_class_embeddings_input_dim) == projected + (SIZES - 1) * each:
            yield "its U-Net is a refiner's, which goes over the images of another model; take the base model's"
        elif found != projected + SIZES * each:
            yield (
                f"its U-Net reads {found} numbers of summary and sizes, text_encoder_2 writes {projected} and sizes take "
                f"{SIZES * each}; they are of two models"
            )
        if (autoencoders.shrinks(vae), autoencoders.channels(vae)) != (SHRINKS, CHANNELS):
            yield (
                f"its autoencoder shrinks {autoencoders.shrinks(vae)} times to {autoencoders.channels(vae)} channels; Stable "
                f"Diffusion XL's shrinks {SHRINKS} times to {CHANNELS}"
            )
        if vae.config.get("latents_mean") is not None:
            yield "its autoencoder has `latents_mean`, which belongs to other kinds of models; see vae/config.json"

    def encode_text(self, pipeline: Any, prompts: list[str]) -> Text:
        text, _, pooled, _ = pipeline.encode_prompt(
            prompts, device=pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        if pipeline.config.force_zeros_for_empty_prompt:
            # What the pipeline guides away from where no negative prompt is given.
            empty = [index for index, prompt in enumerate(prompts) if not prompt]
            text[empty], pooled[empty] = 0, 0
        return {"text": text, "pooled": pooled}

    def predict(self, network: Any, noisy: torch.Tensor, times: torch.Tensor, text: Text) -> torch.Tensor:
        height, width = noisy.shape[2:]
        told = {"text_embeds": text["pooled"], "time_ids": _sizes(height, width, text)}
        predicted: torch.Tensor = network(
            noisy, times, encoder_hidden_states=text["text"], added_cond_kwargs=told, return_dict=False
        )[0]
        return predicted

    def embeddings(self, text: Text, empty: Text) -> dict[str, Any]:
        return {
            "prompt_embeds": text["text"], "pooled_prompt_embeds": text["pooled"],
            "negative_prompt_embeds": empty["text"], "negative_pooled_prompt_embeds": empty["pooled"],
        }  # fmt: skip

    def guided_tensors(self, text: Text, empty: Text | None) -> dict[str, torch.Tensor]:
        names = {"prompt_embeds": "text", "add_text_embeds": "pooled", "add_time_ids": "sizes"}
        return {
            held: text[name] if empty is None else torch.cat([empty[name], text[name]]) for held, name in names.items()
        }

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
        side = resolution // SHRINKS
        if sources is not None:
            # Given images, the pipeline would put the autoencoder into half precision for good after encoding them.
            sources = (
                _latents(pipeline, sources, generators).to(text["text"].dtype) * pipeline.vae.config.scaling_factor
            )
        text, empty = ({**each, "sizes": _sizes(side, side, each)} for each in (text, empty))
        return super().draw(
            pipeline,
            text,
            empty,
            generators,
            guidance_scale,
            num_inference_steps,
            resolution,
            sources,
            strength,
            interval,
        )


def _sizes(height: int, width: int, text: Text) -> torch.Tensor:
    """What the U-Net is told of images with latents of a size, which were never cropped or made smaller: (B, `SIZES`)."""
    size = [height * SHRINKS, width * SHRINKS]
    like = text["text"]
    return torch.tensor([[*size, 0, 0, *size]], dtype=like.dtype, device=like.device).repeat(len(like), 1)


def _latents(pipeline: Any, images: torch.Tensor, generators: list[torch.Generator]) -> torch.Tensor:
    """Float (B, 3, H, W) images in [0, 1] drawn from their posteriors (B, C, h, w), before the scaling factor."""
    vae = pipeline.vae
    # One by one, as the pipeline does: encoding takes much memory.
    posteriors = [
        autoencoders.posterior(vae, (image * 2 - 1).to(pipeline.device, vae.dtype)) for image in images.split(1)
    ]
    mean, deviation = (torch.cat(each) for each in zip(*posteriors, strict=True))
    return mean + deviation * randn_tensor(mean.shape, generators, device=mean.device, dtype=mean.dtype)


BACKBONE = StableDiffusionXL()
