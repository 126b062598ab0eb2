"""The tiny CLIP that scores samples: trained apart from the generator, on captions that name every factor."""

from pathlib import Path

import numpy as np
import torch
from nepotism.families.diffusion.pipeline import to_unit_range
from nepotism.measure.features import clip_image_features, clip_text_features, load_clip
from nepotism.runtime import streams
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from pretraining.captions import MAX_LENGTH, evaluator_names, tokenizer
from pretraining.data import NAMES, PretrainData, describe
from pretraining.training import batches, factor_loss, train

MEAN, DEVIATION = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]


def new(words: CLIPTokenizer) -> CLIPModel:
    """An untrained model of two small towers."""
    tower = {"hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4, "projection_dim": 64}
    special = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    text = CLIPTextConfig(
        vocab_size=len(words), max_position_embeddings=MAX_LENGTH, num_hidden_layers=3, **tower, **special
    )
    vision = CLIPVisionConfig(image_size=64, patch_size=8, num_hidden_layers=4, **tower)
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=64))


class TwoTowers(nn.Module):
    """A CLIP and one free direction per name, which stands for the name's caption while the text tower is untrained."""

    def __init__(self, clip: CLIPModel, names: int) -> None:
        super().__init__()
        self.clip = clip
        self.directions = nn.Parameter(nn.init.orthogonal_(torch.empty(names, clip.config.projection_dim)))

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Projected image embeddings (N, D)."""
        return self.clip.visual_projection(self.clip.vision_model(pixels).pooler_output)

    def texts(self, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        """Projected text embeddings (P, D)."""
        return self.clip.text_projection(self.clip.text_model(**tokens).pooler_output)

    def similarities(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Cosines times the learned scale (N, P)."""
        return normalize(images) @ normalize(texts).T * self.clip.logit_scale.exp()


def fit(
    data: PretrainData, steps: int, batch_size: int, learning_rate: float, seed: int
) -> tuple[CLIPModel, CLIPProcessor]:
    """Train both towers; returns model and processor.

    Each factor's names compete as captions of their own for every picture. In the first half of the steps the vision
    tower learns alone, against free directions; then the text tower joins in, with CLIP's symmetric contrast of whole
    captions. Together from the start they get stuck: while pictures say nothing of mouths, the best text for "smiling"
    is the one for "frowning", and from equal texts no picture learns.
    """
    torch.manual_seed(seed)
    words = tokenizer()
    names = [describe({factor: name}) for factor, of_factor in NAMES.items() for name in of_factor]
    model = TwoTowers(new(words), len(names))
    rng = streams.generator("pretrain", "clip", seed, "draws")
    step = iter(range(steps))

    def tokens_of(captions: list[str]) -> dict[str, torch.Tensor]:
        made = words(captions, padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt")
        return {"input_ids": made.input_ids, "attention_mask": made.attention_mask}

    def loss_of(batch: NDArray[np.int64]) -> torch.Tensor:
        factors = data.factors[batch]
        images = model.images(mirror(to_unit_range(data.pixels[batch]), factors, rng))
        if next(step) < steps // 2:
            return factor_loss(model.similarities(images, model.directions), factors)
        captions = [describe(evaluator_names(row, rng)) for row in factors]
        logits = model.similarities(images, model.texts(tokens_of(names + captions)))
        own, answers = logits[:, len(names) :], torch.arange(len(batch))
        contrast = (cross_entropy(own, answers) + cross_entropy(own.T, answers)) / 2
        return contrast + factor_loss(logits[:, : len(names)], factors)

    indices = batches(data, steps, batch_size, "clip", seed)
    averaged = train(model, loss_of, indices, steps, learning_rate, "pretrain_clip", bf16=False)
    assert isinstance(averaged, TwoTowers)
    size = {"height": 64, "width": 64}
    images = CLIPImageProcessor(size=size, crop_size=size, image_mean=MEAN, image_std=DEVIATION, do_convert_rgb=True)
    return averaged.clip.eval(), CLIPProcessor(image_processor=images, tokenizer=words)


def mirror(pixels: torch.Tensor, factors: NDArray[np.int64], rng: np.random.Generator) -> torch.Tensor:
    """Mirror half of the portraits; a mirrored digit would be another sign.

    Args:
        pixels: (N, 3, H, W).
        factors: (N, F) as in `PretrainData`.
        rng: draws N coins.
    """
    turned = torch.from_numpy((rng.random(len(factors)) < 0.5) & (factors[:, -1] < 0))
    return torch.where(turned[:, None, None, None], pixels.flip(3), pixels)


@torch.no_grad()
def zero_shot_accuracy(folder: Path, data: PretrainData) -> dict[str, float]:
    """Share of pictures whose factor is told right, by comparing captions that name that factor alone.

    Factors that no picture has are left out.
    """
    evaluator = load_clip(folder, torch.device("cpu"))
    images = clip_image_features(evaluator, data.pixels, batch_size=100)
    accuracy = {}
    for column, (factor, names) in enumerate(NAMES.items()):
        texts = clip_text_features(evaluator, [describe({factor: name}) for name in names])
        shown = data.factors[:, column] >= 0
        if not shown.any():
            continue
        unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
        told = (images[shown] @ unit.T).argmax(1)
        accuracy[factor] = float((told == data.factors[shown, column]).mean())
    return accuracy


def parameters(module: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(parameter.numel() for parameter in module.parameters())
