"""The paper's first control: give each generated image the colours of the real image whose colours are distributed most alike.

Colours are compared and matched in YCbCr, channel by channel (paper, section 3.4), both by scikit-image.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2ycbcr, ycbcr2rgb
from skimage.exposure import match_histograms

from nepotism.images import Pixels
from nepotism.progress import Progress

Direction = Literal["generated_to_real", "real_to_generated"]

# Lowest and highest value of Y, Cb and Cr as scikit-image scales them.
RANGES = ((16.0, 235.0), (16.0, 240.0), (16.0, 240.0))


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
        for channel, ((low, high), values) in enumerate(zip(RANGES, np.moveaxis(rgb2ycbcr(image), -1, 0), strict=True)):
            index = ((values.ravel() - low) * (bins / (high - low))).astype(np.int64)
            shares[channel] = np.bincount(np.clip(index, 0, bins - 1), minlength=bins)
        return shares / values.size

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


def match(image: Pixels, target: Pixels) -> Pixels:
    """``image`` with the YCbCr histograms of ``target``, channel by channel; uint8 (H, W, 3) both.

    In floating point up to the end: on uint8, scikit-image would truncate, and colours drift down.
    """
    matched = match_histograms(rgb2ycbcr(image), rgb2ycbcr(target), channel_axis=-1)
    return np.rint(np.clip(ycbcr2rgb(matched), 0, 1) * 255).astype(np.uint8)


def match_all(images: Iterable[Pixels], targets: Iterable[Pixels], threads: int, label: str) -> Pixels:
    """`match` of each image with the target beside it: uint8 (N, H, W, 3)."""
    return np.stack(list(_in_threads(match, list(zip(images, targets, strict=True)), threads, label)))


def _in_threads(function, arguments: Sequence[tuple], threads: int, label: str) -> Iterator:  # type: ignore[no-untyped-def]  # noqa: ANN001
    with ThreadPoolExecutor(threads) as pool, Progress(len(arguments), label, "image") as progress:
        for result in pool.map(lambda each: function(*each), arguments):
            progress.advance()
            yield result
