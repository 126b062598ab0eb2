"""What a retraining sees: the images of a manifest as latents, and their captions as text embeddings."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nepotism.data.images import Record, read_image_set, read_manifest
from nepotism.families.diffusion.latents import Posteriors, encode_images, read_encoded
from nepotism.families.diffusion.pipeline import load_vae
from nepotism.runtime import streams

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSet:
    """The images of a training set, encoded.

    Attributes:
        rows: names of the N images; they key the random streams. An image has the name of its slot; further images of the
            same slot are named after the iteration of their model, too, and further draws of a model after their number.
        posteriors: of the N images, unscaled.
        scaling_factor: the autoencoder's.
        text: float32 (P, L, D) prompt embeddings; the last is the empty prompt's.
        prompt_of: N indices into ``text``.
        slots: number of slots, which may be another than that of images; None if it is the same.
    """

    rows: Sequence[str]
    posteriors: Posteriors
    scaling_factor: float
    text: torch.Tensor
    prompt_of: Sequence[int]
    slots: int | None = None


def load_training_set(mix: Path, latents: Path, base_model: Path, device: torch.device) -> TrainingSet:
    """Real images come encoded; only generated ones go through the autoencoder."""
    manifest = read_manifest(mix)
    encoded = read_encoded(latents)
    row_of = {name: row for row, name in enumerate(encoded.ids)}
    # Of generated images, the rows are filled in below.
    rows = [row_of.get(record.id, 0) for record, _ in manifest]
    mean, deviation = encoded.posteriors.mean[rows], encoded.posteriors.deviation[rows]
    vae = load_vae(base_model, "fp32").to(device)
    for file in sorted({file for record, file in manifest if record.id not in row_of}):
        at = {record.slot: row for row, (record, name) in enumerate(manifest) if name == file}
        images = read_image_set(Path(file), set(at))
        fresh = encode_images(vae, images.pixels)
        where = [at[record.slot] for record in images.records]
        mean[where], deviation[where] = fresh.mean, fresh.deviation
    generated = sum(record.origin == "generated" for record, _ in manifest)
    logger.info("%d images in %d slots, %d generated", len(manifest), encoded.slots, generated)
    prompt_of = [encoded.prompts.index(record.prompt) for record, _ in manifest]
    names = row_names([record for record, _ in manifest])
    return TrainingSet(
        names, Posteriors(mean, deviation), vae.config.scaling_factor, encoded.text, prompt_of, encoded.slots
    )


def row_names(records: Sequence[Record]) -> list[str]:
    """What images of a training set are called: by their slots, and further ones of a slot by their model's iteration, too.

    Of several draws of one model, all but the first are numbered. They are in order, and a ratio that takes a draw of a slot
    takes those before it, too: names do not depend on the ratio.
    """
    seen: Counter[str] = Counter()
    names = []
    for record in records:
        name = f"{record.slot}@{record.iteration}" if record.slot in seen else record.slot
        names.append(streams.of_draw(name, seen[name]))
        seen[name] += 1
    return names
