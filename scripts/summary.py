"""Print the scores of every condition at every iteration, the verdicts on claims, and where the results are."""

import argparse
from pathlib import Path

from nepotism.data.tables import Row, floors, read_csv, read_text_csv
from nepotism.families import family_package
from nepotism.judge.beginnings import beginnings
from nepotism.plan.engines import beginning
from nepotism.plan.grid import DIFFUSION
from nepotism.plan.results import read_grid
from nepotism.runtime import cli
from nepotism.runtime.errors import UserError

# Of diffusion; headlines of other families are their definitions.
TITLES = {"fid": "Fréchet distance, {}", "clip_score": "CLIP score"}
# As many iterations as fit beside each other.
COLUMNS = 10


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("folder", type=Path, help="an experiment's results, such as results/faces")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    table = arguments.folder / "tables" / "metrics.csv"
    if not table.is_file():
        raise UserError(f"there is no {table}; run the experiment first: make run EXPERIMENT={arguments.folder.name}")
    rows = read_csv(table)
    grid = read_grid(arguments.folder)
    bases = {arm.name: beginning(grid, arm).base for arm in grid.arms}
    is_diffusion = grid.family == DIFFUSION
    package = family_package(grid.family)
    print(f"{grid.experiment}: means of {len(grid.seeds)} seed{'s' if len(grid.seeds) > 1 else ''}")
    for metric in TITLES if is_diffusion else package.HEADLINES:
        declared = package.METRICS[metric]
        title = ": ".join(filter(None, (TITLES[metric] if is_diffusion else declared.definition, declared.direction)))
        for space in dict.fromkeys(row.features for row in rows if row.metric == metric):
            # At few images the distance of equal distributions is far from 0, and would hide how distances compare.
            floor = floors(rows).get(space, 0.0) if is_diffusion and metric == "fid" else 0.0
            print("\n" + title.format(space) + (", in excess of real against real" if floor else ""))
            original = ("real vs real" if metric == "fid" else "real images") if is_diffusion else "original"
            mine = [row for row in rows if row.metric == metric and row.features == space]
            print(matrix(mine, bases, floor, original))
    claims = arguments.folder / "tables" / "claims.csv"
    if claims.is_file():
        print("\nclaims")
        for claim in read_text_csv(claims):
            print(f"{claim['claim']:>4}  {claim['statement']}: {claim['verdict']}")
    thresholds = arguments.folder / "tables" / "threshold.csv"
    if thresholds.is_file():
        print("\nthresholds")
        for sentence in beginnings(read_text_csv(thresholds)):
            print(f"      {sentence}")
    page = arguments.folder / "index.html"
    if page.is_file():
        print(f"\nthe page to read and to send: {page}", end="")
    print(
        f"\nfigures: {arguments.folder}/figures   tables: {arguments.folder}/tables   how to read them: results/README.md"
    )


def matrix(rows: list[Row], bases: dict[str, str], floor: float = 0.0, original: str = "real vs real") -> str:
    """Conditions as lines, iterations as columns; values are means over seeds, from which ``floor`` is taken off.

    Args:
        rows: of one score.
        bases: where each arm begins; an arm that is not there begins nowhere that is known.
        floor: that of real images against other real ones.
        original: what the score of original rows is called.
    """
    # Of the base model, only iteration 0 begins a line: what it draws with the noise of others is for claims.
    samples = [row for row in rows if row.set == "samples" and (row.ratio or row.iteration == 0)]
    iterations = sorted({row.iteration for row in samples})
    if len(iterations) > COLUMNS:
        iterations = [iterations[round(column * (len(iterations) - 1) / (COLUMNS - 1))] for column in range(COLUMNS)]
    lines = [f"{'generated':>24}" + "".join(f"{'base' if i == 0 else i:>10}" for i in iterations)]
    conditions = dict.fromkeys((row.control, row.ratio) for row in samples if row.ratio)
    for control, ratio in conditions:
        base = bases.get(control)
        cells = []
        for iteration in iterations:
            found = [
                row.value for row in samples
                if row.iteration == iteration and (row.control, row.ratio) in {(control, ratio), (base, "")}
            ]  # fmt: skip
            cells.append(f"{sum(found) / len(found) - floor:>10.4g}" if found else f"{'-':>10}")
        name = f"{ratio} %" if control == "none" else f"{control} {ratio} %"
        lines.append(f"{name:>24}" + "".join(cells))
    real = [row.value for row in rows if row.set == "real"]
    if real:
        lines.append(f"{original:>24}{sum(real) / len(real):>10.4g}{' (taken off)' if floor else ''}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
