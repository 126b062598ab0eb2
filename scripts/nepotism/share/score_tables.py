"""Tables of scores as arrays, for comparisons of hundreds of thousands of rows in a moment."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from nepotism.data.tables import BLOCK_COLUMNS, COLUMNS
from nepotism.runtime.errors import UserError

# What names a score, whatever the replicate and whatever the experiment is called.
WHAT = ("control", "ratio", "iteration", "set", "features", "metric")
# Stands in no name.
_BETWEEN = "\x1f"


@dataclass(frozen=True)
class Scores:
    """The rows of tables/metrics.csv, and of tables/jackknife.csv beside it.

    Attributes:
        what: the columns `WHAT` of each row, as one text.
        seed, value, sd, se, n: columns; what is empty is nan.
        first: where in ``left_out`` and ``without`` the blocks of a row begin.
        blocks: how many it has; 0 where it has none.
        left_out, without: of every block, how many images it has, and the value without these.
    """

    what: pa.Array
    seed: NDArray[np.int64]
    value: NDArray[np.float64]
    sd: NDArray[np.float64]
    se: NDArray[np.float64]
    n: NDArray[np.int64]
    first: NDArray[np.int64]
    blocks: NDArray[np.int64]
    left_out: NDArray[np.int64]
    without: NDArray[np.float64]


def read_scores(folder: Path) -> Scores:
    """The scores of an experiment; without tables/jackknife.csv, no row has blocks.

    Args:
        folder: its results.

    Raises:
        UserError: if its table is not there, or is no table of scores.
    """
    path = folder / "tables" / "metrics.csv"
    if not path.is_file():
        raise UserError(f"there is no {path}; give the results of an experiment that has run, such as results/faces")
    table = _read(path, COLUMNS)
    what, seed = _what(table), _column(table, "seed", np.int64)
    first, blocks = np.zeros(len(seed), np.int64), np.zeros(len(seed), np.int64)
    left_out, without = np.zeros(0, np.int64), np.zeros(0)
    beside = path.with_name("jackknife.csv")
    if beside.is_file():
        lines = _read(beside, BLOCK_COLUMNS)
        left_out, without = _column(lines, "left_out", np.int64), _column(lines, "value", np.float64)
        # Blocks of one score follow each other.
        begins = np.flatnonzero(_column(lines, "block", np.int64) == 0)
        heads = lines.take(pa.array(begins))
        names = pc.binary_join_element_wise(_what(heads), heads["seed"].combine_chunks(), _BETWEEN)
        mine = pc.binary_join_element_wise(what, table["seed"].combine_chunks(), _BETWEEN)
        found = pc.index_in(names, value_set=mine)
        if found.null_count:
            raise UserError(f"{beside} has scores that {path} has not; delete both tables to regenerate them")
        rows = found.to_numpy(zero_copy_only=False)
        first[rows], blocks[rows] = begins, np.diff(begins, append=len(without))
    value, sd, se = (_column(table, name, np.float64) for name in ("value", "sd", "se"))
    return Scores(what, seed, value, sd, se, _column(table, "n", np.int64), first, blocks, left_out, without)


def parts(what: str) -> dict[str, str]:
    """The columns `WHAT` of a row's name."""
    return dict(zip(WHAT, what.split(_BETWEEN), strict=True))


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    numbers = {"value": pa.float64(), "sd": pa.float64(), "se": pa.float64()}
    types = {name: numbers.get(name, pa.string()) for name in columns}
    options = csv.ConvertOptions(column_types=types, include_columns=list(columns), strings_can_be_null=False)
    try:
        return csv.read_csv(path, convert_options=options)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise UserError(f"{path} is no table of scores: {error}; delete it to regenerate it") from None


def _what(table: pa.Table) -> pa.Array:
    return pc.binary_join_element_wise(*(table[name].combine_chunks() for name in WHAT), _BETWEEN)


def _column(table: pa.Table, name: str, kind: type) -> NDArray:
    column = table[name]
    if pa.types.is_string(column.type):
        column = pc.cast(column, pa.int64())
    return np.asarray(column.to_numpy(), kind)
