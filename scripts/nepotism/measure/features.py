"""Feature spaces in which image sets are compared: CLIP, fixed random convolutions, clean-fid's Inception, DINOv2.

Images are resized as clean-fid does (Pillow's antialiased bicubic filter, channel by channel in float), except for CLIP,
whose own processor is part of the model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cleanfid.resize import make_resizer
from numpy.typing import NDArray
from torch import nn
from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer, Dinov2Model

from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import sha256
from nepotism.runtime.progress import Progress
from nepotism.weights import loading
from nepotism.weights.frozen import frozen

Features = NDArray[np.float32]
CONVOLUTION_SIZE = 64
INCEPTION_SIZE = 299
PROMPT_BATCH = 64


@dataclass(frozen=True)
class Clip:
    """A CLIP model with its processor, ready on a device."""

    model: CLIPModel
    processor: Any
    device: torch.device


@frozen("--clip", torch.device("cpu"))
def load_clip(folder: Path, device: torch.device) -> Clip:
    """Load a CLIPModel folder from safetensors.

    Raises:
        UserError: if the folder holds no whole CLIPModel with its processor in safetensors.
    """
    key = "score.clip"
    loading.find(folder, loading.TRANSFORMERS, key)
    loading.check_sums(folder, key)
    model = loading.load_model(CLIPModel, folder, key, dtype=torch.float32)
    tokenizer = loading.tokenizer(CLIPTokenizer, folder, key)
    with loading.readable(key, folder):
        images = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
    wanted, size = model.config.vision_config.image_size, images.crop_size if images.do_center_crop else images.size
    if (size.height, size.width) != (wanted, wanted):
        raise UserError(
            f"`{key}`: {folder}: its image processor makes {size.height} x {size.width} pixels, the model reads {wanted} x "
            f"{wanted}; they are of two models"
        )
    if len(tokenizer) > model.config.text_config.vocab_size:
        raise UserError(
            f"`{key}`: {folder}: its tokenizer has more tokens than the model knows; they are of two models"
        )
    return Clip(model.eval().requires_grad_(False).to(device), CLIPProcessor(images, tokenizer), device)


def clip_image_features(clip: Clip, pixels: NDArray[np.uint8], batch_size: int) -> Features:
    """Projected image embeddings, not normalised: float32 (N, D)."""

    def embed(batch: NDArray[np.uint8]) -> torch.Tensor:
        inputs = clip.processor.image_processor(list(batch), return_tensors="pt", input_data_format="channels_last")
        # Not get_image_features: its return type changed between versions of transformers.
        pooled = clip.model.vision_model(inputs["pixel_values"].to(clip.device)).pooler_output
        return clip.model.visual_projection(pooled)

    return _in_batches(embed, pixels, batch_size, "embedding (clip)")


def clip_text_features(clip: Clip, prompts: Sequence[str]) -> Features:
    """Projected text embeddings, not normalised: float32 (P, D)."""
    length = clip.model.config.text_config.max_position_embeddings
    padding = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
    parts = []
    for start in range(0, len(prompts), PROMPT_BATCH):
        tokens = clip.processor.tokenizer(list(prompts[start : start + PROMPT_BATCH]), **padding).to(clip.device)
        with torch.no_grad():
            text = clip.model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
            parts.append(clip.model.text_projection(text.pooler_output).cpu().numpy())
    return np.concatenate(parts)


@dataclass(frozen=True)
class Dinov2:
    """A DINOv2 with what its images have to be like: pixels a side, and mean and deviation of each colour in [0, 1]."""

    model: Dinov2Model
    side: int
    mean: torch.Tensor
    deviation: torch.Tensor


@frozen("--dinov2", torch.device("cpu"))
def load_dinov2(folder: Path, device: torch.device) -> Dinov2:
    """Load a Dinov2Model folder from safetensors.

    Raises:
        UserError: if the folder holds no whole Dinov2Model with its preprocessor_config.json.
    """
    key = "score.dinov2"
    loading.find(folder, loading.TRANSFORMERS, key)
    loading.check_sums(folder, key)
    model = loading.load_model(Dinov2Model, folder, key, dtype=torch.float32)
    wanted = loading.read_json(folder / "preprocessor_config.json", key)
    try:
        side = int(wanted["crop_size"]["height"])
        mean, deviation = (
            torch.tensor(wanted[name], device=device).view(3, 1, 1) for name in ("image_mean", "image_std")
        )
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise UserError(
            f"`{key}`: {folder}: its preprocessor_config.json lacks one of crop_size, image_mean, image_std"
        ) from None
    if side % model.config.patch_size:
        raise UserError(
            f"`{key}`: {folder}: images of {side} pixels do not divide into patches of {model.config.patch_size}; the model and its "
            "preprocessor_config.json are of two models"
        )
    return Dinov2(model.eval().requires_grad_(False).to(device), side, mean, deviation)


def dinov2_features(dinov2: Dinov2, pixels: NDArray[np.uint8], batch_size: int) -> Features:
    """Class tokens after the last normalisation: float32 (N, D).

    Images are resized whole, as Stein et al. (arXiv 2306.04675) do it, where the model's own processor would cut off their edges.
    """

    def embed(batch: NDArray[np.uint8]) -> torch.Tensor:
        resized = _resize(batch, dinov2.side).to(dinov2.mean.device) / 255
        return dinov2.model((resized - dinov2.mean) / dinov2.deviation).pooler_output

    return _in_batches(embed, pixels, batch_size, "embedding (dinov2)")


def convolution_features(pixels: NDArray[np.uint8], batch_size: int, device: torch.device) -> Features:
    """64 features of fixed random convolutions, averaged over the picture: float32 (N, 64).

    Three layers of stride 2 with He-scaled Gaussian weights from a keyed stream: a feature space that no training chose.
    The first kernels sum to zero over the pixels of each colour, so that they see edges, blur and contrast, but no flat
    area: otherwise a few hundred images differ most by the background colours they happen to have.
    """
    layers: list[nn.Module] = []
    for index, (inputs, outputs, width) in enumerate([(3, 32, 5), (32, 64, 3), (64, 64, 3)]):
        layer = nn.Conv2d(inputs, outputs, width, stride=2, padding=width // 2, bias=False)
        scale = math.sqrt(2 / (inputs * width * width))
        weights = streams.generator("features", "conv", index).standard_normal(layer.weight.shape, dtype=np.float32)
        if index == 0:
            layer.padding_mode = "replicate"
            weights -= weights.mean((2, 3), keepdims=True)
        layer.weight.data = torch.from_numpy(weights * np.float32(scale))
        layers += [layer, nn.ReLU()]
    network = nn.Sequential(*layers).to(device)

    def embed(batch: NDArray[np.uint8]) -> torch.Tensor:
        return network(_resize(batch, CONVOLUTION_SIZE).to(device) / 127.5 - 1).mean((2, 3))

    return _in_batches(embed, pixels, batch_size, "embedding (conv)")


def inception_features(
    pixels: NDArray[np.uint8], batch_size: int, device: torch.device, weights: Path, checksum: str
) -> Features:
    """clean-fid's Inception features (its TorchScript file, images resized its way): float32 (N, 2048).

    Raises:
        UserError: if the file is not the expected one; TorchScript runs code, so nothing else is loaded.
    """
    from cleanfid.inception_torchscript import InceptionV3W

    expected_name = "inception-2015-12-05.pt"
    if not weights.is_file() or weights.name != expected_name:
        raise UserError(f"`score.inception`: {weights} must be an existing file called {expected_name}")
    if (found := sha256(weights)) != checksum.lower():
        raise UserError(
            f"`score.inception_sha256`: {weights} has {found}, not {checksum}; fetch it again or correct the key"
        )
    network = InceptionV3W(str(weights.parent), download=False, resize_inside=False).to(device).eval()

    def embed(batch: NDArray[np.uint8]) -> torch.Tensor:
        return network(_resize(batch, INCEPTION_SIZE).to(device))

    return _in_batches(embed, pixels, batch_size, "embedding (inception)")


def _resize(pixels: NDArray[np.uint8], size: int) -> torch.Tensor:
    """clean-fid's resizing of uint8 (N, H, W, 3) to float32 (N, 3, size, size) in 0-255."""
    if pixels.shape[1:3] == (size, size):
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    resizer = make_resizer("PIL", quantize_after=False, filter="bicubic", output_size=(size, size))
    return torch.from_numpy(np.stack([resizer(image) for image in pixels])).permute(0, 3, 1, 2).float()


@torch.no_grad()
def _in_batches(embed: Any, pixels: NDArray[np.uint8], batch_size: int, label: str) -> Features:
    parts = []
    with Progress(len(pixels), label, "image") as progress:
        for start in range(0, len(pixels), batch_size):
            parts.append(embed(pixels[start : start + batch_size]).float().cpu().numpy())
            progress.advance(len(parts[-1]))
    return np.concatenate(parts)
