"""Colour statistics of single images."""

import numpy as np
from numpy.typing import NDArray

# ITU-R BT.601, as in the YCbCr of JPEG and of the paper's colour matching.
LUMA = np.array([0.299, 0.587, 0.114])


def saturation(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean HSV saturation of each image, (max - min) / max over the channels and 0 for black: float64 (N,) in [0, 1].

    Args:
        pixels: uint8 (N, H, W, 3) RGB.
    """
    # Image by image: in floating point a large set would not fit into memory.
    return np.array([_saturation(image) for image in pixels])


def _saturation(image: NDArray[np.uint8]) -> np.float64:
    high = image.max(-1).astype(np.float64)
    return np.float64(((high - image.min(-1)) / np.maximum(high, 1)).mean())


def contrast(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Standard deviation of each image's luma (RMS contrast): float64 (N,) in [0, 0.5].

    Args:
        pixels: uint8 (N, H, W, 3) RGB.
    """
    return np.array([(image @ LUMA / 255).std() for image in pixels])
