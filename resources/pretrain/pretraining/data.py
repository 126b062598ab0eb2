"""The pretrain and develop splits: portraits broader than the reference, and handwritten digits, with their factors."""

from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
from nepotism.data.images import digest
from nepotism.runtime import streams
from nepotism.runtime.files import atomic_write
from nepotism.sources import digits, portraits, splits
from numpy.typing import NDArray

DIGIT_VARIANTS = 5
# Pose and colours stray further than in the reference split.
PRETRAIN_VARIATION = portraits.Variation(shift=0.035, scale=0.07, rotation=8.0, colour=15.0)


@dataclass(frozen=True)
class PretrainData:
    """Pictures of one split and what they show.

    Attributes:
        pixels: uint8 (N, 64, 64, 3).
        factors: int64 (N, 9): index of the name of every factor of `portraits.FACTORS`, then the digit;
            -1 where a factor does not apply.
    """

    pixels: NDArray[np.uint8]
    factors: NDArray[np.int64]


NAMES: dict[str, tuple[str, ...]] = {**portraits.FACTORS, "digit": digits.WORDS}


def draw_portraits(split: str, count: int, variation: portraits.Variation) -> PretrainData:
    """``count`` portraits of ``split`` with all factors random; equal pictures are kept once."""
    pixels, factors = [], []
    for index in range(count):
        rng = streams.generator("portraits", split, index)
        portrait = portraits.choose(rng)
        pixels.append(portraits.draw_portrait(portrait, rng, variation=variation))
        factors.append([NAMES[name].index(value) for name, value in asdict(portrait).items()] + [-1])
    keep = splits.unique([digest(image) for image in pixels])
    return PretrainData(np.stack(pixels)[keep], np.array(factors)[keep])


def load_digits(split: str, variants: int) -> PretrainData:
    """The digits of ``split``: as they are, and ``variants`` moved and turned copies of each."""
    images, labels = digits.read_images()
    pixels, factors = [], []
    for index in (index for indices in digits.split_indices()[split].values() for index in indices):
        row = [-1] * len(portraits.FACTORS) + [int(labels[index])]
        pixels.append(digits.render(images[index]))
        factors.append(row)
        for variant in range(variants):
            pixels.append(digits.render(images[index], rng=streams.generator("digits", split, index, variant)))
            factors.append(row)
    return PretrainData(np.stack(pixels), np.array(factors))


def build(split: str, count: int) -> PretrainData:
    """All pictures of ``pretrain`` or ``develop``: ``count`` portraits, then the digits of that split."""
    pretrain = split == "pretrain"
    variation = PRETRAIN_VARIATION if pretrain else portraits.REFERENCE_VARIATION
    parts = [draw_portraits(split, count, variation), load_digits(split, DIGIT_VARIANTS if pretrain else 0)]
    return PretrainData(*(np.concatenate(arrays) for arrays in zip(*(astuple(part) for part in parts), strict=True)))


def save(path: Path, data: PretrainData) -> None:
    """Write one split as an uncompressed ``.npz``, whole or not at all."""
    with atomic_write(path) as temporary:
        np.savez(temporary, pixels=data.pixels, factors=data.factors)


def read_split(path: Path) -> PretrainData:
    """Read a file that `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return PretrainData(arrays["pixels"], arrays["factors"])


def describe(named: dict[str, str]) -> str:
    """A caption that names just the factors in ``named``.

    With expression, hair and face it is the default caption of the portraits; further factors follow as clauses.
    """
    if "digit" in named:
        return digits.DEFAULT_CAPTION.format(digit=named["digit"])
    head = "a portrait of a" + (f" {named['expression']}" if "expression" in named else "") + " person"
    having = [f"{named['hair']} hair"] if "hair" in named else []
    having += [f"a {named['face']} face"] if "face" in named else []
    nouns = {"skin": "skin", "eyes": "eyes", "length": "haircut", "background": "background", "shirt": "shirt"}
    clauses = [f"{named[factor]} {noun}" for factor, noun in nouns.items() if factor in named]
    return ", ".join([head + (" with " + " and ".join(having) if having else ""), *clauses])


def named_factors(row: NDArray[np.int64]) -> dict[str, str]:
    """The names of one row of `PretrainData.factors`."""
    return {factor: names[value] for (factor, names), value in zip(NAMES.items(), row, strict=True) if value >= 0}


def indices_of(named: dict[str, str]) -> list[int]:
    """A row of `PretrainData.factors` that knows the factors in ``named`` only."""
    return [names.index(named[factor]) if factor in named else -1 for factor, names in NAMES.items()]
