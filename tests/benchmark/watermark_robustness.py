"""Whether the watermark of images is found again after what images go through, and how much it changes them.

    python tests/benchmark/watermark_robustness.py results/faces/reference/real.parquet --model resources/tiny-diffusion

Each image is marked with each of some keys. AUC: of the correlations with the mark, marked images against unmarked ones that
went through the same. Without `--model`, no image goes through an autoencoder.
"""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from nepotism.data import watermark
from nepotism.data.images import read_image_set

Pixels = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="image set without a mark")
    parser.add_argument("--model", type=Path, help="folder of a pipeline, whose autoencoder images go through")
    parser.add_argument("--strength", type=float, default=3.0, help="root mean square of the pattern in grey levels")
    parser.add_argument("--keys", type=int, default=10, help="how many keys are tried")
    parser.add_argument("--false-positive-rate", type=float, default=0.01)
    chosen = parser.parse_args()
    original = read_image_set(chosen.images).pixels
    marked = [watermark.mark(original, key, chosen.strength) for key in range(chosen.keys)]
    decibels = np.concatenate([psnr(original, each) for each in marked])
    size = f"{original.shape[1]} x {original.shape[2]} pixels"
    print(f"{len(original)} images of {size}, {chosen.keys} keys, strength {chosen.strength:g}")
    print(f"PSNR: mean {decibels.mean():.2f} dB, least {decibels.min():.2f} dB")
    rate = f"found at {chosen.false_positive_rate:.1%}"
    print(f"{'after':>16}  {'AUC':>6}  {rate:>14}  {'of unmarked':>12}  {'z':>12}  {'z of unmarked':>14}")
    for name, process in processes(chosen.model).items():
        negative = process(original)
        without = np.concatenate([watermark.detect(negative, key) for key in range(chosen.keys)])
        with_mark = np.concatenate([watermark.detect(process(each), key) for key, each in enumerate(marked)])
        least = watermark.threshold(chosen.false_positive_rate)
        print(
            f"{name:>16}  {auc(with_mark, without):>6.3f}  {(with_mark > least).mean():>14.3f}  {(without > least).mean():>12.3f}"
            f"  {spread(with_mark):>12}  {spread(without):>14}",
            flush=True,
        )


def processes(model: Path | None) -> dict[str, Callable[[Pixels], Pixels]]:
    """What happens to images, by name: uint8 (N, H, W, 3) each."""
    found: dict[str, Callable[[Pixels], Pixels]] = {"nothing": lambda pixels: pixels}
    found |= {f"JPEG {quality}": each(lambda image, q=quality: jpeg(image, q)) for quality in (90, 75, 50)}
    found |= {
        "half and back": each(resized),
        "blur of 1 pixel": each(lambda image: image.filter(ImageFilter.GaussianBlur(1))),
    }
    if model is not None:
        from nepotism.families.diffusion.latents import round_trip
        from nepotism.families.diffusion.pipeline import load_vae

        autoencoder = load_vae(model, "fp32")
        found["autoencoder"] = lambda pixels: round_trip(autoencoder, pixels)
    return found


def each(process: Callable[[Image.Image], Image.Image]) -> Callable[[Pixels], Pixels]:
    return lambda pixels: np.stack([np.asarray(process(Image.fromarray(image))) for image in pixels])


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(image: Image.Image) -> Image.Image:
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    return half.resize(image.size, Image.Resampling.BICUBIC)


def psnr(one: Pixels, other: Pixels) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each image in dB."""
    error = ((one.astype(np.float64) - other) ** 2).mean((1, 2, 3))
    return np.asarray(10 * np.log10(255**2 / error))


def auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Chance that a marked image has the higher correlation: the rank sum of Mann and Whitney."""
    ranks = np.concatenate([positive, negative]).argsort().argsort() + 1
    least = len(positive) * (len(positive) + 1) / 2
    return float((ranks[: len(positive)].sum() - least) / (len(positive) * len(negative)))


def spread(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.2f} ± {values.std():.2f}"


if __name__ == "__main__":
    main()
