"""What a retraining sees: the images of a manifest as latents, and their captions as text embeddings."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nepotism.data.images import read_image_set, read_manifest
from nepotism.families.diffusion.latents import Posteriors, encode_images, read_encoded
from nepotism.families.diffusion.pipeline import load_vae

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSet:
    """One image per slot, encoded.

    Attributes:
        slots: names of the N slots; they key the random streams.
        posteriors: of the N images, unscaled.
        scaling_factor: the autoencoder's.
        text: float32 (P, L, D) prompt embeddings; the last is the empty prompt's.
        prompt_of: N indices into ``text``.
    """

    slots: Sequence[str]
    posteriors: Posteriors
    scaling_factor: float
    text: torch.Tensor
    prompt_of: Sequence[int]


def load_training_set(mix: Path, latents: Path, base_model: Path, device: torch.device) -> TrainingSet:
    """Real images come encoded; only the generated ones of this cell go through the autoencoder."""
    manifest = read_manifest(mix)
    encoded = read_encoded(latents)
    row_of = {slot: row for row, slot in enumerate(encoded.slots)}
    rows = [row_of[record.slot] for record, _ in manifest]
    mean, deviation = encoded.posteriors.mean[rows], encoded.posteriors.deviation[rows]
    vae = load_vae(base_model).to(device)
    for file in sorted({file for record, file in manifest if record.origin == "generated"}):
        at = {record.slot: row for row, (record, name) in enumerate(manifest) if name == file}
        images = read_image_set(Path(file), set(at))
        fresh = encode_images(vae, images.pixels)
        where = [at[record.slot] for record in images.records]
        mean[where], deviation[where] = fresh.mean, fresh.deviation
    logger.info("%d slots, %d generated", len(manifest), sum(record.origin == "generated" for record, _ in manifest))
    prompt_of = [encoded.prompts.index(record.prompt) for record, _ in manifest]
    slots = [record.slot for record, _ in manifest]
    return TrainingSet(slots, Posteriors(mean, deviation), vae.config.scaling_factor, encoded.text, prompt_of)
