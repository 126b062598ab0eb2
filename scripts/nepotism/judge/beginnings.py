"""The sentence on where collapse begins: what the table of thresholds says of the last iteration, in words."""

from collections.abc import Iterator, Mapping, Sequence

from nepotism.experiment.cells import BASELINE_ARM
from nepotism.judge.sentences import NAMES
from nepotism.judge.threshold import ABOVE, BOUNDED, INTERVAL

# Rows of tables/threshold.csv, as text.
Rows = Sequence[Mapping[str, str]]


def beginnings(rows: Rows) -> Iterator[str]:
    """A sentence for each arm, by the distance itself; every number is in the table."""
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm and row["statistic"] != "excess"]
        last = max(int(row["iteration"]) for row in mine)
        ends = [row for row in mine if int(row["iteration"]) == last]
        told = []
        for space in dict.fromkeys(row["features"] for row in ends):
            here = [row for row in ends if row["features"] == space]
            told.append(" ".join(filter(None, [_told(here), NAMES.get(space, space)])))
        name = "" if arm == BASELINE_ARM else f" in the arm {arm}"
        times = "retraining" if last == 1 else "retrainings"
        yield (
            f"After {last} {times}{name}, collapse (a distance more than 1.25 times that of 0 %) begins {'; '.join(told)}."
        )


def _told(rows: Rows) -> str:
    """Where collapse begins in one feature space, or what is known of it and why not more."""
    (of_all,) = (row for row in rows if not row["seed"])
    seeds = [row for row in rows if row["seed"]]
    low, high = of_all["low"], of_all["high"]
    if of_all["state"] == INTERVAL:
        ratios = (f"{float(each):.3g}" for each in (low, high))
        return f"between {' and '.join(ratios)} % of generated rows (90 % interval between {len(seeds)} seeds)"
    states = {row["state"] for row in seeds}
    if states == {ABOVE}:
        return f"at no ratio that was run, the largest of which is {_number(low)} %"
    if not low and not high:
        return f"at a ratio that cannot be told ({of_all['note']})"
    where = f"between {_number(low)} and {_number(high)} %" if high else f"above {_number(low)} %"
    seed = "seed" if len(seeds) == 1 else "seeds"
    known = "bounds" if of_all["state"] == BOUNDED else "ratios that were run on both sides"
    return f"{where} of generated rows ({known} of {len(seeds)} {seed}; no interval: {of_all['note']})"


def _number(text: str) -> str:
    return f"{float(text):g}"
