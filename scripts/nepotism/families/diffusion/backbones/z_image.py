"""Z-Image: a transformer that reads captions and images as one stream, each as long as it is.

Its guidance scale is ours, u + s (c - u), as of every model here. The pipeline's own g means c + g (c - u): g = s - 1, and what
a model card calls 4 is 5. What the pipeline can do beside, limiting the norm of guided predictions, is off there, too, unless
asked for.

Noise levels have the density of its paper (Z-Image Team, arXiv 2511.22699, 4.3): logit-normal, shifted, here as the scheduler's
file says. (Diffusers' train_dreambooth_lora_z_image.py draws them evenly by default, with that shift.)

Z-Image-Turbo is distilled to draw in a few steps, which retraining undoes. Nothing in its folder says so, and it is not refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from diffusers.pipelines.z_image.pipeline_z_image import calculate_shift, get_default_z_image_sigmas
from transformers import Qwen3ForCausalLM, Qwen3Model

from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion.backbones.flows import FlowBackbone
from nepotism.families.diffusion.text import Text

# Tokens of a caption, and the side of a patch in latents, as the pipeline has them.
TOKENS = 512
PATCH = 2
# Captions at a time: an encoder of class Qwen3ForCausalLM also tells how likely 150,000 tokens are after each.
ENCODED_AT_A_TIME = 4


class ZImage(FlowBackbone):
    """Captions are cached at one length, with a mask of what is theirs."""

    parts = {
        "transformer": ZImageTransformer2DModel, "vae": AutoencoderKL, "text_encoder": (Qwen3Model, Qwen3ForCausalLM),
    }  # fmt: skip
    tokenizers = {"tokenizer": ("Qwen2Tokenizer", "Qwen2TokenizerFast")}
    pipeline_class = ZImagePipeline
    own_levels = True

    def reach(self, text_encoder: Any) -> int | None:
        return TOKENS

    def unfit(self, network: Any, vae: Any, encoders: Mapping[str, Any]) -> Iterator[str]:
        yield from super().unfit(network, vae, encoders)
        config = network.config
        if config.siglip_feat_dim is not None:
            yield "its transformer is given images beside text (`siglip_feat_dim`); such models cannot be used"
        if PATCH not in config.all_patch_size or 1 not in config.all_f_patch_size:
            yield (
                f"its transformer has no patches of {PATCH} by {PATCH} latents (`all_patch_size`, `all_f_patch_size`), as its "
                "pipeline wants; see transformer/config.json"
            )
        if not vae.config.scaling_factor or vae.config.shift_factor is None:
            yield "its autoencoder lacks a `scaling_factor` or a `shift_factor`, which its pipeline wants; see vae/config.json"
        width, written = config.cap_feat_dim, encoders["text_encoder"].config.hidden_size
        if width != written:
            yield f"its transformer reads embeddings {width} wide, its text encoder writes {written}; they are of two models"

    def pixel_step(self, pipeline: Any) -> int:
        return autoencoders.shrinks(pipeline.vae) * PATCH

    def encode_text(self, pipeline: Any, prompts: list[str]) -> Text:
        written: list[torch.Tensor] = []
        for start in range(0, len(prompts), ENCODED_AT_A_TIME):
            # The pipeline writes into the list that it is given.
            part = [*prompts[start : start + ENCODED_AT_A_TIME]]
            written += pipeline.encode_prompt(part, pipeline.device, False, max_sequence_length=TOKENS)[0]
        text = written[0].new_zeros(len(written), TOKENS, written[0].shape[1])
        mask = torch.zeros(text.shape[:2], dtype=torch.bool, device=text.device)
        for row, caption in enumerate(written):
            text[row, : len(caption)] = caption
            mask[row, : len(caption)] = True
        return {"text": text, "mask": mask}

    def predict(self, network: Any, noisy: torch.Tensor, times: torch.Tensor, text: Text) -> torch.Tensor:
        written, lengths = text["text"], text["mask"].sum(1).tolist()
        captions = [caption[:length] for caption, length in zip(written, lengths, strict=True)]
        # It counts time from noise to image, takes images as films of one frame, and predicts image minus noise.
        frames = list(noisy.to(written.dtype).unsqueeze(2).unbind(0))
        predicted = network(frames, (1000 - times) / 1000, captions, return_dict=False)[0]
        return -torch.stack(predicted).squeeze(2)

    def set_timesteps(self, pipeline: Any, steps: int, shape: Sequence[int]) -> None:
        config = pipeline.scheduler.config
        # The scheduler shifts by `mu` if its file says `use_dynamic_shifting`; that of the base model has a shift for all sizes.
        mu = calculate_shift(
            (shape[2] // PATCH) * (shape[3] // PATCH), config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096), config.get("base_shift", 0.5), config.get("max_shift", 1.15),
        )  # fmt: skip
        pipeline.scheduler.set_timesteps(sigmas=get_default_z_image_sigmas(steps), mu=mu)


BACKBONE = ZImage()
