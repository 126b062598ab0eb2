"""What was wanted of speed, judged from the table that tests/benchmark/model_speed.py writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# Least wanted: of our retraining against the loop that encodes at every step, in the same precision; of our best against that
# loop as the training script is without options; and of our best sampling against a plain pipeline call.
EQUAL, BEST, SAMPLING = 1.3, 3.0, 1.5
PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Verdict:
    """A ratio that was wanted; None if it was not measured."""

    name: str
    ratio: float | None
    least: float
    between: str


def verdicts(rows: Sequence[Mapping[str, str]]) -> Iterator[Verdict]:
    """The wanted ratios of each model that was measured, or should have been.

    Args:
        rows: of speed.csv.
    """
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        speeds = {(row["what"], row["precision"]): float(row["per_second"]) for row in own if row["per_second"]}
        if not any(row["what"].startswith("retraining") for row in own):
            # Nothing was tried, which has a line of its own.
            continue
        usual, plain = "retraining, encoding at every step", "sampling, a plain pipeline call"
        asked = [row["precision"] for row in own if row["what"] == usual]
        for precision in (each for each in PRECISIONS if each in asked):
            # Neither compiled nor checkpointed: the same arithmetic.
            ours = speeds.get(("retraining, ours", precision))
            yield Verdict(
                f"{model}: retraining at equal precision, {precision}", _ratio(ours, speeds.get((usual, precision))), EQUAL,
                "to encoding at every step",
            )  # fmt: skip
        for kind, what, first, least in (
            ("retraining, best against the script's default", "retraining, ours", (usual, "fp32"), BEST),
            ("sampling, best against a plain call", "sampling, ours", (plain, "fp32"), SAMPLING),
        ):
            ways = {way: speed for way, speed in speeds.items() if way[0].startswith(what)}
            best = max(ways, key=lambda way: ways[way], default=("", ""))
            yield Verdict(f"{model}: {kind}", _ratio(ways.get(best), speeds.get(first)), least, ", ".join(best))


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None
