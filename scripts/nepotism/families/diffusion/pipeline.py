"""Loading pipelines from a folder, whatever their architecture: safetensors only, no remote code, no network."""

import hashlib
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones import backbone_of, has_part, of_pipeline, part_class
from nepotism.families.diffusion.backbones.base import KEY
from nepotism.families.diffusion.extrapolation import Extrapolated
from nepotism.families.diffusion.text import Text
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import beside, sha256, share
from nepotism.weights import loading
from nepotism.weights.frozen import frozen

logger = logging.getLogger(__name__)

PROMPT_BATCH = 64
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def check_base_model(folder: Path) -> None:
    """Check that ``folder`` is a pipeline of a kind that can be used, with whole safetensors, and that its SHA256SUMS hold.

    Raises:
        UserError: naming the file that is missing, cut off or different, or the kind that it is.
    """
    backbone = backbone_of(folder)
    for part in backbone.parts:
        if has_part(folder, part):
            loading.find(folder / part, loading.stem(part_class(folder, part)), KEY, folder)
    loading.read_json(folder / "scheduler" / "scheduler_config.json", KEY)
    for name in backbone.tokenizers:
        if has_part(folder, name):
            loading.read_json(folder / name / "tokenizer_config.json", KEY)
    loading.check_sums(folder, KEY)


def identity(base_model: Path) -> str:
    """What tells one base model from another without reading gigabytes: its SHA256SUMS, or names, sizes and times."""
    sums = base_model / "SHA256SUMS"
    if sums.is_file():
        return sha256(sums)
    files = sorted(file for file in base_model.rglob("*") if file.is_file())
    return json.dumps([[str(f.relative_to(base_model)), f.stat().st_size, f.stat().st_mtime_ns] for f in files])


def denoiser_digest(base_model: Path, model: Path | None) -> str:
    """SHA-256 of the denoiser's weights, those in ``model`` or the base model's; of shards, that of their checksums."""
    folder = model or base_model / backbone_of(base_model).denoiser
    files = loading.find(folder, loading.DIFFUSERS, KEY, model or base_model).files
    digests = [sha256(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def load_denoiser(base_model: Path, model: Path | None, precision: str = "fp32") -> Any:
    """The retrained denoiser in ``model``, or the base model's."""
    backbone = backbone_of(base_model)
    folder, key, whole = (base_model / backbone.denoiser, KEY, base_model) if model is None else (model, "model", model)
    return loading.load_model(
        part_class(base_model, backbone.denoiser), folder, key, whole, low_cpu_mem_usage=False, dtype=DTYPES[precision]
    )


def save_denoiser(network: Any, folder: Path) -> None:
    """Save beside ``folder`` first, then move file by file: weights last, so that they never lack their config."""
    with beside(folder) as temporary:
        # One file, whatever its size: the workflow knows it by name.
        network.save_pretrained(temporary, safe_serialization=True, max_shard_size="1TB")
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(temporary.iterdir()):
            share(file)
            os.replace(file, folder / file.name)


@frozen("--base-model", "fp32")
def load_vae(base_model: Path, precision: str) -> Any:
    """The frozen autoencoder, channels last in memory: a quarter faster on processors, and what tensor cores want."""
    backbone = backbone_of(base_model)
    vae = loading.load_model(
        part_class(base_model, "vae"), base_model / "vae", KEY, base_model, low_cpu_mem_usage=False,
        dtype=DTYPES[backbone.vae_precision(base_model, precision)],
    )  # fmt: skip
    return vae.requires_grad_(False).to(memory_format=torch.channels_last)


@frozen("--base-model", "fp32")
def load_text_encoders(base_model: Path, precision: str) -> dict[str, Any]:
    """The frozen text encoders by the names of their folders; None for one that the model may lack, and does."""
    backbone = backbone_of(base_model)
    return {
        part: loading.load_model(
            part_class(base_model, part), base_model / part, KEY, base_model, dtype=DTYPES[precision]
        )
        if has_part(base_model, part)
        else None
        for part in backbone.text_encoders()
    }


def load_tokenizers(base_model: Path, encoders: dict[str, Any]) -> dict[str, Any]:
    """The tokenizers by the names of their folders; they cut captions where their text encoder's reach ends, if not before."""
    backbone = backbone_of(base_model)
    found: dict[str, Any] = {}
    for name, classes in backbone.tokenizers.items():
        encoder = encoders[name.replace("tokenizer", "text_encoder")]
        if encoder is None:
            found[name] = None
            continue
        tokenizer = loading.tokenizer(getattr(transformers, classes[0]), base_model / name, KEY)
        known = encoder.get_input_embeddings().num_embeddings
        if len(tokenizer) > known:
            raise UserError(
                f"`{KEY}`: {base_model / name} knows {len(tokenizer)} tokens, the text encoder {known}; they are of two models"
            )
        if reach := backbone.reach(encoder):
            tokenizer.model_max_length = min(tokenizer.model_max_length, reach)
        found[name] = tokenizer
    return found


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
    """A ready pipeline with the denoiser of ``model`` (or the base model's) and the named scheduler.

    Args:
        base_model: folder of the pipeline.
        model: folder of a retrained denoiser.
        scheduler: class name of a diffusers scheduler.
        device: where it runs.
        precision: fp32, or fp16 or bf16 for weights of half the size.
        image_to_image: whether it starts from images.
        compile: whether the denoiser is compiled: minutes at the start, faster steps.
        copy, negative_weight: folder of a copy of the denoiser that was trained on its own images, and how far sampling is steered
            away from that (`extrapolation.Extrapolated`); None draws with the denoiser alone.

    Raises:
        UserError: if a part cannot be loaded whole, if they do not fit each other, or if diffusers has no such scheduler.
    """
    backbone = backbone_of(base_model)
    chosen = backbone.scheduler(base_model, scheduler)
    # Sampling is a quarter faster with channels last in memory; training is not.
    network: Any = load_denoiser(base_model, model, precision).to(memory_format=torch.channels_last)
    vae, encoders = load_vae(base_model, precision), load_text_encoders(base_model, precision)
    tokenizers = load_tokenizers(base_model, encoders)
    for problem in backbone.unfit(network, vae, encoders):
        raise UserError(f"`{KEY}`: {model or base_model}: {problem}")
    if negative_weight is not None:
        other = load_denoiser(base_model, copy, precision).to(memory_format=torch.channels_last)
        network = Extrapolated(network, other, negative_weight)
    with warnings.catch_warnings():
        # Diffusers warns of what its own classes inherit.
        warnings.simplefilter("ignore", FutureWarning)
        pipeline: Any = backbone.pipeline_of(image_to_image)(
            vae=vae,
            scheduler=chosen,
            **encoders,
            **tokenizers,
            **{backbone.denoiser: network},
            **backbone.options(base_model),
        )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    if compile:
        setattr(pipeline, backbone.denoiser, torch.compile(network))
    return pipeline


@torch.no_grad()
def encode_prompts(pipeline: Any, prompts: list[str]) -> Text:
    """Captions as the pipeline's denoiser reads them, on its device; equal prompts give equal rows."""
    parts = [prompts[start : start + PROMPT_BATCH] for start in range(0, len(prompts), PROMPT_BATCH)]
    return texts.joined([of_pipeline(pipeline).encode_text(pipeline, part) for part in parts])


def to_unit_range(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (N, H, W, 3) as float32 (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
