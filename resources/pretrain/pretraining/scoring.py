"""What the cards of the embedded models share: what is asked of a model, how it is judged, and rows of tables."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nepotism.data.images import Record
from nepotism.measure import scores
from nepotism.measure.features import clip_image_features, convolution_features, load_clip
from nepotism.runtime.errors import UserError
from nepotism.sources import portraits
from numpy.typing import NDArray

from pretraining.contrastive import zero_shot_accuracy
from pretraining.data import PretrainData, indices_of

PER_GROUP = 10


@dataclass(frozen=True)
class Asked:
    """Captions of the develop split, and its portraits of the same groups.

    Attributes:
        records: what N samples will be.
        portraits: two sets of as many portraits, uint8 (N, 64, 64, 3) each, in the order of the records.
    """

    records: list[Record]
    portraits: tuple[NDArray[np.uint8], NDArray[np.uint8]]

    @classmethod
    def of_develop(cls, per_group: int) -> "Asked":
        """``per_group`` captions and twice as many portraits of each group."""
        real = portraits.real_images(per_group, "develop", 64, portraits.DEFAULT_CAPTION).scoring
        records = [
            Record(f"{group}/{index}", images[0].prompt, group, f"{group}/{index:03d}", "generated")
            for group, images in real.items()
            for index in range(per_group)
        ]
        one, other = (
            np.stack([image.pixels for images in real.values() for image in images[part : part + per_group]])
            for part in (0, per_group)
        )
        return cls(records, (one, other))

    @property
    def prompts(self) -> list[str]:
        """The N captions."""
        return [record.prompt for record in self.records]

    def factors(self) -> NDArray[np.int64]:
        """The factors that the records' groups ask for, as in `PretrainData`."""
        groups = [dict(zip(portraits.GROUP_FACTORS, record.group.split("-"), strict=True)) for record in self.records]
        return np.array([indices_of(named) for named in groups])


class Judge:
    """The tiny CLIP and random convolutions, and what they make of portraits.

    Attributes:
        evaluator: the tiny CLIP.
        floors: of each feature space, the Fréchet distance of portraits to as many others.
    """

    def __init__(self, clip: Path, asked: Asked, device: torch.device) -> None:
        self.evaluator = load_clip(clip, device)
        self._clip, self._asked, self._device = clip, asked, device
        one, other = (self._features(images) for images in asked.portraits)
        self._real = one
        self.floors = {name: scores.frechet(other[name], one[name]) for name in one}

    def followed(self, pixels: NDArray[np.uint8]) -> dict[str, float]:
        """Of samples uint8 (N, 64, 64, 3), the share that shows what captions ask, for each factor asked for."""
        return zero_shot_accuracy(self._clip, PretrainData(pixels, self._asked.factors()))

    def distances(self, pixels: NDArray[np.uint8]) -> dict[str, float]:
        """Fréchet distance of samples uint8 (N, 64, 64, 3) to portraits, in each feature space."""
        return {name: scores.frechet(features, self._real[name]) for name, features in self._features(pixels).items()}

    def _features(self, images: NDArray[np.uint8]) -> dict[str, NDArray]:
        return {
            "tiny CLIP": clip_image_features(self.evaluator, images, 100),
            "random convolutions": convolution_features(images, 100, self._device),
        }


def accuracy_rows(pictures: Mapping[str, float], followed: Sequence[Mapping[str, float]]) -> str:
    """Rows of a table: each factor, its accuracy on pictures and on sets of samples, which may not be asked for it."""
    return "\n".join(
        f"| {factor} | {share:.1%} | " + " | ".join(_percent(each.get(factor)) for each in followed) + " |"
        for factor, share in pictures.items()
    )


def distance_rows(distances: Sequence[Mapping[str, float]], floors: Mapping[str, float]) -> str:
    """Rows of a table: each feature space, the distance of sets of samples, also over the floor, and the floor."""
    return "\n".join(
        f"| {name} | "
        + " | ".join(f"{each[name]:.4g} ({each[name] / floor:.2f})" for each in distances)
        + f" | {floor:.4g} |"
        for name, floor in floors.items()
    )


def training_rows(logs: Path, parts: Sequence[str]) -> str:
    """Rows of a table: steps and wall-clock of each training, from the last line of its log."""
    rows = []
    for part in parts:
        log = logs / f"pretrain_{part}.log"
        found = re.findall(r"(\d+) steps in ([0-9.]+) s", log.read_text(encoding="utf-8"))
        if not found:
            raise UserError(f"{log} does not say how long the training took; run it again")
        steps, seconds = found[-1]
        rows.append(f"| {part} | {steps} | {float(seconds) / 60:.0f} minutes |")
    return "\n".join(rows)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
