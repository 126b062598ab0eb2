"""The tiny transformer of flow matching and its text encoder, trained together, in the format of Photoroom's PRX."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, PRXPipeline, PRXTransformer2DModel
from nepotism.runtime import streams
from nepotism.weights import loading
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import mse_loss
from transformers import GemmaTokenizer, T5GemmaConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from pretraining.captions import MAX_LENGTH, gemma_tokenizer, generator_names
from pretraining.data import NAMES, PretrainData, describe, indices_of
from pretraining.training import batches, factor_loss, train
from pretraining.vae import encode

TEXT_WIDTH = 128
# 16 places of 2 x 2 latents.
PATCH, WIDTH, HEADS, DEPTH, MLP_RATIO = 2, 160, 4, 5, 2.0
# Weight of the loss that keeps captions apart.
NAMES_WEIGHT = 0.3


class Flow(nn.Module):
    """Transformer and text encoder as one module, so that one optimizer trains both."""

    directions: torch.Tensor

    def __init__(self, transformer: PRXTransformer2DModel, text_encoder: T5GemmaEncoder) -> None:
        super().__init__()
        self.transformer, self.text_encoder = transformer, text_encoder
        # The same in every leg of the training.
        names = torch.empty(sum(map(len, NAMES.values())), TEXT_WIDTH)
        self.register_buffer("directions", nn.init.orthogonal_(names, generator=torch.Generator().manual_seed(0)))

    def text(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States float32 (N, L, D) of tokens int64 (N, L), of which ``mask`` bool (N, L) tells those that are no padding."""
        return self.text_encoder(input_ids=tokens, attention_mask=mask).last_hidden_state

    def named(self, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Which names a caption says: its states (N, L, D), averaged, along one fixed direction per name (N, P)."""
        weights = mask[..., None] / mask.sum(1)[:, None, None]
        return (text * weights).sum(1) @ self.directions.T


def new_transformer(latent_channels: int) -> PRXTransformer2DModel:
    """An untrained transformer."""
    half = WIDTH // HEADS // 4 * 2
    return PRXTransformer2DModel(
        in_channels=latent_channels,
        patch_size=PATCH,
        context_in_dim=TEXT_WIDTH,
        hidden_size=WIDTH,
        mlp_ratio=MLP_RATIO,
        num_heads=HEADS,
        depth=DEPTH,
        axes_dim=[half, WIDTH // HEADS - half],
    )


def text_config(words: GemmaTokenizer) -> T5GemmaConfig:
    """The configuration of the text encoder as its folder holds it: that of a whole T5Gemma, of which the encoder is used."""
    module = {
        "vocab_size": len(words),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 2 * TEXT_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": TEXT_WIDTH // 4,
        "query_pre_attn_scalar": TEXT_WIDTH // 4,
        "max_position_embeddings": MAX_LENGTH,
        "sliding_window": MAX_LENGTH,
        "pad_token_id": words.pad_token_id,
        "eos_token_id": words.eos_token_id,
        "bos_token_id": words.bos_token_id,
    }
    return T5GemmaConfig(
        encoder=module, decoder=dict(module), vocab_size=len(words), architectures=[T5GemmaEncoder.__name__]
    )


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Euler steps along the flow, evenly spaced."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)


def fit(
    data: PretrainData,
    vae: AutoencoderKL,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    start: Path | None,
    compile: bool = False,
) -> PRXPipeline:
    """Train transformer and text encoder, from new or from those of the pipeline ``start``; returns the whole pipeline.

    Between a picture's latents x and noise e, at x + s (e - x), the transformer learns the velocity e - x. Middle times s
    come most often (logit-normal), as PRX has it. The text encoder must also say what each caption names, for the reason
    that `denoiser.fit` gives. With ``compile``, the transformer is compiled first, which takes a C++ compiler and a minute;
    a step is then a third faster, as most of it are small operations.
    """
    torch.manual_seed(seed)
    if start is None:
        words = gemma_tokenizer()
        model = Flow(new_transformer(vae.config.latent_channels), T5GemmaEncoder(text_config(words).encoder))
    else:
        words = loading.tokenizer(GemmaTokenizer, start / "tokenizer", "start")
        transformer = loading.load_model(
            PRXTransformer2DModel, start / "transformer", "start", low_cpu_mem_usage=False, dtype=torch.float32
        )
        text_encoder = loading.load_model(
            T5GemmaEncoder, start / "text_encoder", "start", config=text_config(words).encoder, dtype=torch.float32
        )
        model = Flow(transformer, text_encoder)
    model.train().requires_grad_(True)
    if compile:
        model.transformer.compile()
    mean, deviation = encode(vae, data.pixels)
    rng = streams.generator("pretrain", "flow", seed, "draws")

    def loss_of(batch: NDArray[np.int64]) -> torch.Tensor:
        named = [generator_names(data.factors[index], rng) for index in batch]
        tokens, mask = tokenize(words, [describe(names) if names else "" for names in named])
        posterior, noise = torch.from_numpy(rng.standard_normal((2, len(batch), *mean.shape[1:]), dtype=np.float32))
        latents = (mean[batch] + deviation[batch] * posterior) * vae.config.scaling_factor
        times = torch.from_numpy(rng.standard_normal(len(batch), dtype=np.float32)).sigmoid()
        text = model.text(tokens, mask)
        said = factor_loss(model.named(text, mask), np.array([indices_of(names) for names in named]))
        return flow_loss(model.transformer, latents, noise, times, text, mask) + NAMES_WEIGHT * said

    indices = batches(data, steps, batch_size, "flow", seed)
    averaged = train(model, loss_of, indices, steps, learning_rate, "pretrain_flow", bf16=False)
    assert isinstance(averaged, Flow)
    return PRXPipeline(
        transformer=averaged.transformer.eval(),
        scheduler=scheduler(),
        text_encoder=averaged.text_encoder.eval(),
        tokenizer=words,
        vae=vae,
        default_sample_size=data.pixels.shape[1],
    )


def tokenize(words: GemmaTokenizer, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens int64 (N, L) of ``captions``, and which are no padding, bool (N, L), as PRX's pipeline makes them."""
    made = words(captions, padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt")
    return made.input_ids, made.attention_mask.bool()


def flow_loss(
    transformer: PRXTransformer2DModel,
    latents: torch.Tensor,
    noise: torch.Tensor,
    times: torch.Tensor,
    text: torch.Tensor,
    mask: torch.Tensor,
) -> torch.Tensor:
    """Mean squared error of the velocity.

    Args:
        transformer: the network.
        latents: scaled latents (N, C, h, w).
        noise: as large, standard normal.
        times: (N,) in (0, 1): 0 is the picture, 1 the noise.
        text: states (N, L, D) of the captions.
        mask: bool (N, L), False for padding.
    """
    noisy = latents + times[:, None, None, None] * (noise - latents)
    velocity = transformer(noisy, times, text, mask, return_dict=False)[0]
    return mse_loss(velocity, noise - latents)


@torch.no_grad()
def sample(
    pipeline: PRXPipeline,
    prompts: Sequence[str],
    keys: Sequence[streams.StreamKey],
    guidance_scale: float,
    steps: int,
    batch_size: int = 50,
) -> NDArray[np.uint8]:
    """One image per prompt, as the pipeline itself draws it, which with guidance takes one prompt at a time.

    Args:
        pipeline: from `fit`, or loaded.
        prompts: N captions.
        keys: N names of the streams of their noise.
        guidance_scale: classifier-free guidance; 1 is none.
        steps: Euler steps.
        batch_size: images at a time.

    Returns:
        uint8 (N, H, W, 3).
    """
    made = []
    side = pipeline.default_sample_size // pipeline.vae_scale_factor
    for start in range(0, len(prompts), batch_size):
        part = list(prompts[start : start + batch_size])
        text, mask, empty, empty_mask = pipeline.encode_prompt(part, do_classifier_free_guidance=guidance_scale > 1)
        if guidance_scale > 1:
            text, mask = torch.cat([empty, text]), torch.cat([empty_mask, mask])
        noise = [torch.Generator().manual_seed(streams.integer_seed(*key)) for key in keys[start : start + batch_size]]
        shape = (1, pipeline.transformer.config.in_channels, side, side)
        latents = torch.cat([torch.randn(shape, generator=generator) for generator in noise]).to(text.device)
        pipeline.scheduler.set_timesteps(steps, device=text.device)
        for time in pipeline.scheduler.timesteps:
            share = (time / pipeline.scheduler.config.num_train_timesteps).expand(len(text))
            both = latents.repeat(len(text) // len(part), 1, 1, 1)
            velocity = pipeline.transformer(both, share, text, mask, return_dict=False)[0]
            if guidance_scale > 1:
                unasked, asked = velocity.chunk(2)
                velocity = unasked + guidance_scale * (asked - unasked)
            latents = pipeline.scheduler.step(velocity, time, latents).prev_sample
        config = pipeline.vae.config
        images = pipeline.vae.decode(latents / config.scaling_factor + config.shift_factor, return_dict=False)[0]
        pixels = pipeline.image_processor.postprocess(images, output_type="np")
        made.append(np.rint(pixels * 255).astype(np.uint8))
    return np.concatenate(made)


def save(pipeline: PRXPipeline, folder: Path) -> None:
    """Write the pipeline's folder, from which `PRXPipeline.from_pretrained` loads it."""
    pipeline.vae.register_to_config(shift_factor=0.0)
    pipeline.save_pretrained(folder, safe_serialization=True)
    # What the library writes is the encoder's own configuration, and what it reads is that of a whole T5Gemma, with a class
    # that it finds in its module of PRX.
    text_config(pipeline.tokenizer).save_pretrained(folder / "text_encoder")
    index = folder / "model_index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    content["text_encoder"] = ["prx", "T5GemmaEncoder"]
    index.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
