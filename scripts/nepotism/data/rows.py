"""Rows that are no images: vectors and texts with the provenance columns of an image set, one Parquet table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nepotism.data.images import RECORD_FIELDS, Record
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import atomic_write

# What a row is: the name of its column, and the type of that.
Kind = Literal["vector", "text"]


def rows_table(kind: Kind, values: NDArray[Any] | Sequence[str], records: Sequence[Record]) -> pa.Table:
    """Rows as a table: the columns of `Record`, and one named after their kind.

    Args:
        kind: of the rows.
        values: vectors as float64 (N, d), or N texts.
        records: N rows of provenance.

    Raises:
        ValueError: if the numbers of values and records differ, or ids repeat.
    """
    if len(values) != len(records):
        raise ValueError(f"{len(values)} values but {len(records)} rows")
    if len({record.id for record in records}) != len(records):
        raise ValueError("ids of rows must be unique")
    columns = {
        field.name: pa.array([getattr(record, field.name) for record in records], field.type) for field in RECORD_FIELDS
    }
    if isinstance(values, np.ndarray):
        flat = pa.array(values.astype(np.float64, copy=False).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    else:
        column = pa.array(values, pa.string())
    return pa.table({**columns, kind: column})


def write_rows(path: Path, table: pa.Table) -> None:
    """Write rows, whole or not at all."""
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_rows(path: Path, kind: Kind) -> pa.Table:
    """The values of a file of rows, with the groups and iterations of their records.

    Raises:
        UserError: if it holds rows of another kind, or none.
    """
    try:
        return pq.read_table(path, columns=[kind, "group", "iteration"])
    except (pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path}: it holds no rows of the kind {kind} ({error}); delete it to regenerate it") from None


def vectors(table: pa.Table) -> NDArray[np.float64]:
    """The column ``vector`` as float64 (N, d)."""
    column = table["vector"].combine_chunks()
    return np.asarray(column.flatten()).reshape(len(table), -1)
