"""The process that the jobs of one `snakemake` are forked from, with their imports done; not for use by hand."""

import argparse
from pathlib import Path

from nepotism.runtime.warm import parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket", type=Path, help="where to listen, in a folder of its own, which is gone afterwards")
    parent.main(parser.parse_args().socket)


if __name__ == "__main__":
    main()
