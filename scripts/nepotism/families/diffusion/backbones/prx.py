"""Photoroom's PRX: a transformer that reads T5Gemma, on the latents of Flux's autoencoder or of DC-AE.

Noise levels have the density of the published trainer (github.com/Photoroom/PRX, prx/schedulers/scheduler.py): nine of ten are
logit-normal and shifted, one of ten is drawn evenly. That trainer's configurations for latents say a shift of 1; here it is
that of the scheduler's file, with which images are drawn (3 in those that diffusers' convert_prx_to_diffusers.py writes).

Distilled models draw in a few steps, which retraining undoes. Nothing in their folders says so, and they are not refused.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC, AutoencoderKL, PRXPipeline, PRXTransformer2DModel

# Not that of transformers, which does not find the encoder's settings in the file.
from diffusers.pipelines.prx import T5GemmaEncoder

from nepotism.families.diffusion.backbones.base import KEY
from nepotism.families.diffusion.backbones.flows import FlowBackbone
from nepotism.families.diffusion.text import Text
from nepotism.weights import loading


class PRX(FlowBackbone):
    """Its text is cleaned as its pipeline does, and padding is masked."""

    parts = {
        "transformer": PRXTransformer2DModel, "vae": (AutoencoderKL, AutoencoderDC), "text_encoder": T5GemmaEncoder,
    }  # fmt: skip
    tokenizers = {"tokenizer": ("GemmaTokenizerFast", "GemmaTokenizer")}
    pipeline_class = PRXPipeline
    density = "mostly_logit_normal"

    def options(self, base_model: Path) -> Mapping[str, Any]:
        index = loading.read_json(base_model / "model_index.json", KEY)
        return {"default_sample_size": index.get("default_sample_size")}

    def unfit(self, network: Any, vae: Any, encoders: Mapping[str, Any]) -> Iterator[str]:
        yield from super().unfit(network, vae, encoders)
        if not vae.config.scaling_factor:
            yield "its autoencoder has no `scaling_factor`; see vae/config.json"
        if isinstance(vae, AutoencoderKL) and vae.config.shift_factor is None:
            yield "its autoencoder has no `shift_factor`, as that of Flux has; see vae/config.json"
        width, written = network.config.context_in_dim, encoders["text_encoder"].get_input_embeddings().embedding_dim
        if width != written:
            yield f"its transformer reads embeddings {width} wide, its text encoder writes {written}; they are of two models"

    def usual_resolution(self, pipeline: Any) -> int | None:
        size = pipeline.config.get("default_sample_size")
        return int(size) if size else None

    def encode_text(self, pipeline: Any, prompts: list[str]) -> Text:
        text, mask, _, _ = pipeline.encode_prompt(list(prompts), pipeline.device, do_classifier_free_guidance=False)
        return {"text": text, "mask": mask}

    def predict(self, network: Any, noisy: torch.Tensor, times: torch.Tensor, text: Text) -> torch.Tensor:
        # In the text's precision, which a network that is spread over devices does not tell.
        predicted: torch.Tensor = network(
            hidden_states=noisy.to(text["text"].dtype), timestep=times / 1000, encoder_hidden_states=text["text"],
            attention_mask=text["mask"], return_dict=False,
        )[0]  # fmt: skip
        return predicted


BACKBONE = PRX()
