"""A watermark for images: spread spectrum (Cox et al. 1997), in the low middle frequencies of the luminance.

To every block of 8 x 8 pixels is added a sum of three cosines, the DCT coefficients (0, 1), (1, 0) and (1, 1), each with a sign
that the key decides and of one strength throughout. The detector correlates these signs with the coefficients of an image,

    z = sum s_i g(c_i) / sqrt(sum g(c_i)^2),    g clipping to +-5.

Over keys, z of any image that does not know them has mean 0 and variance 1, and is normal for more than a few blocks: the
images give the scale, and nothing is assumed of them. For one key, images that share a layout share a deviation, too: of
drawn portraits, the mean of z deviates by 0.15 (one sd over keys), of digits by 0.4. Compare with unmarked images of the same kind.

Blocks, because in most of them an image is smooth and its coefficients small: clipping, which is the locally optimal detector's
way with heavy tails (Hernandez et al. 2000), lets those decide. In 64 x 64 pixels z is 7 on average, against 2.5 of the plain correlation
and of a transform of the whole image. Blocks of 8 are JPEG's own. The frequencies, 0.06 to 0.09 cycles a pixel, are the highest that an
autoencoder which shrinks images 8 times lets through; higher ones are found as easily, and are gone after it
(tests/benchmark/watermark_robustness.py). What a latent model is to learn has to pass it. z grows with the width of the image.

An image must have the size, and lie, as when it was marked: the signs belong to places.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from scipy.special import ndtri

from nepotism.runtime import streams

BLOCK = 8
# The coefficients of a block that carry the mark: their rows, and their columns.
MARKED = ((0, 1, 1), (1, 0, 1))
# Where coefficients are clipped, in grey levels; an orthonormal coefficient is 8 times the mean of what it stands for.
CLIPPED = 5.0
# Luma of ITU-R BT.601, in thousandths: whole numbers, whose sums are exact.
LUMA = np.array([299, 587, 114])

Pixels = NDArray[np.uint8]


def mark(pixels: Pixels, key: int | str, strength: float) -> Pixels:
    """Images with the mark of ``key``. The same whole numbers are added to red, green and blue, and clipped to 0 and 255.

    So the error of an image is at most that of the pattern, whose PSNR is 48.1 - 20 log10(strength) dB. The pattern is computed in
    float64 and rounded once; images are whole numbers from there on, and so the same on every machine.

    Args:
        pixels: uint8 (N, H, W, 3) RGB. What H and W exceed a multiple of 8 by stays as it is.
        key: number or word; 7 and "7" are the same.
        strength: root mean square of the pattern in grey levels, above 0.

    Returns:
        uint8 (N, H, W, 3).
    """
    added = pattern(pixels.shape[1], pixels.shape[2], key, strength)[..., None]
    marked = np.empty_like(pixels)
    # Image by image: as int16 a large set would not fit into memory.
    for index, image in enumerate(pixels):
        marked[index] = np.clip(image + added, 0, 255)
    return marked


def pattern(height: int, width: int, key: int | str, strength: float) -> NDArray[np.int16]:
    """What `mark` adds to each channel: int16 (height, width)."""
    signs = _signs(height // BLOCK, width // BLOCK, key)
    blocks = np.zeros((*signs.shape[:2], BLOCK, BLOCK))
    # Of an orthonormal transform, squares add up to those of the pixels.
    blocks[:, :, *MARKED] = signs * strength * BLOCK / math.sqrt(signs.shape[2])
    waves = idctn(blocks, axes=(2, 3), norm="ortho").swapaxes(1, 2)
    found = np.zeros((height, width), np.int16)
    found[: waves.shape[0] * BLOCK, : waves.shape[2] * BLOCK] = np.rint(waves).reshape(waves.shape[0] * BLOCK, -1)
    return found


def detect(pixels: Pixels, key: int | str) -> NDArray[np.float64]:
    """How well each image agrees with the mark of ``key``: z, standard normal without it, and 0 where nothing can be told.

    Args:
        pixels: uint8 (N, H, W, 3) RGB.
        key: as for `mark`.

    Returns:
        float64 (N,), at most the root of three times the number of blocks; higher is surer.
    """
    signs = _signs(pixels.shape[1] // BLOCK, pixels.shape[2] // BLOCK, key)
    return np.array([_correlation(image, signs) for image in pixels], np.float64)


def threshold(false_positive_rate: float) -> float:
    """The z that this share of images without the mark exceeds, by the normal law.

    Args:
        false_positive_rate: above 0, below 1.
    """
    return -float(ndtri(false_positive_rate))


def _correlation(image: Pixels, signs: NDArray[np.int64]) -> float:
    rows, columns = signs.shape[:2]
    luma = (image[: rows * BLOCK, : columns * BLOCK] @ LUMA) / LUMA.sum()
    blocks = luma.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
    found = np.clip(dctn(blocks, axes=(2, 3), norm="ortho")[:, :, *MARKED], -CLIPPED, CLIPPED)
    scale = math.sqrt((found**2).sum())
    # An image of one colour is rounding error, if anything.
    return float((signs * found).sum()) / scale if scale > 1e-6 else 0.0


def _signs(rows: int, columns: int, key: int | str) -> NDArray[np.int64]:
    """The signs of the mark: -1 or 1, int64 (rows, columns, 3)."""
    random = streams.generator("watermark", str(key), rows, columns)
    return random.integers(0, 2, (rows, columns, len(MARKED[0]))) * 2 - 1
