"""How long recursive fits of a two-component mixture take: 30 chains, 1,000 samples each, one process.

python tests/benchmark/mixture_speed.py                      # 2,000 generations
python tests/benchmark/mixture_speed.py --generations 100
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from nepotism.families.gmm.mixture import fit, repeated, sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=2000)
    parser.add_argument("--chains", type=int, default=30)
    parser.add_argument("--samples", type=int, default=1000)
    chosen = parser.parse_args()
    mixtures = repeated(np.full(2, 0.5), np.array([[-2.0, 0.0], [2.0, 0.0]]), np.array([np.eye(2)] * 2), chosen.chains)
    wall, cpu = time.perf_counter(), time.process_time()
    for iteration in range(chosen.generations):
        mixtures = fit(sample(mixtures, chosen.samples, 0, iteration, "sample"), mixtures)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{chosen.generations} generations: {wall:.1f} s, {cpu:.1f} s of a core")
    print(f"{1000 * wall / chosen.generations:.1f} ms a generation")


if __name__ == "__main__":
    main()
