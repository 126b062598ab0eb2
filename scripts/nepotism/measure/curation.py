"""What a control did, as rows of the table of scores."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from nepotism.data.images import Record
from nepotism.data.tables import Row
from nepotism.measure.evaluation import RowKey, row_of
from nepotism.measure.scores import Estimate
from nepotism.measure.selection import selection


def curation(place: RowKey, records: Sequence[Record], slots: int, kept: Sequence[bool] | None) -> Iterable[Row]:
    """What a control did: how many different images are left for its slots, and the share of them that it accepted.

    Args:
        place: of the cell.
        records: of the images after the control; a control may leave slots empty.
        slots: how many the control was given, the ``n`` of these rows.
        kept: whether the image of each slot was kept, None for a control that keeps everything.
    """
    yield row_of(place, "curated", "", "unique_images", Estimate(len({record.sha256 for record in records}), slots))
    if kept is not None:
        yield row_of(place, "curated", "", "accepted_share", Estimate(sum(kept) / slots, slots))


def selected(place: RowKey, table: Sequence[Mapping[str, str]]) -> Iterable[Row]:
    """What a control that selects did to the scores of images; ``table`` is as `nepotism.measure.selection.selection` wants it."""
    for metric, estimate in selection(table).items():
        yield row_of(place, "curated", "clip" if metric.startswith("selection_groups_") else "", metric, estimate)


def filtering(place: RowKey, table: Sequence[Mapping[str, str]]) -> Iterable[Row]:
    """What a filter did to a training set: its errors, what they cost, and what it let through.

    Args:
        place: of the cell.
        table: a row for every row of the training set, as in filtered.csv.
    """

    def share(metric: str, hits: int, of: int) -> Iterable[Row]:
        if of:
            yield row_of(place, "filtered", "", metric, Estimate(hits / of, of))

    real = [row for row in table if row["origin"] == "real"]
    generated = [row for row in table if row["origin"] != "real"]
    yield from share("false_positive_rate", sum(_is_flagged(row) for row in real), len(real))
    yield from share("false_negative_rate", sum(not _is_flagged(row) for row in generated), len(generated))
    stand_ins = sum(row["replaced_by"] != "" for row in table)
    through = sum(int(row["times"]) for row in generated)
    yield from share("contamination", through, sum(int(row["times"]) for row in table) + stand_ins)
    left = {row["image"] for row in real if int(row["times"]) > 0} | {row["replaced_by"] for row in table} - {""}
    yield from share("real_images", len(left), len({row["slot"] for row in table}))
    lost = Counter(row["group"] for row in table if int(row["times"]) == 0 and not row["replaced_by"])
    yield from share("rows_lost", lost.total(), len(table))
    sizes = Counter(row["group"] for row in table)
    worst = max(sizes, key=lambda group: lost[group] / sizes[group])
    yield from share("rows_lost_worst_group", lost[worst], sizes[worst])


def _is_flagged(row: Mapping[str, str]) -> bool:
    return row["flagged"] == "True"
