"""Stable Diffusion 1 and 2: a U-Net, one CLIP, epsilon or velocity."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from nepotism.families.diffusion.backbones.unets import UNetBackbone
from nepotism.families.diffusion.text import Text


class StableDiffusion(UNetBackbone):
    """Of 1.x and 2.x, which text alone guides; the safety checker is left off: it returns black images, which would poison the
    training set."""

    parts = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    tokenizers = {"tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast")}
    pipeline_class = StableDiffusionPipeline
    image_to_image_class = StableDiffusionImg2ImgPipeline
    extras = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

    def reach(self, text_encoder: Any) -> int | None:
        return int(text_encoder.config.max_position_embeddings)

    def unfit(self, network: Any, vae: Any, encoders: Mapping[str, Any]) -> Iterator[str]:
        yield from super().unfit(network, vae, encoders)
        for name in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type"):
            if network.config.get(name) is not None:
                yield f"its U-Net is given more than text ({name}: {network.config[name]}); such models cannot be used"
        width, written = network.config.cross_attention_dim, encoders["text_encoder"].config.hidden_size
        if width != written:
            yield f"its U-Net reads embeddings {width} wide, its text encoder writes {written}"

    def encode_text(self, pipeline: Any, prompts: list[str]) -> Text:
        return {"text": pipeline.encode_prompt(prompts, pipeline.device, 1, False)[0]}

    def predict(self, network: Any, noisy: torch.Tensor, times: torch.Tensor, text: Text) -> torch.Tensor:
        predicted: torch.Tensor = network(noisy, times, text["text"], return_dict=False)[0]
        return predicted

    def embeddings(self, text: Text, empty: Text) -> dict[str, Any]:
        return {"prompt_embeds": text["text"], "negative_prompt_embeds": empty["text"]}

    def guided_tensors(self, text: Text, empty: Text | None) -> dict[str, torch.Tensor]:
        return {"prompt_embeds": text["text"] if empty is None else torch.cat([empty["text"], text["text"]])}


BACKBONE = StableDiffusion()
