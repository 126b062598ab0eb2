"""Loading Stable-Diffusion-shaped pipelines from a folder: safetensors only, no remote code, no network."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
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
from transformers import CLIPTextModel, CLIPTokenizer

from nepotism.families.diffusion.extrapolation import ExtrapolatedUNet
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import beside, sha256, share
from nepotism.weights import loading
from nepotism.weights.frozen import frozen

logger = logging.getLogger(__name__)

PROMPT_BATCH = 64
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
KEY = "model.path"
# Pipelines of these parts, which text alone guides.
KINDS = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
PARTS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
NO_PARTS = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
# What a model was trained with, whoever samples from it: the scheduler file's own class says what is left out there.
TRAINED_WITH = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr", "set_alpha_to_one",
)  # fmt: skip
# Latent diffusion's own, where a file's class does not know of them. The first two are what every pipeline sets.
LATENT = {"clip_sample": False, "steps_offset": 1, "set_alpha_to_one": False}


def check_base_model(folder: Path) -> None:
    """Check that ``folder`` is a pipeline of a kind that can be used, with whole safetensors, and that its SHA256SUMS hold.

    Raises:
        UserError: naming the file that is missing, cut off or different, or the kind that it is.
    """
    check_kind(folder)
    for part, model_class in PARTS.items():
        loading.find(folder / part, loading.stem(model_class), KEY, folder)
    loading.read_json(folder / "scheduler" / "scheduler_config.json", KEY)
    loading.read_json(folder / "tokenizer" / "tokenizer_config.json", KEY)
    loading.check_sums(folder, KEY)


def check_kind(folder: Path) -> None:
    """Check by its model_index.json which kind of pipeline a folder has.

    Raises:
        UserError: if it is none, or of a kind that cannot be used, naming the kind.
    """
    if not (folder / "model_index.json").exists():
        what = "it has no model_index.json" if folder.is_dir() else "there is no such folder"
        raise UserError(f"`{KEY}`: {folder} is no diffusers pipeline: {what}")
    index = loading.read_json(folder / "model_index.json", KEY)
    kind = index.get("_class_name", "pipeline without a name")
    if kind not in KINDS:
        raise UserError(
            f"`{KEY}`: {folder} is a {kind}; what can be used is a {KINDS[0]}: Stable Diffusion 1 or 2, which text alone guides"
        )
    wanted = {part: (model.__name__,) for part, model in PARTS.items()} | {"tokenizer": TOKENIZERS}
    for part, names in wanted.items():
        name = _class_of(index, part)
        if name not in names:
            raise UserError(f"`{KEY}`: the {part} of {folder} is {name or 'missing'}; what can be used is a {names[0]}")


def _class_of(index: dict[str, Any], part: str) -> str | None:
    """The class of a part by the content of a model_index.json; None if there is no such part."""
    library_and_class = index.get(part)
    return library_and_class[-1] if isinstance(library_and_class, list) and library_and_class else None


def identity(base_model: Path) -> str:
    """What tells one base model from another without reading gigabytes: its SHA256SUMS, or names, sizes and times."""
    sums = base_model / "SHA256SUMS"
    if sums.is_file():
        return sha256(sums)
    files = sorted(file for file in base_model.rglob("*") if file.is_file())
    return json.dumps([[str(f.relative_to(base_model)), f.stat().st_size, f.stat().st_mtime_ns] for f in files])


def unet_digest(base_model: Path, model: Path | None) -> str:
    """SHA-256 of the U-Net's weights, those in ``model`` or the base model's; of shards, that of their checksums."""
    files = loading.find(model or base_model / "unet", loading.DIFFUSERS, KEY, model or base_model).files
    digests = [sha256(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def load_unet(base_model: Path, model: Path | None, precision: str = "fp32") -> UNet2DConditionModel:
    """The retrained U-Net in ``model``, or the base model's."""
    folder, key, whole = (base_model / "unet", KEY, base_model) if model is None else (model, "model", model)
    dtype = DTYPES[precision]
    return loading.load_model(UNet2DConditionModel, folder, key, whole, low_cpu_mem_usage=False, dtype=dtype)


def save_unet(unet: UNet2DConditionModel, folder: Path) -> None:
    """Save beside ``folder`` first, then move file by file: weights last, so that they never lack their config."""
    with beside(folder) as temporary:
        # One file, whatever its size: the workflow knows it by name.
        unet.save_pretrained(temporary, safe_serialization=True, max_shard_size="1TB")
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(temporary.iterdir()):
            share(file)
            os.replace(file, folder / file.name)


@frozen("--base-model", "fp32")
def load_vae(base_model: Path, precision: str) -> AutoencoderKL:
    """The frozen autoencoder, channels last in memory: a quarter faster on processors, and what tensor cores want."""
    vae = loading.load_model(
        AutoencoderKL, base_model / "vae", KEY, base_model, low_cpu_mem_usage=False, dtype=DTYPES[precision]
    )
    return vae.requires_grad_(False).to(memory_format=torch.channels_last)


@frozen("--base-model", "fp32")
def load_text_encoder(base_model: Path, precision: str) -> CLIPTextModel:
    """The frozen text encoder."""
    return loading.load_model(CLIPTextModel, base_model / "text_encoder", KEY, base_model, dtype=DTYPES[precision])


def load_tokenizer(base_model: Path, text_encoder: CLIPTextModel) -> CLIPTokenizer:
    """The tokenizer, which cuts captions where the text encoder's reach ends, if not before."""
    tokenizer = loading.tokenizer(CLIPTokenizer, base_model / "tokenizer", KEY)
    config = text_encoder.config
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"`{KEY}`: {base_model / 'tokenizer'} knows {len(tokenizer)} tokens, the text encoder {config.vocab_size}; they "
            "are of two models"
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
    return tokenizer


def load_noise_scheduler(base_model: Path) -> DDPMScheduler:
    """The training schedule: betas, number of timesteps and prediction type of the pipeline's scheduler."""
    return load_scheduler(base_model, "DDPMScheduler")


def load_scheduler(base_model: Path, name: str) -> Any:
    """The pipeline's scheduler, as one of a class that may be another than that of its file.

    Diffusers hands over what the file spells out. What the file leaves to the defaults of its class is the model's too, as
    far as the model was trained with it; and what its class does not know is as latent diffusion has it, not as DDIM was
    first written for pixels. What pipelines correct in old files, whatever these say, is corrected here too.

    Raises:
        UserError: if the file cannot be read, or one of the two is no scheduler of models of this kind.
    """
    scheduler_class = _scheduler_class(name)
    folder = base_model / "scheduler"
    own_name = loading.read_json(folder / "scheduler_config.json", KEY).get("_class_name")
    if own_name is None:
        own_name = _class_of(loading.read_json(base_model / "model_index.json", KEY), "scheduler")
    own_class = getattr(diffusers, str(own_name), None)
    if own_class is None:
        raise UserError(f"`{KEY}`: {folder}: diffusers has no scheduler called {own_name}")
    with loading.readable(KEY, folder):
        own = own_class.from_pretrained(folder, local_files_only=True)
        if not hasattr(own, "alphas_cumprod"):
            raise UserError(f"`{KEY}`: {folder}: a {own_name} is of another kind of diffusion, without betas")
    trained_with = {key: own.config[key] for key in TRAINED_WITH if key in own.config}
    made = scheduler_class.from_config(own.config, **{**LATENT, **trained_with})
    if not hasattr(made, "alphas_cumprod"):
        raise UserError(
            f"`scheduler`: a {name} is for another kind of diffusion, without betas; DDIMScheduler is a safe choice"
        )
    return made


def load_pipeline(
    base_model: Path,
    model: Path | None,
    scheduler: str,
    device: torch.device,
    precision: str = "fp32",
    image_to_image: bool = False,
    compile: bool = False,
    copy: Path | None = None,
    negative_weight: float | None = None,
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
        copy, negative_weight: folder of a copy of the U-Net that was trained on its own images, and how far sampling is steered
            away from that (`extrapolation.ExtrapolatedUNet`); None draws with the U-Net alone.

    Raises:
        UserError: if a part cannot be loaded whole, if they do not fit each other, or if diffusers has no such scheduler.
    """
    chosen = load_scheduler(base_model, scheduler)
    # Sampling is a quarter faster with channels last in memory; training is not.
    unet: Any = load_unet(base_model, model, precision).to(memory_format=torch.channels_last)
    vae, text_encoder = load_vae(base_model, precision), load_text_encoder(base_model, precision)
    tokenizer = load_tokenizer(base_model, text_encoder)
    for problem in _unfit(unet, vae, text_encoder):
        raise UserError(f"`{KEY}`: {model or base_model}: {problem}")
    if negative_weight is not None:
        other = load_unet(base_model, copy, precision).to(memory_format=torch.channels_last)
        unet = ExtrapolatedUNet(unet, other, negative_weight)
    pipeline_class = StableDiffusionImg2ImgPipeline if image_to_image else StableDiffusionPipeline
    pipeline: Any = pipeline_class(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=chosen, **NO_PARTS
    )
    logger.info("safety checker off: it would return black images")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    if compile:
        pipeline.unet = torch.compile(pipeline.unet)
    return pipeline


def _unfit(unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: CLIPTextModel) -> Iterator[str]:
    """Why these cannot draw pictures from text; nothing if they can."""
    channels = (unet.config.in_channels, unet.config.out_channels)
    latent = vae.config.latent_channels
    if channels != (latent, latent):
        yield (
            f"its U-Net takes {channels[0]} channels and gives {channels[1]}, where the autoencoder has {latent}: models for "
            "inpainting, depth or upscaling, which are given more than text, cannot be used"
        )
    for name in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type"):
        if unet.config.get(name) is not None:
            yield f"its U-Net is given more than text ({name}: {unet.config[name]}); such models cannot be used"
    width = unet.config.cross_attention_dim
    if width != text_encoder.config.hidden_size:
        yield f"its U-Net reads embeddings {width} wide, its text encoder writes {text_encoder.config.hidden_size}"
    if not vae.config.scaling_factor or vae.config.get("shift_factor") is not None:
        yield (
            "its autoencoder has no `scaling_factor`, or a `shift_factor` beside it, which belongs to other kinds of models; "
            "see vae/config.json"
        )


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
