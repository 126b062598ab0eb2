"""The manifest of a chunk of generations: what each was fitted to, and what a control made of that."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nepotism.chain.slots import Source
from nepotism.runtime.files import atomic_write

PLAN_SCHEMA = pa.schema(
    [
        ("iteration", pa.int64()),
        ("origin", pa.string()),
        ("source_iteration", pa.int64()),
        ("draw", pa.int64()),
        ("rows", pa.int64()),
        ("slots", pa.list_(pa.int32())),
    ]
)


# Where a control judged the rows of a mixture: what it made of each, in the order of the slots.
VERDICTS_SCHEMA = pa.schema(
    [
        *PLAN_SCHEMA,
        ("confidence", pa.list_(pa.float64())),
        ("flagged", pa.list_(pa.uint8())),
        ("times", pa.list_(pa.uint8())),
        ("stand_in", pa.list_(pa.uint8())),
    ]
)


def write_plans(
    path: Path,
    plans: Mapping[int, Sequence[Source]],
    slots: int,
    verdicts: Mapping[int, Mapping[str, NDArray[Any]]] | None = None,
) -> None:
    """Write the manifest of a chunk: a row per generation and source of its training set, with the slots taken from it.

    Where all ``slots`` are taken, none is listed. ``verdicts`` are what became of the rows of a mixture, in the order of sources
    and slots.
    """
    schema = VERDICTS_SCHEMA if verdicts else PLAN_SCHEMA
    rows: list[dict[str, Any]] = [
        {
            "iteration": iteration,
            "origin": source.origin,
            "source_iteration": source.iteration,
            "draw": source.draw,
            "rows": len(source.slots),
            "slots": None if len(source.slots) == slots else source.slots.tolist(),
        }
        for iteration, sources in plans.items()
        for source in sources
    ]
    for iteration, became in (verdicts or {}).items():
        mine = [row for row in rows if row["iteration"] == iteration]
        ends = np.cumsum([row["rows"] for row in mine])
        for name, column in became.items():
            for row, part in zip(mine, np.split(column, ends[:-1]), strict=True):
                row[name] = part.tolist()
    with atomic_write(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary, compression="zstd")
