"""What every command line that trains is given."""

import argparse
from pathlib import Path


def add_training(
    parser: argparse.ArgumentParser, data: str = "the pretrain split (.npz)", rows: str = "images"
) -> None:
    """The data, the settings of the loop, and where the trained model goes; ``data`` and ``rows`` say what these are."""
    parser.add_argument("--data", type=Path, required=True, help=data)
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps")
    parser.add_argument("--batch-size", type=int, required=True, help=f"{rows} per step")
    parser.add_argument("--learning-rate", type=float, required=True, help="highest learning rate")
    parser.add_argument("--seed", type=int, required=True, help="seed of weights and batches")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--output", type=Path, required=True, help="output: folder of the trained model")
