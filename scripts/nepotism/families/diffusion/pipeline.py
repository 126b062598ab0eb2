"""Loading Stable-Diffusion-shaped pipelines from a folder: safetensors only, no remote code, no network."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from numpy.typing import NDArray

from nepotism.errors import UserError
from nepotism.files import beside, mismatches, sha256, share

logger = logging.getLogger(__name__)

WEIGHTS = "diffusion_pytorch_model.safetensors"
PROMPT_BATCH = 64
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def check_base_model(folder: Path) -> None:
    """Check that ``folder`` looks like a pipeline with safetensors weights, and that its SHA256SUMS (if any) hold.

    Raises:
        UserError: naming the file that is missing or differs.
    """
    if not (folder / "model_index.json").is_file():
        raise UserError(f"`model.path`: {folder} is no diffusers pipeline: it has no model_index.json")
    for part in ("unet", "vae", "text_encoder"):
        if not list((folder / part).glob("*.safetensors")):
            raise UserError(
                f"`model.path`: {folder / part} has no safetensors weights; pickled weights are not loaded. Convert them with "
                "StableDiffusionPipeline.from_pretrained(...).save_pretrained(..., safe_serialization=True) on a machine you trust"
            )
    if wrong := mismatches(folder):
        raise UserError(f"`model.path`: {folder / wrong[0]} is missing or does not match SHA256SUMS; fetch it again")


def identity(base_model: Path) -> str:
    """What tells one base model from another without reading gigabytes: its SHA256SUMS, or names, sizes and times."""
    sums = base_model / "SHA256SUMS"
    if sums.is_file():
        return sha256(sums)
    files = sorted(file for file in base_model.rglob("*") if file.is_file())
    return json.dumps([[str(f.relative_to(base_model)), f.stat().st_size, f.stat().st_mtime_ns] for f in files])


def unet_digest(base_model: Path, model: Path | None) -> str:
    """SHA-256 of the U-Net's weights: those in ``model``, or the base model's."""
    return sha256((model or base_model / "unet") / WEIGHTS)


def load_unet(base_model: Path, model: Path | None, precision: str = "fp32") -> UNet2DConditionModel:
    """The retrained U-Net in ``model``, or the base model's."""
    return UNet2DConditionModel.from_pretrained(
        model or base_model / "unet",
        use_safetensors=True,
        local_files_only=True,
        low_cpu_mem_usage=False,
        dtype=DTYPES[precision],
    )


def save_unet(unet: UNet2DConditionModel, folder: Path) -> None:
    """Save beside ``folder`` first, then move file by file: weights last, so that they never lack their config."""
    with beside(folder) as temporary:
        unet.save_pretrained(temporary, safe_serialization=True)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(temporary.iterdir()):
            share(file)
            os.replace(file, folder / file.name)


def load_vae(base_model: Path, precision: str = "fp32") -> AutoencoderKL:
    """The frozen autoencoder, channels last in memory: a quarter faster on processors, and what tensor cores want."""
    vae = AutoencoderKL.from_pretrained(
        base_model,
        subfolder="vae",
        use_safetensors=True,
        local_files_only=True,
        low_cpu_mem_usage=False,
        dtype=DTYPES[precision],
    )
    return vae.requires_grad_(False).to(memory_format=torch.channels_last)


def load_noise_scheduler(base_model: Path) -> DDPMScheduler:
    """The training schedule: betas, number of timesteps and prediction type of the pipeline's scheduler."""
    return DDPMScheduler.from_pretrained(base_model, subfolder="scheduler", local_files_only=True)


def load_pipeline(
    base_model: Path,
    model: Path | None,
    scheduler: str,
    device: torch.device,
    precision: str = "fp32",
    image_to_image: bool = False,
    compile: bool = False,
) -> Any:
    """A ready pipeline with the U-Net of ``model`` (or the base model's) and the named scheduler.

    The safety checker is left off: it returns black images, which would poison the training set.

    Args:
        base_model: folder of the pipeline.
        model: folder of a retrained U-Net.
        scheduler: class name of a diffusers scheduler.
        device: where it runs.
        precision: fp32, or fp16 or bf16 for weights of half the size.
        image_to_image: whether it starts from images.
        compile: whether the U-Net is compiled: minutes at the start, faster steps.

    Raises:
        UserError: if diffusers has no scheduler of that name.
    """
    diffusers.utils.logging.disable_progress_bar()
    scheduler_class = _scheduler_class(scheduler)
    pipeline_class = StableDiffusionImg2ImgPipeline if image_to_image else StableDiffusionPipeline
    pipeline = pipeline_class.from_pretrained(
        base_model,
        # Sampling is a quarter faster with channels last in memory; training is not.
        unet=load_unet(base_model, model, precision).to(memory_format=torch.channels_last),
        vae=load_vae(base_model, precision),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        use_safetensors=True,
        local_files_only=True,
        dtype=DTYPES[precision],
    )
    logger.info("safety checker off: it would return black images")
    pipeline.scheduler = scheduler_class.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    if compile:
        pipeline.unet = torch.compile(pipeline.unet)
    return pipeline


def _scheduler_class(name: str) -> Any:
    found = getattr(diffusers, name, None)
    if not (isinstance(found, type) and issubclass(found, diffusers.SchedulerMixin)):
        raise UserError(f"`scheduler`: diffusers has no scheduler called {name}; DDIMScheduler is a safe choice")
    return found


@torch.no_grad()
def encode_prompts(pipeline: Any, prompts: list[str]) -> torch.Tensor:
    """Text embeddings float32 (P, L, D) on the pipeline's device; equal prompts give equal rows."""
    parts = [prompts[start : start + PROMPT_BATCH] for start in range(0, len(prompts), PROMPT_BATCH)]
    return torch.cat([pipeline.encode_prompt(part, pipeline.device, 1, False)[0] for part in parts])


def to_unit_range(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (N, H, W, 3) as float32 (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
