"""Tables of scores of two experiments as arrays, for comparisons of hundreds of thousands of rows in a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from nepotism.data.tables import BLOCK_COLUMNS, COLUMNS
from nepotism.runtime.errors import UserError

# What names a score, whatever the replicate and whatever the experiment is called.
WHAT = ("control", "ratio", "iteration", "set", "features", "metric")


@dataclass(frozen=True)
class Scores:
    """The rows of tables/metrics.csv, and of tables/jackknife.csv beside it.

    Attributes:
        what: number of the score in `Pair.names`, the same in both experiments.
        seed, value, sd, se, n: columns; what is empty is nan.
        first: where in ``left_out`` and ``without`` the blocks of a row begin.
        blocks: how many it has; 0 where it has none.
        left_out, without: of every block, how many images it has, and the value without these.
    """

    what: NDArray[np.int64]
    seed: NDArray[np.int64]
    value: NDArray[np.float64]
    sd: NDArray[np.float64]
    se: NDArray[np.float64]
    n: NDArray[np.int64]
    first: NDArray[np.int64]
    blocks: NDArray[np.int64]
    left_out: NDArray[np.int64]
    without: NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """The scores of two experiments.

    Attributes:
        a, b: their rows.
        names: of every score that occurs in either, the columns `WHAT`, each as an array.
    """

    a: Scores
    b: Scores
    names: tuple[Sequence[str], ...]

    def __len__(self) -> int:
        return len(self.names[0])


def read_pair(a: Path, b: Path) -> Pair:
    """The scores of two experiments; without tables/jackknife.csv, no row has blocks.

    Args:
        a, b: their results.

    Raises:
        UserError: if a table is not there, or is no table of scores.
    """
    tables = [_metrics(folder) for folder in (a, b)]
    blocks = [_blocks(folder) for folder in (a, b)]
    begins = [np.flatnonzero(_numbers(each["block"]) == 0) for each in blocks]
    named = [
        *(table.select(WHAT) for table in tables),
        # Blocks of one score follow each other, so that the first of them name it.
        *(each.select(WHAT).filter(_mask(each, begun)) for each, begun in zip(blocks, begins, strict=True)),
    ]
    codes, names = _coded(pa.concat_tables(named))
    ends = np.cumsum([len(each) for each in named])
    what_a, what_b, heads_a, heads_b = np.split(codes, ends[:-1])
    return Pair(
        _scores(a, tables[0], blocks[0], what_a, heads_a, begins[0]),
        _scores(b, tables[1], blocks[1], what_b, heads_b, begins[1]),
        names,
    )


def _metrics(folder: Path) -> pa.Table:
    path = folder / "tables" / "metrics.csv"
    if not path.is_file():
        raise UserError(f"there is no {path}; give the results of an experiment that has run, such as results/faces")
    return _read(path, COLUMNS)


def _blocks(folder: Path) -> pa.Table:
    path = folder / "tables" / "jackknife.csv"
    if path.is_file():
        return _read(path, BLOCK_COLUMNS)
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in BLOCK_COLUMNS]).empty_table()


_TYPES = {
    **dict.fromkeys(("value", "sd", "se"), pa.float64()),
    **dict.fromkeys(("seed", "n", "block", "left_out"), pa.int64()),
}


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    types = {name: _TYPES.get(name, pa.string()) for name in columns}
    options = csv.ConvertOptions(column_types=types, include_columns=list(columns), strings_can_be_null=False)
    try:
        return csv.read_csv(path, convert_options=options)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise UserError(f"{path} is no table of scores: {error}; delete it to regenerate it") from None


def _mask(table: pa.Table, begins: NDArray) -> pa.Array:
    mask = np.zeros(len(table), bool)
    mask[begins] = True
    return pa.BooleanArray.from_buffers(
        pa.bool_(), len(mask), [None, pa.py_buffer(np.packbits(mask, bitorder="little"))]
    )


def _coded(table: pa.Table) -> tuple[NDArray[np.int64], tuple[Sequence[str], ...]]:
    """A number for every row, the same for equal ones and without gaps; and what each number stands for, column by column.

    Texts are never put together: Arrow would load pandas for that, where it is installed.
    """
    codes, columns = np.zeros(len(table), np.int64), []
    for name in WHAT:
        column = table[name].combine_chunks().dictionary_encode()
        index = column.indices.to_numpy().astype(np.int64)
        columns.append((index, column.dictionary.to_pylist()))
        _, codes = np.unique(codes * (len(column.dictionary) + 1) + index, return_inverse=True)
    _, first = np.unique(codes, return_index=True)
    return codes, tuple([words[each] for each in index[first]] for index, words in columns)


def _scores(folder: Path, table: pa.Table, lines: pa.Table, what: NDArray, heads: NDArray, begins: NDArray) -> Scores:
    seed, without = _numbers(table["seed"]), _numbers(lines["value"])
    first, blocks = np.zeros(len(seed), np.int64), np.zeros(len(seed), np.int64)
    if len(begins):
        head_seeds = _numbers(lines["seed"])[begins]
        most = 1 + max(int(seed.max(initial=0)), int(head_seeds.max()))
        mine, theirs = what * most + seed, heads * most + head_seeds
        order = np.argsort(mine)
        rows = (
            order[np.searchsorted(mine, theirs, sorter=order).clip(max=max(len(mine) - 1, 0))] if len(mine) else order
        )
        if not len(mine) or (mine[rows] != theirs).any():
            tables = folder / "tables"
            raise UserError(
                f"{tables / 'jackknife.csv'} has scores that {tables / 'metrics.csv'} has not; delete both to regenerate them"
            )
        first[rows], blocks[rows] = begins, np.diff(begins, append=len(without))
    value, sd, se, n = (_numbers(table[name]) for name in ("value", "sd", "se", "n"))
    return Scores(what, seed, value, sd, se, n, first, blocks, _numbers(lines["left_out"]), without)


def _numbers(column: pa.ChunkedArray) -> NDArray:
    return np.asarray(column.to_numpy())
