"""The tiny U-Net and its text encoder, trained together on the latents of the pretrain split."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from nepotism.families.diffusion.pipeline import load_denoiser, load_text_encoders
from nepotism.runtime import streams
from nepotism.weights import loading
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import mse_loss
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pretraining.captions import MAX_LENGTH, generator_names, tokenizer
from pretraining.data import NAMES, PretrainData, describe, indices_of
from pretraining.training import batches, factor_loss, train
from pretraining.vae import encode

WIDTH = 128
# Weight of the loss that keeps captions apart.
NAMES_WEIGHT = 0.3


class Denoiser(nn.Module):
    """U-Net and text encoder as one module, so that one optimizer trains both."""

    directions: torch.Tensor

    def __init__(self, words: CLIPTokenizer, latent_channels: int) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=latent_channels,
            out_channels=latent_channels,
            # Attention where there are 16 places, not 64: half of the time of a network with both, and of its 64 channels.
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(48, 96),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=16,
        )
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=MAX_LENGTH,
                bos_token_id=words.bos_token_id,
                eos_token_id=words.eos_token_id,
                pad_token_id=words.pad_token_id,
            )
        )
        names = torch.empty(sum(map(len, NAMES.values())), WIDTH)
        self.register_buffer("directions", nn.init.orthogonal_(names))

    def named(self, text: torch.Tensor) -> torch.Tensor:
        """Which names a caption says: its states (N, L, D), averaged, along one fixed direction per name (N, P)."""
        return text.mean(1) @ self.directions.T


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule with v-prediction, its last step being pure noise: that is where sampling starts."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )


def fit(
    data: PretrainData,
    vae: AutoencoderKL,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    start: Path | None,
) -> StableDiffusionPipeline:
    """Train U-Net and text encoder, from new or from those of the pipeline ``start``; returns the whole pipeline.

    The text encoder must also say what each caption names. Without that it got stuck: while samples showed nothing of
    mouths, "smiling" and "frowning" became nearly the same text, and from equal texts no sample learns.
    """
    torch.manual_seed(seed)
    # Another training of the tokenizer may number the words otherwise.
    words = tokenizer() if start is None else loading.tokenizer(CLIPTokenizer, start / "tokenizer", "start")
    model = Denoiser(words, vae.config.latent_channels)
    if start is not None:
        model.unet = load_denoiser(start, None)
        model.text_encoder = load_text_encoders(start, "fp32")["text_encoder"]
        model.train().requires_grad_(True)
    noise_scheduler = DDPMScheduler.from_config(scheduler().config)
    mean, deviation = encode(vae, data.pixels)
    scale = vae.config.scaling_factor
    rng = streams.generator("pretrain", "unet", seed, "draws")

    def loss_of(batch: NDArray[np.int64]) -> torch.Tensor:
        named = [generator_names(data.factors[index], rng) for index in batch]
        captions = [describe(names) if names else "" for names in named]
        tokens = words(
            captions, padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt"
        ).input_ids
        posterior, noise = torch.from_numpy(rng.standard_normal((2, len(batch), *mean.shape[1:]), dtype=np.float32))
        latents = (mean[batch] + deviation[batch] * posterior) * scale
        time = torch.from_numpy(rng.integers(0, noise_scheduler.config.num_train_timesteps, len(batch)))
        text = model.text_encoder(tokens).last_hidden_state
        predicted = model.unet(noise_scheduler.add_noise(latents, noise, time), time, text, return_dict=False)[0]
        said = factor_loss(model.named(text), np.array([indices_of(names) for names in named]))
        return mse_loss(predicted, noise_scheduler.get_velocity(latents, noise, time)) + NAMES_WEIGHT * said

    indices = batches(data, steps, batch_size, "unet", seed)
    averaged = train(model, loss_of, indices, steps, learning_rate, "pretrain_unet", bf16=False)
    assert isinstance(averaged, Denoiser)
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=averaged.text_encoder.eval(),
        tokenizer=words,
        unet=averaged.unet.eval(),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
