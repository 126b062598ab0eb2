"""Whole-process time of the steps that need no torch, and of the dry run of the default grid.

    python tests/benchmark/light_steps.py [results/faces]

With the results of an experiment, its manifest, table and figures are timed too (they are written elsewhere).
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from timing import timed

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", help="results of an experiment that has run")
    parser.add_argument("--runs", type=int, default=5, help="runs of each")
    arguments = parser.parse_args()
    scripts = ROOT / "scripts"
    python, snakemake = sys.executable, str(Path(sys.executable).parent / "snakemake")
    commands = {
        f"{name} --help": [python, f"{scripts}/{name}.py", "--help"]
        for name in ("mix", "metrics_table", "figure_2", "figure_3")
    }
    commands["snakemake -n"] = [snakemake, "-n", "--quiet"]
    with tempfile.TemporaryDirectory() as name:
        if arguments.results:
            out, results = Path(name), arguments.results.resolve()
            real, table = results / "reference" / "real.parquet", results / "tables" / "metrics.csv"
            scores = sorted(results.rglob("metrics.json"))
            figure = [out / f"figure-3{suffix}" for suffix in (".svg", ".png", ".csv")]
            steps: dict[str, list[object]] = {
                "mix": [
                    "--regime",
                    "replace",
                    "--regime-parameters",
                    '{"kept": "fixed"}',
                    "--iteration",
                    1,
                    "--real",
                    real,
                    "--ratio",
                    0,
                    "--seed",
                    0,
                    "--output",
                    out / "mix.parquet",
                ],
                "metrics_table": [
                    "--metrics",
                    *scores,
                    "--output",
                    out / "metrics.csv",
                    "--jackknife",
                    out / "jackknife.csv",
                ],
                "figure_3": [
                    "--metrics",
                    table,
                    "--clip",
                    "tiny-clip",
                    "--arms",
                    "none:mixture",
                    "--dpi",
                    "200",
                    "--output",
                    *figure,
                ],
            }
            commands |= {step: [python, f"{scripts}/{step}.py", *map(str, words)] for step, words in steps.items()}
        for label, command in commands.items():
            times = [timed(command, ROOT) for _ in range(arguments.runs + 1)][1:]
            median = statistics.median(times)
            print(f"{label:>24}: median {median:.2f} s (from {min(times):.2f} to {max(times):.2f})", flush=True)


if __name__ == "__main__":
    main()
