"""Print the scores of every condition at every iteration, and where the results are."""

import argparse
import json
import sys
from pathlib import Path

from nepotism.families import family_package
from nepotism.grid import DIFFUSION, Grid
from nepotism.tables import Row, read_csv

TITLES = {"fid": "Fréchet distance, {}: lower is better", "clip_score": "CLIP score: higher is better"}
# As many iterations as fit beside each other.
COLUMNS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="an experiment's results, such as results/faces")
    arguments = parser.parse_args()
    table = arguments.folder / "tables" / "metrics.csv"
    if not table.is_file():
        sys.exit(f"error: there is no {table}; run the experiment first: make run EXPERIMENT={arguments.folder.name}")
    rows = read_csv(table)
    grid = Grid(json.loads((arguments.folder / "config.json").read_text(encoding="utf-8")))
    bases = {arm.name: arm.base for arm in grid.arms}
    for metric, title in (TITLES if grid.family == DIFFUSION else family_package(grid.family).HEADLINES).items():
        for space in dict.fromkeys(row.features for row in rows if row.metric == metric):
            print("\n" + title.format(space))
            print(matrix([row for row in rows if row.metric == metric and row.features == space], bases))
    print(
        f"\nfigures: {arguments.folder}/figures   tables: {arguments.folder}/tables   how to read them: results/README.md"
    )


def matrix(rows: list[Row], bases: dict[str, str]) -> str:
    """Conditions as lines, iterations as columns; values are means over seeds. ``bases`` tells where each arm begins."""
    samples = [row for row in rows if row.set == "samples"]
    iterations = sorted({row.iteration for row in samples})
    if len(iterations) > COLUMNS:
        iterations = [iterations[round(column * (len(iterations) - 1) / (COLUMNS - 1))] for column in range(COLUMNS)]
    lines = [f"{'generated':>24}" + "".join(f"{'base' if i == 0 else i:>10}" for i in iterations)]
    conditions = dict.fromkeys((row.control, row.ratio) for row in samples if row.ratio)
    for control, ratio in conditions:
        base = bases[control]
        cells = []
        for iteration in iterations:
            found = [
                row.value for row in samples
                if row.iteration == iteration and (row.control, row.ratio) in {(control, ratio), (base, "")}
            ]  # fmt: skip
            cells.append(f"{sum(found) / len(found):>10.4g}" if found else f"{'-':>10}")
        name = f"{ratio} %" if control == "none" else f"{control} {ratio} %"
        lines.append(f"{name:>24}" + "".join(cells))
    floor = [row.value for row in rows if row.set == "real"]
    if floor:
        lines.append(f"{'real vs real':>24}{sum(floor) / len(floor):>10.4g}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
