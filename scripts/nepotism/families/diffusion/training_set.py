"""What a retraining sees: the images of a manifest as latents, and their captions as text embeddings."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nepotism.chain.slots import row_names
from nepotism.data.images import read_image_set, read_manifest
from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion.latents import Posteriors, encode_images, joined, read_encoded
from nepotism.families.diffusion.pipeline import load_vae
from nepotism.families.diffusion.text import Text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSet:
    """The images of a training set, encoded.

    Attributes:
        rows: names of the N images, which key the random streams (`slots.row_names`); those that fill it up are also named
            after how often they came before.
        posteriors: of the N images, before the scaling factor.
        scaling_factor: the autoencoder's (`autoencoders.scaling_factor`).
        text: float32, of P prompts; the last is the empty one.
        prompt_of: N indices of prompts.
        slots: number of slots, which may be another than that of images; None if it is the same.
        repeats: how often every image is among the N.
    """

    rows: Sequence[str]
    posteriors: Posteriors
    scaling_factor: float
    text: Text
    prompt_of: Sequence[int]
    slots: int | None = None
    repeats: int = 1


def load_training_set(
    mix: Path, latents: Sequence[Path], base_model: Path, device: torch.device, fill_up: bool = False
) -> TrainingSet:
    """Real images come encoded; only generated ones go through the autoencoder.

    Args:
        mix: manifest of the training set.
        latents: encodings of the real images and the captions: of the reference, which has one image a slot, and of others.
        base_model: folder of the pipeline.
        device: where the autoencoder runs.
        fill_up: repeat images until there are as many as slots, or more: see `filled_up`.
    """
    manifest = read_manifest(mix)
    parts = [read_encoded(path) for path in latents]
    encoded, slots = joined(parts), len(parts[0].ids)
    row_of = {name: row for row, name in enumerate(encoded.ids)}
    # Of generated images, the rows are filled in below.
    rows = [row_of.get(record.id, 0) for record, _ in manifest]
    mean, deviation = encoded.posteriors.mean[rows], encoded.posteriors.deviation[rows]
    vae = load_vae(base_model, "fp32").to(device)
    for file in sorted({file for record, file in manifest if record.id not in row_of}):
        taken_from = [(row, record.slot) for row, (record, name) in enumerate(manifest) if name == file]
        images = read_image_set(Path(file), {slot for _, slot in taken_from})
        fresh = encode_images(vae, images.pixels)
        # A filter may have taken an image several times.
        at = {record.slot: index for index, record in enumerate(images.records)}
        where, taken = [row for row, _ in taken_from], [at[slot] for _, slot in taken_from]
        mean[where], deviation[where] = fresh.mean[taken], fresh.deviation[taken]
    generated = sum(record.origin == "generated" for record, _ in manifest)
    logger.info("%d images in %d slots, %d generated", len(manifest), slots, generated)
    prompt_of = [encoded.prompts.index(record.prompt) for record, _ in manifest]
    names = row_names([record for record, _ in manifest])
    data = TrainingSet(
        names, Posteriors(mean, deviation), autoencoders.scaling_factor(vae), encoded.text, prompt_of, slots
    )
    return filled_up(data, slots) if fill_up else data


def filled_up(data: TrainingSet, slots: int) -> TrainingSet:
    """A training set whose images are repeated, all equally often, until there are ``slots`` or more.

    An epoch, which at equal steps is ``slots`` images of them, then has as many steps as that of a set with one image a slot. A
    repeated image has random numbers of its own.
    """
    repeats = math.ceil(slots / len(data.rows))
    rows = [name if turn == 0 else f"{name}#{turn}" for turn in range(repeats) for name in data.rows]
    posteriors = Posteriors(
        data.posteriors.mean.repeat(repeats, 1, 1, 1, 1), data.posteriors.deviation.repeat(repeats, 1, 1, 1, 1)
    )
    return replace(data, rows=rows, posteriors=posteriors, prompt_of=[*data.prompt_of] * repeats, repeats=repeats)
