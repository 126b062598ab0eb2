"""Pictures that users bring: one reader, for every source and every classifier."""

import logging
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from nepotism.runtime.errors import UserError
from nepotism.runtime.files import POINTER_ADVICE, head_of, is_pointer

logger = logging.getLogger(__name__)

# Formats whose greys of 16 bits Pillow gives from 0 to 65535, whatever depth the file says.
_SIXTEEN_BITS = ("PNG", "PPM", "JPEG2000")
# What these hold beside the picture are layers and previews of it.
_ONE_PICTURE = ("PSD", "MPO")


class ImageError(UserError):
    """Why a picture cannot be read as it was meant, in one line without its name."""


def read_rgb(source: Path | bytes, name: str, background: str | None = "white") -> Image.Image:
    """Open a picture of any format that Pillow reads, as 8-bit RGB and upright.

    The range of values follows from the type that the file declares, never from the values of the picture:

    - 8 bits and less, palettes, black and white: 0 to 255, as Pillow gives them;
    - whole greys of 12 or 16 bits: 0 is black, the largest number of that type white (TIFF may say that 0 is white), rounded
      to the nearest of 256; of colours in 16 bits Pillow keeps the upper 8;
    - floating point: 0 is black and 1 white; a picture with other values is refused;
    - whole numbers with a sign, or of 32 bits: refused, for no one knows which of them is white.

    CMYK, YCbCr and L*a*b* are converted as Pillow does; embedded colour profiles are not applied, as training scripts do not.
    Transparent pixels are laid on ``background``. The orientation that a camera noted is applied. Of an animation and of
    several pages, the first is taken, and the log says so.

    Args:
        source: the file, or its content.
        name: what the log calls it.
        background: colour behind transparent pixels; None refuses pictures that have such.

    Raises:
        ImageError: if it is damaged, too large, a pointer of Git LFS, of no known format, or refused by the rules above.
    """
    try:
        with Image.open(source if isinstance(source, Path) else BytesIO(source)) as opened:
            upright = ImageOps.exif_transpose(opened)
            picture = _eight_bits(upright, opened)
            if opened.format not in _ONE_PICTURE and getattr(opened, "is_animated", False):
                logger.warning("warning: %s: it has several frames or pages; the first is taken", name)
            return _flat(picture, background)
    except (ImageError, MemoryError):
        raise
    except FileNotFoundError:
        raise ImageError("there is no such file") from None
    except UnidentifiedImageError:
        head = source if isinstance(source, bytes) else head_of(source)
        raise ImageError(POINTER_ADVICE if is_pointer(head) else "it has no format that Pillow knows") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(f"it has more than {limit:,} pixels; make it smaller") from None
    except Exception as error:
        # Decoders of broken files raise whatever they please.
        raise ImageError(" ".join(f"{type(error).__name__}: {error}".split())) from None


def _flat(picture: Image.Image, background: str | None) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layers = picture.convert("RGBA")
    if background is None:
        if layers.getchannel("A").getextrema() != (255, 255):
            raise ImageError(
                "it has transparent pixels, and no one knows what is behind them; lay it on its background"
            )
        return layers.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", layers.size, background), layers).convert("RGB")


def _eight_bits(picture: Image.Image, opened: Image.Image) -> Image.Image:
    """Deep greys as 8 bits, other pictures as they are; ``opened`` still knows what the file says of its values."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture)
    white = 1.0 if picture.mode == "F" else _white(opened)
    if not (values.min() >= 0 and values.max() <= white):
        found = f"{values.min():g} to {values.max():g}" if np.isfinite(values).all() else "some that are no numbers"
        raise ImageError(
            f"its values should be 0 to {white:g}, but are {found}; scale them, or save it in 8 or 16 bits"
        )
    shares = values.astype(np.float64) / white
    if isinstance(opened, TiffImageFile) and opened.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0:
        shares = 1 - shares
    grey = Image.fromarray(np.rint(255 * shares).astype(np.uint8))
    clear = picture.info.get("transparency")
    if clear is None:
        return grey
    # PNG may call one grey transparent.
    alpha: NDArray[np.uint8] = np.where(values == clear, 0, 255).astype(np.uint8)
    return Image.merge("LA", [grey, Image.fromarray(alpha)])


def _white(opened: Image.Image) -> int:
    """The whole number that is white in a picture of deep greys.

    Raises:
        ImageError: if its type does not tell.
    """
    if isinstance(opened, TiffImageFile):
        bits, signed = opened.tag_v2.get(BITSPERSAMPLE, (1,))[0], opened.tag_v2.get(SAMPLEFORMAT, (1,))[0] == 2
        if bits in (12, 16) and not signed:
            return int(2**bits - 1)
        kind = f"{bits} bits{' with a sign' if signed else ''}"
    elif opened.format in _SIXTEEN_BITS:
        return 65535
    else:
        kind = f"more than 8 bits in the format {opened.format}"
    raise ImageError(f"whole numbers of {kind} do not tell which is white; save it in 8 or 16 bits without a sign")
