"""Handwritten digits: scikit-learn's, or MNIST's in IDX files or Parquet. Nothing is unpickled."""

import gzip
import io
import logging
import math
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nepotism.data.images import Pixels, digest
from nepotism.data.user_files import by_split, check_readable, first_names, read_bytes, visible_files
from nepotism.data.user_images import ImageError, read_rgb
from nepotism.families.vae import CLASSES
from nepotism.runtime.errors import UserError
from nepotism.sources.splits import split_by_digest

logger = logging.getLogger(__name__)

Labels = NDArray[np.int64]
# The networks halve an image twice.
DIVISOR = 4
# IDX: two zero bytes, the type of the numbers (8: unsigned bytes), and how many dimensions there are.
_IMAGES_MAGIC, _LABELS_MAGIC = 0x00000803, 0x00000801
# Files are called <stem>-images-idx3-ubyte, <stem>-images.idx3-ubyte and so on, whatever is or was compressed.
_IMAGES_NAME, _LABELS_NAME = (
    re.compile(rf"(?P<stem>.*?)[-.]?{kind}[-.]ubyte(\.gz)?") for kind in ("images[-.]idx3", "labels[-.]idx1")
)
_GZIP = b"\x1f\x8b"
# Far more than MNIST has: what a damaged header may not make us read.
_LARGEST = 2**31


def read_digits(source: str) -> tuple[Pixels, Labels]:
    """Digits, bright on dark.

    Args:
        source: ``digits`` for scikit-learn's 1,797 of 8 x 8 pixels; a folder of IDX files as MNIST is published,
            ``<name>-images-idx3-ubyte`` with ``<name>-labels-idx1-ubyte``, also ``.gz``, with a dot instead of a hyphen, or
            in folders of their own; a Parquet file, or a folder of such files, with columns ``image`` and ``label`` as the hub
            stores MNIST. A split has one file, or parts of one (`user_files.by_split`); all splits are taken.

    Returns:
        uint8 (N, side, side) and labels 0 to 9.

    Raises:
        UserError: naming the file, what was found in it and what was expected.
    """
    if source == "digits":
        from sklearn.datasets import load_digits

        data = load_digits()
        return np.round(data.images * (255 / 16)).astype(np.uint8), data.target
    path = Path(source)
    parts = [_parquet(path)] if path.is_file() else _folder(path)
    if len({images.shape[1:] for images, _ in parts}) > 1:
        raise UserError(f"{source}: its files hold images of different sizes; keep those of one data set there")
    images, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    height, width = images.shape[1:]
    if height != width or height % DIVISOR:
        raise UserError(
            f"{source}: images of {width} x {height}; expected squares whose side is a multiple of {DIVISOR}"
        )
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise UserError(f"{source}: labels from {labels.min()} to {labels.max()}; expected 0 to {CLASSES - 1}")
    return images, labels


def split(images: Pixels, labels: Labels, sizes: Mapping[str, int]) -> dict[str, tuple[Pixels, Labels]]:
    """Deal the digits by content: disjoint, without duplicates, and independent of the order of files.

    Raises:
        UserError: if there are too few.
    """
    dealt = split_by_digest([digest(image) for image in images], sizes)
    short = {name: len(dealt[name]) for name, size in sizes.items() if len(dealt[name]) < size}
    if short:
        wanted = " + ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(
            f"`vae.split`: {wanted} are more than the {sum(map(len, dealt.values()))} different digits there are"
        )
    return {name: (images[chosen], labels[chosen]) for name, chosen in dealt.items()}


def _folder(folder: Path) -> list[tuple[Pixels, Labels]]:
    """Images and labels of every split of a folder."""
    there = visible_files(folder)
    images = [path for path in there if _IMAGES_NAME.fullmatch(path.name)]
    tables = [path for path in there if path.suffix == ".parquet"]
    if images and tables:
        raise UserError(
            f"`vae.data`: {folder} has {first_names(images[:1] + tables[:1], folder)}; give the folder of one data set"
        )
    if images:
        return _idx(folder, images, [path for path in there if _LABELS_NAME.fullmatch(path.name)])
    by_split(folder, tables, "`vae.data`")
    if not tables:
        holds = f"; it holds {first_names(there, folder)}" if there else ""
        raise UserError(
            f"`vae.data`: {folder} is neither `digits` nor a Parquet file nor a folder with *-images-idx3-ubyte or *.parquet"
            f"{holds}; give the path of one"
        )
    return [_parquet(table) for table in tables]


def _idx(folder: Path, images: Sequence[Path], labels: Sequence[Path]) -> list[tuple[Pixels, Labels]]:
    stems = {_stem(path, _IMAGES_NAME): path for path in reversed(images)}
    # A split may be there several times: packed and unpacked, or beside a folder of its own. Then it must be the same.
    by_split(folder, list(stems.values()), "`vae.data`")
    parts = []
    if alone := [path for path in labels if _stem(path, _LABELS_NAME) not in stems]:
        logger.warning(
            "warning: the images of %d files of labels are not in %s; they are left out: %s",
            len(alone), folder, first_names(alone, folder),
        )  # fmt: skip
    for stem, first in sorted(stems.items()):
        pixels = _same([path for path in images if _stem(path, _IMAGES_NAME) == stem], _IMAGES_MAGIC)
        belonging = [path for path in labels if _stem(path, _LABELS_NAME) == stem]
        if not belonging:
            raise UserError(
                f"{first}: the labels that belong to it, {stem}-labels-idx1-ubyte, are not in {folder}; labels there: "
                f"{first_names(labels, folder) or 'none'}"
            )
        classes = _same(belonging, _LABELS_MAGIC)
        if len(pixels) != len(classes):
            raise UserError(f"{belonging[0]}: {len(classes)} labels, but {first.name} has {len(pixels)} images")
        parts.append((pixels, classes.astype(np.int64)))
    return parts


def _stem(path: Path, pattern: re.Pattern[str]) -> str:
    found = pattern.fullmatch(path.name)
    assert found is not None
    return found["stem"]


def _same(paths: Sequence[Path], magic: int) -> NDArray[np.uint8]:
    """The content of a file that may be there several times."""
    first = read_idx(paths[0], magic)
    for path in paths[1:]:
        if not np.array_equal(first, read_idx(path, magic)):
            raise UserError(
                f"`vae.data`: {paths[0]} and {path} have the same name and hold different data; give the folder of one data set"
            )
    return first


def read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, also compressed by gzip, whether its name says so or not.

    Args:
        path: of the file.
        magic: its first four bytes; the last of them is the number of dimensions.

    Raises:
        UserError: if magic number, sizes or length are others than they must be.
    """
    packed = read_bytes(path)
    try:
        # One byte more than may be there tells a file that is too long.
        with gzip.open(io.BytesIO(packed)) if packed.startswith(_GZIP) else io.BytesIO(packed) as file:
            header = file.read(4 + 4 * (magic & 0xFF))
            if len(header) < 4 + 4 * (magic & 0xFF):
                raise UserError(f"{path}: it ends within its header; it is no IDX file, or damaged")
            found, *shape = struct.unpack(f">{1 + (magic & 0xFF)}I", header)
            if found != magic:
                raise UserError(f"{path}: it begins with {found:#010x}, an IDX file of this kind with {magic:#010x}")
            size = math.prod(shape)
            if size > _LARGEST or 0 in shape:
                raise UserError(f"{path}: its header says {' x '.join(map(str, shape))} bytes; it is damaged")
            data = file.read(size + 1)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path}: it is no whole gzip file ({error}); download it again") from None
    if len(data) != size:
        raise UserError(
            f"{path}: its header says {size} bytes, but there are {'more' if len(data) > size else len(data)}"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _parquet(path: Path) -> tuple[Pixels, Labels]:
    check_readable(path)
    try:
        # Of this file alone: read_table takes names of folders, such as split=1, for columns.
        with pq.ParquetFile(path) as file:
            table = file.read(["image", "label"]).select(["image", "label"])
    except (pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path}: expected a Parquet file with columns image and label ({error})") from None
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error})") from None
    if len(table) == 0:
        raise UserError(f"{path}: it has no rows")
    if not pa.types.is_integer(table.schema.field("label").type) or table["label"].null_count:
        raise UserError(
            f"{path}: its column label is {table.schema.field('label').type}; expected whole numbers, without gaps"
        )
    images = []
    for number, cell in enumerate(table["image"].to_pylist()):
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(data, bytes):
            raise UserError(f"{path}: row {number} of its column image holds no bytes of a picture")
        try:
            images.append(np.array(read_rgb(data, f"{path} row {number}", background=None).convert("L")))
        except ImageError as error:
            raise UserError(f"{path}: the image of row {number} cannot be opened ({error})") from None
    if len({image.shape for image in images}) > 1:
        raise UserError(f"{path}: its images are of different sizes; expected one size")
    return np.stack(images), np.array(table["label"], np.int64)
