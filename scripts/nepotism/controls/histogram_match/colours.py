"""The paper's first control: give each generated image the colours of the real image whose colours are distributed most alike.

Colours are compared and matched in YCbCr, channel by channel (paper, section 3.4), as scikit-image scales it. In its floating
point, though, colours of the same luma differ by rounding noise, which decides between them, and another machine decides in
another way. YCbCr of 8-bit RGB is a whole number of small steps; all that follows is exact, and bytes are the same everywhere.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nepotism.data.images import Pixels
from nepotism.runtime.progress import Progress

Direction = Literal["generated_to_real", "real_to_generated"]

# Y, Cb and Cr above their lowest values, of 8-bit RGB, in steps of 1/255000 level; and how many steps each has. Y begins at
# level 16 and has 219 levels, Cb and Cr begin at 16 and have 224.
STEPS = 255_000
_TRANSFORM = np.array([[65_481, 128_553, 24_966], [-37_797, -74_203, 112_000], [112_000, -93_786, -18_214]])
_OFFSETS = (0, 112 * STEPS, 112 * STEPS)
_RANGES = (219 * STEPS, 224 * STEPS, 224 * STEPS)
# The inverse: whole numbers over the determinant.
_INVERSE = np.stack([np.cross(_TRANSFORM[i - 2], _TRANSFORM[i - 1]) for i in range(3)], axis=1)
_DETERMINANT = int(_TRANSFORM[0] @ _INVERSE[:, 0])
# Matching counts values rounded to 1/255 level.
_GRID = 1000


def ycbcr(image: Pixels) -> NDArray[np.int64]:
    """Y, Cb and Cr above level 16, exactly: int64 (3, H, W) in steps of 1/`STEPS` level.

    Args:
        image: uint8 (H, W, 3) RGB.
    """
    red, green, blue = np.moveaxis(image, -1, 0).astype(np.int64)
    rows = zip(_TRANSFORM.tolist(), _OFFSETS, strict=True)
    return np.stack([red * r + green * g + blue * b + offset for (r, g, b), offset in rows])


def histograms(pixels: Iterable[Pixels], bins: int, threads: int, label: str) -> NDArray[np.float64]:
    """Shares of the YCbCr values of each image: float64 (N, 3, bins), each histogram summing to 1.

    Args:
        pixels: N uint8 (H, W, 3) RGB images.
        bins: per channel, over the channel's whole range, the same for every image.
        threads: images at a time.
        label: what the progress bar says.
    """

    def count(image: Pixels) -> NDArray[np.float64]:
        shares = np.empty((3, bins))
        for channel, (values, steps) in enumerate(zip(ycbcr(image), _RANGES, strict=True)):
            index = np.minimum(values.ravel() * bins // steps, bins - 1)
            shares[channel] = np.bincount(index, minlength=bins) / values.size
        return shares

    return np.stack(list(_in_threads(count, [(image,) for image in pixels], threads, label)))


def divergences(generated: NDArray, real: NDArray, direction: Direction, epsilon: float) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of every generated from every real image, averaged over the channels, in nats.

    All of them at once, as one matrix product per channel: sum P log P - P . log Q^T.

    Args:
        generated: float64 (N, 3, bins), from `histograms`.
        real: float64 (M, 3, bins).
        direction: ``generated_to_real`` is D(generated || real).
        epsilon: added to every bin before normalising, so that empty bins have a logarithm.

    Returns:
        float64 (N, M), at least 0 but for rounding.
    """
    if direction == "real_to_generated":
        return divergences(real, generated, "generated_to_real", epsilon).T
    total = np.zeros((len(generated), len(real)))
    for channel in range(3):
        p, q = (_smoothed(each[:, channel], epsilon) for each in (generated, real))
        total += (p * np.log(p)).sum(1)[:, None] - p @ np.log(q).T
    return total / 3


def _smoothed(shares: NDArray, epsilon: float) -> NDArray:
    raised = shares + epsilon
    return np.asarray(raised / raised.sum(1, keepdims=True))


def nearest(divergences: NDArray[np.float64], slots: Sequence[str]) -> NDArray[np.intp]:
    """The real image of the least divergence from each generated one; of equal ones that of the first slot.

    Images of equal colours differ by the noise of a matrix product, which rounding takes away.

    Args:
        divergences: float64 (N, M), from `divergences`.
        slots: of the M real images.

    Returns:
        N positions in 0 .. M - 1.
    """
    order = np.argsort(np.array(slots), kind="stable")
    return np.asarray(order[np.round(divergences[:, order], 9).argmin(1)])


def match(image: Pixels, target: Pixels) -> Pixels:
    """``image`` with the YCbCr histograms of ``target``, channel by channel; uint8 (H, W, 3) both.

    A value's rank is the share of pixels below it and half of those that equal it; it becomes the target's value of the
    same rank, between those that the target has by linear interpolation. scikit-image's `match_histograms` is the same
    where no two pixels are equal. It counts all equal ones as below, though, so that a constant image gets the highest
    value of every channel; with middle ranks it gets the medians.
    """
    levels, wanted = ((ycbcr(each) + _GRID // 2) // _GRID for each in (image, target))
    matched = [
        _matched(values, others) * _GRID - offset
        for values, others, offset in zip(levels, wanted, _OFFSETS, strict=True)
    ]
    rgb = [sum(part * weight for part, weight in zip(matched, row, strict=True)) for row in _INVERSE.tolist()]
    whole = (2 * np.stack(rgb, axis=-1) + _DETERMINANT) // (2 * _DETERMINANT)
    return np.clip(whole, 0, 255).astype(np.uint8)


def _matched(values: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.int64]:
    """One channel with the distribution of another, both in whole numbers from 0 on."""
    mine, ranks = _middle_ranks(values)
    theirs, knots = _middle_ranks(target)
    # Ranks are counted in half pixels: brought to the same number of pixels.
    common = math.gcd(values.size, target.size)
    ranks, knots = ranks * (target.size // common), knots * (values.size // common)
    last = len(knots) - 1
    above = np.clip(np.searchsorted(knots, ranks), min(1, last), last)
    below = np.maximum(above - 1, 0)
    # Beyond the first and the last there is nothing; a constant target has only one.
    along, width = np.clip(ranks, knots[0], knots[-1]) - knots[below], np.maximum(knots[above] - knots[below], 1)
    table = np.zeros(mine[-1] + 1, np.int64)
    table[mine] = theirs[below] + (2 * (theirs[above] - theirs[below]) * along + width) // (2 * width)
    return table[values]


def _middle_ranks(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different values, ascending, and twice the number of pixels below each plus the number that equal it."""
    counts = np.bincount(values.ravel())
    found = np.flatnonzero(counts)
    return found, 2 * np.cumsum(counts[found]) - counts[found]


def match_all(images: Iterable[Pixels], targets: Iterable[Pixels], threads: int, label: str) -> Pixels:
    """`match` of each image with the target beside it: uint8 (N, H, W, 3)."""
    return np.stack(list(_in_threads(match, list(zip(images, targets, strict=True)), threads, label)))


def _in_threads(function, arguments: Sequence[tuple], threads: int, label: str) -> Iterator:  # type: ignore[no-untyped-def]  # noqa: ANN001
    with ThreadPoolExecutor(threads) as pool, Progress(len(arguments), label, "image") as progress:
        for result in pool.map(lambda each: function(*each), arguments):
            progress.advance()
            yield result
