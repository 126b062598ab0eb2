"""Time colour matching at the paper's size: 900 generated and 900 real images of 512 x 512, on two threads.

    python tests/benchmark/histogram_match_speed.py

Images are random fields with photographs' smooth shading and noise: PNGs as large as those of photographs.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from nepotism.data.images import Record, write_image_set  # noqa: E402


def fields(count: int, side: int, seed: int) -> np.ndarray:
    """Smooth random colour fields with a little noise: uint8 (count, side, side, 3)."""
    rng = np.random.default_rng(seed)
    made = np.empty((count, side, side, 3), np.uint8)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
        made[index] = (smooth + rng.integers(-6, 7, smooth.shape, dtype=np.int16)).clip(0, 255)
    return made


def write(path: Path, origin: str, groups: int, per_group: int, side: int, seed: int) -> None:
    records = [
        Record(f"{origin}/{group:02d}/{index:03d}", "", f"{group:02d}", f"{group:02d}/{index:03d}", origin)  # type: ignore[arg-type]
        for group in range(groups)
        for index in range(per_group)
    ]
    write_image_set(path, fields(len(records), side, seed), records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=30, help="number of groups of 30")
    parser.add_argument("--side", type=int, default=512, help="height and width")
    parser.add_argument("--threads", type=int, default=2, help="images at a time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "real.parquet", "real", arguments.groups, 30, arguments.side, 0)
        write(folder / "generated.parquet", "generated", arguments.groups, 30, arguments.side, 1)
        command = [
            sys.executable, str(ROOT / "scripts/histogram_match.py"), "--direction", "generated_to_real", "--bins", "256",
            "--epsilon", "1e-6", "--threads", str(arguments.threads), "--ratio", "100", "--seed", "0", "--iteration", "1",
            "--cell", "benchmark", "--generated", str(folder / "generated.parquet"), "--real", str(folder / "real.parquet"),
            "--output", str(folder / "curated.parquet"), "--table", str(folder / "curated.csv"), "--log", str(folder / "log"),
        ]  # fmt: skip
        start = time.monotonic()
        subprocess.run(command, check=True)
        wall = time.monotonic() - start
        print((folder / "log").read_text())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    print(f"whole rule: {wall:.1f} s, peak resident memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
