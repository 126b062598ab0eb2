"""Photoroom's PRX: a transformer that reads T5Gemma, on the latents of Flux's autoencoder or of DC-AE."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, PRXPipeline, PRXTransformer2DModel
from transformers import T5GemmaEncoder

from nepotism.families.diffusion.backbones.flows import FlowBackbone
from nepotism.families.diffusion.text import Text


class PRX(FlowBackbone):
    """Its text is cleaned as its pipeline does, and padding is masked."""

    parts = {"transformer": PRXTransformer2DModel, "vae": AutoencoderKL, "text_encoder": T5GemmaEncoder}
    tokenizers = {"tokenizer": ("GemmaTokenizerFast", "GemmaTokenizer", "T5TokenizerFast")}
    pipeline_class = PRXPipeline

    def unfit(self, network: Any, vae: Any, encoders: Mapping[str, Any]) -> Iterator[str]:
        yield from super().unfit(network, vae, encoders)
        width, written = network.config.context_in_dim, encoders["text_encoder"].get_input_embeddings().embedding_dim
        if width != written:
            yield f"its transformer reads embeddings {width} wide, its text encoder writes {written}"

    def usual_resolution(self, pipeline: Any) -> int | None:
        size = pipeline.config.get("default_sample_size")
        return int(size) if size else None

    def encode_text(self, pipeline: Any, prompts: list[str]) -> Text:
        text, mask, _, _ = pipeline.encode_prompt(list(prompts), pipeline.device, do_classifier_free_guidance=False)
        return {"text": text, "mask": mask}

    def predict(self, network: Any, noisy: torch.Tensor, times: torch.Tensor, text: Text) -> torch.Tensor:
        predicted: torch.Tensor = network(
            hidden_states=noisy.to(network.dtype), timestep=times / 1000, encoder_hidden_states=text["text"],
            attention_mask=text["mask"], return_dict=False,
        )[0]  # fmt: skip
        return predicted


BACKBONE = PRX()
