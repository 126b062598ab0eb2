"""Embedding image sets and scoring them against the holdout."""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nepotism.data import watermark
from nepotism.data.images import ImageSet
from nepotism.data.tables import Row
from nepotism.measure import features, scores
from nepotism.measure.colour import contrast, saturation
from nepotism.measure.embeddings import Embedded, read_embedded
from nepotism.measure.kernels import gaussian_discrepancy, vendi
from nepotism.measure.metrics import FALSE_POSITIVE_RATE
from nepotism.measure.neighbours import (
    Marks,
    Neighbourhood,
    distances,
    of_rare_groups,
    outermost,
    within_group_distance,
)
from nepotism.measure.scores import Estimate
from nepotism.measure.sliced import along, sliced_distance

# Shares have no interval near their ends, where the jackknife says next to nothing.
SHARES = ("precision", "recall", "coverage", "recall_tail", "recall_rare_groups", "memorization")
# What is measured in some feature spaces only. Convolutions' averages are all positive and alike, so that any set of them is worth
# little more than one image (1.2 of 60 real portraits); CMMD is of CLIP's embeddings.
ONLY_IN = {"vendi": ("clip", "dinov2", "inception"), "cmmd": ("clip",)}


@dataclass(frozen=True)
class Evaluator:
    """The feature spaces of an experiment; the CLIP is always there, because it also scores captions."""

    spaces: Sequence[str]
    clip: features.Clip
    batch_size: int
    inception: Path | None = None
    inception_sha256: str | None = None
    dinov2: features.Dinov2 | None = None


def from_arguments(arguments: argparse.Namespace, device: torch.device) -> Evaluator:
    """The evaluator that `cli.add_evaluator`'s options ask for."""
    clip = features.load_clip(arguments.clip, device)
    dinov2 = features.load_dinov2(arguments.dinov2, device) if "dinov2" in arguments.features else None
    return Evaluator(
        arguments.features, clip, arguments.embed_batch_size, arguments.inception, arguments.inception_sha256, dinov2
    )


def embed(evaluator: Evaluator, images: ImageSet) -> Embedded:
    """Compute every feature of an image set once."""
    device, size = evaluator.clip.device, evaluator.batch_size
    clip_images = features.clip_image_features(evaluator.clip, images.pixels, size)
    prompts = [record.prompt for record in images.records]
    distinct = list(dict.fromkeys(prompts))
    texts = features.clip_text_features(evaluator.clip, distinct)[[distinct.index(prompt) for prompt in prompts]]
    spaces: dict[str, NDArray[np.float32]] = {}
    for space in evaluator.spaces:
        match space:
            case "clip":
                spaces[space] = clip_images
            case "conv":
                spaces[space] = features.convolution_features(images.pixels, size, device)
            case "dinov2":
                assert evaluator.dinov2 is not None
                spaces[space] = features.dinov2_features(evaluator.dinov2, images.pixels, size)
            case "inception":
                assert evaluator.inception is not None
                assert evaluator.inception_sha256 is not None
                weights, checksum = evaluator.inception, evaluator.inception_sha256
                spaces[space] = features.inception_features(images.pixels, size, device, weights, checksum)
    return Embedded(
        spaces,
        {
            "clip_score": scores.cosine_scores(clip_images, texts),
            "saturation": saturation(images.pixels),
            "contrast": contrast(images.pixels),
        },
        [record.group for record in images.records],
        [record.id for record in images.records],
    )


@dataclass(frozen=True)
class RowKey:
    """Whose scores these are: the leading columns of `Row`."""

    experiment: str
    control: str
    ratio: str
    seed: int
    iteration: int


@dataclass(frozen=True)
class Reference:
    """Features of real images: those that were mixed in, and others to measure against."""

    real: Embedded
    holdout: Embedded


def read_reference(path: Path) -> Reference:
    """Read the features that `scripts/embed_reference.py` wrote."""
    return Reference(read_embedded(path, "real"), read_embedded(path, "holdout"))


@dataclass(frozen=True)
class Sets:
    """Equally many generated and real images in one feature space.

    Attributes:
        generated, real: float32 (N, D) features.
        groups: of both, pair by pair.
        near: their distances.
        tail: bool (N,) which real images are the outermost.
        rare: bool (N,) which real images are of the rarest groups.
        along: where the images of both lie along fixed lines, float64 (lines, N).
    """

    generated: features.Features
    real: features.Features
    groups: Sequence[str]
    near: Neighbourhood
    tail: Marks
    rare: Marks
    along: tuple[NDArray[np.float64], NDArray[np.float64]]


# What is measured of two sets in every feature space: a value of the images with the given indices, which both sets lose
# together where a block is left out. `nepotism.measure.metrics` says what each is.
STATISTICS: dict[str, Callable[[Sets, scores.Indices], float]] = {
    "fid": lambda sets, kept: scores.frechet(sets.generated[kept], sets.real[kept]),
    "kid": lambda sets, kept: scores.kernel_distance(sets.generated[kept], sets.real[kept]),
    "mind": lambda sets, kept: sliced_distance(sets.along[0][:, kept], sets.along[1][:, kept], sets.real.shape[1]),
    "cmmd": lambda sets, kept: gaussian_discrepancy(sets.generated[kept], sets.real[kept]),
    "precision": lambda sets, kept: sets.near.precision(kept),
    "recall": lambda sets, kept: sets.near.recall(kept),
    "density": lambda sets, kept: sets.near.density(kept),
    "coverage": lambda sets, kept: sets.near.coverage(kept),
    "recall_tail": lambda sets, kept: sets.near.recall(kept, sets.tail),
    "recall_rare_groups": lambda sets, kept: sets.near.recall(kept, sets.rare),
    "memorization": lambda sets, kept: sets.near.memorization(kept),
    "generalization": lambda sets, kept: sets.near.generalization(kept),
    "vendi": lambda sets, kept: vendi(sets.generated[kept]),
    "within_group_distance": lambda sets, kept: within_group_distance(
        sets.near.generated[np.ix_(kept, kept)], [sets.groups[index] for index in kept]
    ),
}


def compare(place: RowKey, name: str, generated: Embedded, reference: Reference) -> Iterable[Row]:
    """All scores of one generated set: distances to the holdout in every feature space, diversity, captions, colours.

    The set called ``real`` is the holdout itself: its other half is measured against the first, as the floor.
    """
    holdout = reference.holdout
    groups = holdout.groups if name == "real" else generated.groups
    pairing = scores.pair(groups, holdout.groups, reference.real.groups)
    mine = pairing.other_real if name == "real" else pairing.generated
    named = [groups[index] for index in mine]
    rare = of_rare_groups(named, Counter(reference.real.groups))
    for space in holdout.spaces:
        ours, theirs = generated.spaces[space][mine], holdout.spaces[space][pairing.real]
        trained = reference.real.spaces[space][pairing.training]
        near = Neighbourhood(
            distances(ours, ours), distances(theirs, theirs), distances(ours, theirs), distances(ours, trained)
        )
        sets = Sets(ours, theirs, named, near, outermost(theirs), rare, (along(ours), along(theirs)))
        for metric, statistic in STATISTICS.items():
            if space not in ONLY_IN.get(metric, (space,)):
                continue
            estimate = scores.jackknife(partial(statistic, sets), pairing.blocks)
            if metric in SHARES and not 0.05 < estimate.value < 0.95:
                estimate = Estimate(estimate.value, estimate.n)
            # Undefined for a set of one image, or of one per group.
            if not math.isnan(estimate.value):
                yield row_of(place, name, space, metric, estimate)
    yield from captions(place, name, generated)
    positions = scores.positions(generated.groups)
    for value in ("saturation", "contrast"):
        yield row_of(place, name, "pixels", value, scores.mean(generated.values[value], positions))


def apart(place: RowKey, mine: Embedded, other: Embedded, reference: Reference) -> Iterable[Row]:
    """How far the images of two chains are apart, in every feature space: homogenisation is that this falls.

    It is of as many images as `compare` takes, so that it can be held against their distances to real ones.

    Args:
        place: of the cell.
        mine: what its chain drew, one image per slot.
        other: what the other chain drew, of the same slots in the same order.
        reference: features of the real images.

    Raises:
        ValueError: if the slots differ.
    """
    if mine.groups != other.groups:
        raise ValueError("the two chains have not drawn images of the same slots")
    pairing = scores.pair(mine.groups, reference.holdout.groups, reference.real.groups)
    for space in reference.holdout.spaces:
        ours, theirs = (each.spaces[space][pairing.generated] for each in (mine, other))
        distance = partial(_frechet_of, ours, theirs)
        estimate = scores.jackknife(distance, pairing.blocks)
        if not math.isnan(estimate.value):
            yield row_of(place, "samples", space, "fid_to_other", estimate)


def _frechet_of(one: features.Features, other: features.Features, kept: scores.Indices) -> float:
    return scores.frechet(one[kept], other[kept])


def captions(place: RowKey, name: str, generated: Embedded) -> Iterable[Row]:
    """CLIP scores of one set: their mean, and their spread inside groups."""
    positions = scores.positions(generated.groups)
    yield row_of(place, name, "clip", "clip_score", scores.mean(generated.values["clip_score"], positions))
    groups = np.array(generated.groups)
    spread = scores.jackknife(
        lambda kept: scores.within_group_sd(generated.values["clip_score"][kept], list(groups[kept])), positions
    )
    if not math.isnan(spread.value):
        yield row_of(place, name, "clip", "clip_score_within_group_sd", spread)


def marks(place: RowKey, name: str, images: ImageSet, key: int | str) -> Iterable[Row]:
    """How much of a watermark is in one set: the share of images where it is found, and its mean correlation.

    Args:
        place: of the cell.
        name: of the image set.
        images: marked or not.
        key: of the watermark.
    """
    correlation = watermark.detect(images.pixels, key)
    found = correlation > watermark.threshold(FALSE_POSITIVE_RATE)
    positions = scores.positions([record.group for record in images.records])
    rate = row_of(place, name, "pixels", "watermark_rate", scores.mean(found.astype(np.float64), positions))
    low, high = scores.binomial_interval(int(found.sum()), len(found))
    yield replace(rate, ci_low=low, ci_high=high)
    yield row_of(place, name, "pixels", "watermark_z", scores.mean(correlation, positions))


def fidelity(place: RowKey, name: str, images: ImageSet, originals: ImageSet) -> Iterable[Row]:
    """How much of each original is left in its image, slot by slot: structural similarity, by scikit-image.

    Args:
        place: of the cell.
        name: of the image set.
        images: of the slots.
        originals: of the same slots, in the same order and size.
    """
    # Only a diagnosis needs it: other jobs do not wait for it.
    from skimage.metrics import structural_similarity

    similarity = [
        structural_similarity(image, original, channel_axis=-1)
        for image, original in zip(images.pixels, originals.pixels, strict=True)
    ]
    positions = scores.positions([record.group for record in images.records])
    yield row_of(place, name, "pixels", "ssim", scores.mean(np.array(similarity), positions))


def row_of(place: RowKey, name: str, space: str, metric: str, estimate: Estimate) -> Row:
    low, high = estimate.interval or (None, None)
    return Row(
        place.experiment, place.control, place.ratio, place.seed, place.iteration,
        name, space, metric, estimate.value, estimate.sd, estimate.se, low, high, estimate.n, estimate.left_out,
    )  # fmt: skip
