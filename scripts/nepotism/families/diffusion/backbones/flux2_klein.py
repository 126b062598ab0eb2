"""FLUX.2 klein: a transformer on packed latents that reads three layers of Qwen3.

Its training is not published. Noise levels are drawn evenly, and not shifted, as the defaults of diffusers'
train_dreambooth_lora_flux2_klein.py have it (`--weighting_scheme none`, and a schedule that is shifted by the size of the image
when drawing only).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Transformer2DModel
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from transformers import Qwen3ForCausalLM

from nepotism.families.diffusion.backbones.flows import FlowBackbone
from nepotism.families.diffusion.text import Text

# Layers of the text encoder that the transformer reads, side by side, and tokens of a caption, as the pipeline has them.
LAYERS = (9, 18, 27)
TOKENS = 512
# Captions at a time: of every token the encoder also tells how likely 150,000 others are, 300 MB a caption.
ENCODED_AT_A_TIME = 4


class Flux2Klein(FlowBackbone):
    """Of its base models, which text guides by a second pass. Padding of captions is read like all else, and cached too."""

    parts = {"transformer": Flux2Transformer2DModel, "vae": AutoencoderKLFlux2, "text_encoder": Qwen3ForCausalLM}
    tokenizers = {"tokenizer": ("Qwen2TokenizerFast", "Qwen2Tokenizer")}
    pipeline_class = Flux2KleinPipeline
    extras = {"is_distilled": False}
    density = "uniform"
    own_levels = True

    def reach(self, text_encoder: Any) -> int | None:
        return TOKENS

    def unusable(self, index: Mapping[str, Any]) -> Iterator[str]:
        if index.get("is_distilled"):
            yield (
                "it is distilled (`is_distilled` in its model_index.json): it draws in a few steps without guidance, which this "
                "retraining would undo; take a base model, such as FLUX.2-klein-base-4B"
            )

    def unfit(self, network: Any, vae: Any, encoders: Mapping[str, Any]) -> Iterator[str]:
        yield from super().unfit(network, vae, encoders)
        if network.config.guidance_embeds:
            yield (
                "its transformer is told a guidance scale (`guidance_embeds`), so that it was distilled from guidance; take a base "
                "model, such as FLUX.2-klein-base-4B"
            )
        encoder = encoders["text_encoder"].config
        if encoder.num_hidden_layers < LAYERS[-1]:
            yield (
                f"its text encoder has {encoder.num_hidden_layers} layers, and the transformer reads the {LAYERS[-1]}th; they are "
                "of two models"
            )
        width, written = network.config.joint_attention_dim, len(LAYERS) * encoder.hidden_size
        if width != written:
            yield f"its transformer reads embeddings {width} wide, its text encoder writes {written}; they are of two models"

    def encode_text(self, pipeline: Any, prompts: list[str]) -> Text:
        parts = [prompts[start : start + ENCODED_AT_A_TIME] for start in range(0, len(prompts), ENCODED_AT_A_TIME)]
        written = [pipeline.encode_prompt(part, pipeline.device, max_sequence_length=TOKENS)[0] for part in parts]
        return {"text": torch.cat(written)}

    def predict(self, network: Any, noisy: torch.Tensor, times: torch.Tensor, text: Text) -> torch.Tensor:
        written, device = text["text"], noisy.device
        # Where each token is: its image (there is one), row, column, and place in the caption.
        one, rows, columns, places = (
            torch.arange(size, device=device) for size in (1, *noisy.shape[2:], written.shape[1])
        )
        predicted: torch.Tensor = network(
            hidden_states=noisy.flatten(2).transpose(1, 2).to(written.dtype), timestep=times / 1000, guidance=None,
            encoder_hidden_states=written, txt_ids=torch.cartesian_prod(one, one, one, places),
            img_ids=torch.cartesian_prod(one, rows, columns, one), return_dict=False,
        )[0]  # fmt: skip
        return predicted.transpose(1, 2).unflatten(2, noisy.shape[2:])

    def set_timesteps(self, pipeline: Any, steps: int, shape: Sequence[int]) -> None:
        # The scheduler shifts by `mu` if its file says `use_dynamic_shifting`.
        mu = compute_empirical_mu(shape[2] * shape[3], steps)
        pipeline.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)


BACKBONE = Flux2Klein()
