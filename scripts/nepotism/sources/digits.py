"""Real handwritten digits: scikit-learn's 1,797 images of 8 x 8 pixels, enlarged to the model's resolution."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nepotism.data.images import digest
from nepotism.runtime.errors import UserError
from nepotism.sources import splits
from nepotism.sources.base import RealImage, RealImages, Split

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DEFAULT_CAPTION = "a handwritten digit {digit}"
# Per class, in the order of content digests. The smallest class has 174 images: 60 + 24 + 30 + 60.
SPLIT_SIZES = {"pretrain": 60, "develop": 24, "reference": 30, "holdout": 60}


def read_images() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The images, float (1797, 8, 8) in 0-16, and their labels 0-9."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images, data.target


def render(image: NDArray[np.float64], size: int = 64, rng: np.random.Generator | None = None) -> NDArray[np.uint8]:
    """Enlarge one 8 x 8 digit to a white stroke on black, uint8 (size, size, 3); with ``rng``, moved and turned a little."""
    grey = Image.fromarray(np.clip(image * (255 / 16), 0, 255).astype(np.uint8))
    inner = round(size * 0.75)
    canvas = Image.new("L", (size, size))
    canvas.paste(grey.resize((inner, inner), Image.Resampling.BICUBIC), ((size - inner) // 2,) * 2)
    if rng is not None:
        shift = rng.normal(0, 0.03, 2) * size
        scale = rng.normal(1, 0.07)
        canvas = canvas.rotate(rng.normal(0, 7), Image.Resampling.BILINEAR, translate=tuple(shift.tolist()))
        edge = size * (1 - 1 / scale) / 2
        canvas = canvas.transform(
            (size, size), Image.Transform.EXTENT, (edge, edge, size - edge, size - edge), Image.Resampling.BILINEAR
        )
    return np.repeat(np.asarray(canvas)[..., None], 3, 2)


def split_indices() -> dict[str, dict[str, list[int]]]:
    """Indices into `read_images` of every split's images, by split and by word: disjoint, and the same in every experiment."""
    images, labels = read_images()
    digests = [digest(render(image)) for image in images]
    by_split: dict[str, dict[str, list[int]]] = {split: {} for split in SPLIT_SIZES}
    for label, word in enumerate(WORDS):
        members = [int(index) for index in np.flatnonzero(labels == label)]
        dealt = splits.split_by_digest([digests[index] for index in members], SPLIT_SIZES)
        for split, chosen in dealt.items():
            by_split[split][word] = [members[index] for index in chosen]
    return by_split


def real_images(
    images_per_group: int, scoring_split: str, resolution: int, caption: str, fresh_sets: Sequence[str] = ()
) -> RealImages:
    """The reference split (``images_per_group`` of each digit), the scoring split (up to twice as many), and the named sets of the
    reference's size that are reserved for single uses, in their order: from what the reference leaves.

    Raises:
        UserError: if more images per digit are asked for than the reference split has.
    """
    there_are = SPLIT_SIZES["reference"]
    if images_per_group > there_are:
        raise UserError(
            f"`reference.images_per_group`: {images_per_group} is too many; the digits have {there_are} per group"
        )
    if (needed := (1 + len(fresh_sets)) * images_per_group) > there_are:
        raise UserError(
            f"`arms`: {len(fresh_sets)} sets of {images_per_group} more images per group are to be reserved, {needed} in all; the "
            f"digits have {there_are}: lower `reference.images_per_group` or the arm's `iterations`"
        )
    images, _ = read_images()
    chosen = split_indices()

    def take(split: str, count: int, start: int = 0) -> Split:
        return {
            word: [
                RealImage(render(images[index], resolution), caption.format(digit=word), f"digits/{index}")
                for index in indices[start : start + count]
            ]
            for word, indices in chosen[split].items()
        }

    return RealImages(
        take("reference", images_per_group),
        take(scoring_split, 2 * images_per_group),
        {
            name: take("reference", images_per_group, number * images_per_group)
            for number, name in enumerate(fresh_sets, 1)
        },
    )
