"""Stable Diffusion 3 and 3.5: a transformer that reads two CLIPs and, unless it is left out, T5."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from nepotism.families.diffusion.backbones.flows import FlowBackbone
from nepotism.families.diffusion.text import Text

CLIP, T5 = ("CLIPTokenizer", "CLIPTokenizerFast"), ("T5TokenizerFast", "T5Tokenizer")
# Tokens that T5 is given, by default of the pipeline; without T5, as many rows are zeros.
T5_TOKENS = 256


class StableDiffusion3(FlowBackbone):
    """What the CLIPs write stands side by side, with zeros up to T5's width; below come T5's rows.

    Its autoencoder's file says `force_upcast`, which is for Stable Diffusion XL: the pipeline decodes in the precision of the
    rest, and so does this.
    """

    parts = {
        "transformer": SD3Transformer2DModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModelWithProjection,
        "text_encoder_2": CLIPTextModelWithProjection, "text_encoder_3": T5EncoderModel,
    }  # fmt: skip
    tokenizers = {"tokenizer": CLIP, "tokenizer_2": CLIP, "tokenizer_3": T5}
    optional = frozenset({"text_encoder_3", "tokenizer_3"})
    pipeline_class = StableDiffusion3Pipeline

    def unusable(self, index: Mapping[str, Any]) -> Iterator[str]:
        encoder, tokenizer = (any(index.get(part) or ()) for part in ("text_encoder_3", "tokenizer_3"))
        if encoder != tokenizer:
            has, lacks = ("text_encoder_3", "tokenizer_3") if encoder else ("tokenizer_3", "text_encoder_3")
            yield f"its model_index.json has a {has}, but its {lacks} is missing; name both, or neither to draw without T5"

    def reach(self, text_encoder: Any) -> int | None:
        return int(getattr(text_encoder.config, "max_position_embeddings", T5_TOKENS))

    def unfit(self, network: Any, vae: Any, encoders: Mapping[str, Any]) -> Iterator[str]:
        yield from super().unfit(network, vae, encoders)
        reads = network.config
        if not vae.config.scaling_factor or vae.config.shift_factor is None:
            yield "its autoencoder has no `scaling_factor` or no `shift_factor`; see vae/config.json"
        clips = [encoders[part].config for part in ("text_encoder", "text_encoder_2")]
        if reads.pooled_projection_dim != sum(written := [clip.projection_dim for clip in clips]):
            yield (
                f"its transformer reads a summary {reads.pooled_projection_dim} wide, its text encoders write "
                f"{' and '.join(map(str, written))}"
            )
        if reads.joint_attention_dim < sum(written := [clip.hidden_size for clip in clips]):
            yield (
                f"its transformer reads embeddings {reads.joint_attention_dim} wide, its text encoders write "
                f"{' and '.join(map(str, written))} side by side"
            )
        t5 = encoders["text_encoder_3"]
        if t5 is not None and t5.config.d_model != reads.joint_attention_dim:
            yield (
                f"its transformer reads embeddings {reads.joint_attention_dim} wide, its text_encoder_3 writes "
                f"{t5.config.d_model}"
            )

    def set_timesteps(self, pipeline: Any, steps: int, shape: Sequence[int]) -> None:
        config, patch = pipeline.scheduler.config, pipeline.transformer.config.patch_size
        if not config.get("use_dynamic_shifting"):
            return super().set_timesteps(pipeline, steps, shape)
        mu = calculate_shift(
            (shape[2] // patch) * (shape[3] // patch),
            config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5), config.get("max_shift", 1.16),
        )  # fmt: skip
        pipeline.scheduler.set_timesteps(steps, mu=mu)

    def encode_text(self, pipeline: Any, prompts: list[str]) -> Text:
        text, _, pooled, _ = pipeline.encode_prompt(
            prompts, None, None, pipeline.device, 1, do_classifier_free_guidance=False, max_sequence_length=T5_TOKENS
        )
        return {"text": text, "pooled": pooled}

    def predict(self, network: Any, noisy: torch.Tensor, times: torch.Tensor, text: Text) -> torch.Tensor:
        # The text is in the network's precision, which a network that is wrapped for several devices does not tell.
        predicted: torch.Tensor = network(
            hidden_states=noisy.to(text["text"].dtype), timestep=times, encoder_hidden_states=text["text"],
            pooled_projections=text["pooled"], return_dict=False,
        )[0]  # fmt: skip
        return predicted


BACKBONE = StableDiffusion3()
