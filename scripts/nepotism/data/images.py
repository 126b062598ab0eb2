"""Image sets: one Parquet table of PNG images, each row saying where it came from.

The schema carries Hugging Face metadata, so ``datasets.load_dataset("parquet", data_files=...)`` decodes the column
``image``. A manifest is the same table without pixels, plus the file that each row is read from.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from nepotism.runtime.errors import UserError
from nepotism.runtime.files import atomic_write

Pixels = NDArray[np.uint8]
Origin = Literal["real", "generated"]


@dataclass(frozen=True)
class Record:
    """Provenance of one image: a row of an image set without its pixels.

    Attributes:
        id: unique name of the image within the experiment: it stands for one set of pixels.
        prompt: the caption it was drawn, photographed or generated for.
        group: prompt category.
        slot: ``<group>/<index in group>``; pairs a real image with the generated one that replaces it.
        origin: ``real`` or ``generated``.
        iteration: of the model that made it; 0 for the base model and for real images.
        parents: ids of the images it was made from (the img2img source, a histogram's target, the image that it is a copy
            of). Following them ends at real images, or at images that were drawn from noise and have none.
        model: digest of the weights that made it; empty for real images.
        rng: name of the random stream it was made from.
        sha256: of its pixels (height, width and RGB bytes), filled in when the set is written.
    """

    id: str
    prompt: str
    group: str
    slot: str
    origin: Origin
    iteration: int = 0
    parents: tuple[str, ...] = field(default=())
    model: str = ""
    rng: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class ImageSet:
    """Images in memory: ``pixels`` is uint8 (N, H, W, 3) RGB, ``records`` their N rows of provenance."""

    pixels: Pixels
    records: list[Record]


_TYPES = {str: pa.string(), int: pa.int64(), tuple[str, ...]: pa.list_(pa.string()), Origin: pa.string()}
RECORD_FIELDS = [pa.field(entry.name, _TYPES[entry.type]) for entry in fields(Record)]
_IMAGE_FIELD = pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))
_HUGGING_FACE = {"info": {"features": {"image": {"_type": "Image"}, **{
    f.name: ({"_type": "List", "feature": {"_type": "Value", "dtype": "string"}} if pa.types.is_list(f.type)
             else {"_type": "Value", "dtype": str(f.type)})
    for f in RECORD_FIELDS
}}}}  # fmt: skip
IMAGE_SCHEMA = pa.schema(
    [RECORD_FIELDS[0], _IMAGE_FIELD, *RECORD_FIELDS[1:]], metadata={"huggingface": json.dumps(_HUGGING_FACE)}
)
MANIFEST_SCHEMA = pa.schema([*RECORD_FIELDS, pa.field("file", pa.string())])


def digest(pixels: Pixels) -> str:
    """SHA-256 of one image's shape and RGB bytes: equal exactly when the pictures are."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def encode_png(pixels: Pixels) -> bytes:
    """One uint8 (H, W, 3) image as PNG bytes. Compression level 1: five times faster, a few percent larger."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode(data: bytes) -> Pixels:
    """Image bytes as uint8 (H, W, 3)."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def write_image_set(path: Path | str, pixels: Pixels, records: Sequence[Record]) -> None:
    """Write an image set, whole or not at all.

    Args:
        path: the Parquet file.
        pixels: uint8 (N, H, W, 3).
        records: N rows; their ``sha256`` is computed here.

    Raises:
        ValueError: if the numbers of images and rows differ, ids repeat, or an image is its own parent.
    """
    table = image_table(pixels, records)
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="none", use_dictionary=False)


def image_table(pixels: Pixels, records: Sequence[Record]) -> pa.Table:
    """Images and their provenance as `write_image_set` stores them; arguments and errors are the same."""
    if len(pixels) != len(records):
        raise ValueError(f"{len(pixels)} images but {len(records)} rows")
    if len({record.id for record in records}) != len(records):
        raise ValueError("ids of an image set must be unique")
    if own := [record.id for record in records if record.id in record.parents]:
        raise ValueError(f"{own[0]} is named as its own parent")
    rows = [
        {**asdict(record), "sha256": digest(image), "image": {"bytes": encode_png(image), "path": record.slot + ".png"}}
        for image, record in zip(pixels, records, strict=True)
    ]
    return pa.Table.from_pylist(rows, IMAGE_SCHEMA)


def read_image_set(path: Path | str, slots: set[str] | None = None) -> ImageSet:
    """Read an image set; with ``slots``, only the rows of those slots.

    Raises:
        ValueError: if a picture's pixels do not have the digest that its row records.
    """
    table = _table(path)
    if slots is not None:
        table = table.filter(pa.array([slot in slots for slot in table["slot"].to_pylist()], pa.bool_()))
    return images_of(table, str(path))


def images_of(table: pa.Table, name: str) -> ImageSet:
    """The images of a table that `image_table` made, read from the file ``name``.

    Raises:
        ValueError: if a picture's pixels do not have the digest that its row records.
    """
    pixels, records = [], []
    for row in table.to_pylist():
        image = decode(row["image"]["bytes"])
        if digest(image) != row["sha256"]:
            raise ValueError(f"{name}: the pixels of {row['id']} do not match their recorded sha256; delete the file")
        pixels.append(image)
        records.append(_record(row))
    return ImageSet(np.stack(pixels) if pixels else np.empty((0, 0, 0, 3), np.uint8), records)


def read_records(path: Path | str) -> list[Record]:
    """The provenance of an image set or a manifest, without reading any pixels."""
    names = [entry.name for entry in fields(Record)]
    return [_record(row) for row in _table(path, columns=names).to_pylist()]


def write_manifest(path: Path | str, records: Sequence[Record], files: Sequence[str]) -> None:
    """Write a manifest: one row per record, with the file that its image is read from."""
    rows = [{**asdict(record), "file": file} for record, file in zip(records, files, strict=True)]
    with atomic_write(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), temporary)


def read_manifest(path: Path | str) -> list[tuple[Record, str]]:
    """The rows of a manifest, each with the file that its image is read from."""
    return [(_record(row), row["file"]) for row in _table(path).to_pylist()]


def _table(path: Path | str, columns: list[str] | None = None) -> pa.Table:
    # pq.read_table would import pyarrow.dataset, which takes longer than most of what is read here.
    try:
        with pq.ParquetFile(path) as file:
            missing = {each.name for each in RECORD_FIELDS} - set(file.schema_arrow.names)
            if not missing:
                return file.read(columns)
            reason = f"it has no column {', '.join(sorted(missing))}"
    except pa.ArrowInvalid as error:
        reason = str(error)
    raise UserError(f"{path}: it is no image set ({reason}); delete it to regenerate it")


def contact_sheet(path: Path | str, images: ImageSet, thumbnail: int = 96) -> None:
    """Write a PNG of all images: one column per group, in slot order; images larger than ``thumbnail`` shrink to it.

    Of no images it is a single white picture.
    """
    columns: dict[str, list[Pixels]] = {}
    for image, record in zip(images.pixels, images.records, strict=True):
        columns.setdefault(record.group, []).append(image)
    side = min(thumbnail, images.pixels.shape[1])
    size = (max(side * len(columns), side), side * max(map(len, columns.values()), default=1))
    sheet = Image.new("RGB", size, "white")
    for x, column in enumerate(columns.values()):
        for y, image in enumerate(column):
            sheet.paste(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS), (x * side, y * side))
    with atomic_write(path) as temporary:
        sheet.save(temporary, compress_level=1)


def _record(row: dict) -> Record:
    values = {entry.name: row[entry.name] for entry in fields(Record)}
    return Record(**{**values, "parents": tuple(values["parents"])})
