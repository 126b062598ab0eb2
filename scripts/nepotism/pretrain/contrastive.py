"""The tiny CLIP that scores samples: trained apart from the generator, on captions that name every factor."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTextConfig, CLIPVisionConfig

from nepotism import streams
from nepotism.features import clip_image_features, clip_text_features, load_clip
from nepotism.pretrain.captions import MAX_LENGTH, evaluator_caption, tokenizer
from nepotism.pretrain.data import NAMES, PretrainData, describe
from nepotism.pretrain.training import batches, train

MEAN, DEVIATION = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]


def fit(
    data: PretrainData, steps: int, batch_size: int, learning_rate: float, seed: int
) -> tuple[CLIPModel, CLIPProcessor]:
    """Train with CLIP's symmetric contrastive loss; returns model and processor."""
    torch.manual_seed(seed)
    words = tokenizer()
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
    model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=64))
    rng = streams.generator("pretrain", "clip", seed, "draws")

    def loss_of(batch: NDArray[np.int64]) -> torch.Tensor:
        captions = [evaluator_caption(data.factors[index], rng) for index in batch]
        tokens = words(captions, padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt")
        pixels = torch.from_numpy(data.pixels[batch]).permute(0, 3, 1, 2).float() / 127.5 - 1
        logits = model(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels
        ).logits_per_image
        answers = torch.arange(len(batch))
        return (cross_entropy(logits.float(), answers) + cross_entropy(logits.float().T, answers)) / 2

    indices = batches(data, steps, batch_size, "clip", seed)
    averaged = train(model, loss_of, indices, steps, learning_rate, "pretrain_clip", bf16=False)
    assert isinstance(averaged, CLIPModel)
    size = {"height": 64, "width": 64}
    images = CLIPImageProcessor(size=size, crop_size=size, image_mean=MEAN, image_std=DEVIATION, do_convert_rgb=True)
    return averaged.eval(), CLIPProcessor(image_processor=images, tokenizer=words)


@torch.no_grad()
def zero_shot_accuracy(folder: Path, data: PretrainData) -> dict[str, float]:
    """Share of pictures whose factor is told right, per factor, by comparing captions that name that factor alone."""
    evaluator = load_clip(folder, torch.device("cpu"))
    images = clip_image_features(evaluator, data.pixels, batch_size=100)
    accuracy = {}
    for column, (factor, names) in enumerate(NAMES.items()):
        texts = clip_text_features(evaluator, [describe({factor: name}) for name in names])
        shown = data.factors[:, column] >= 0
        unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
        told = (images[shown] @ unit.T).argmax(1)
        accuracy[factor] = float((told == data.factors[shown, column]).mean())
    return accuracy


def parameters(module: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(parameter.numel() for parameter in module.parameters())
