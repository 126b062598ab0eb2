"""Describe every metric and feature space of metrics.csv, as they declare themselves: the tables of results/README.md."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from nepotism.families import FAMILIES, family_package
from nepotism.plan.grid import DIFFUSION
from nepotism.runtime import cli
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import write_text

# What is between these lines of a file is written anew.
BEGIN = "<!-- What follows is written by scripts/describe.py -->\n"
END = "<!-- End of what scripts/describe.py writes -->\n"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--write",
        type=Path,
        help="file whose part between two comments becomes the tables; without it they are printed",
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    if arguments.write is None:
        print(tables(), end="")
    else:
        write_text(arguments.write, laid_into(arguments.write.read_text(encoding="utf-8"), arguments.write))


def tables() -> str:
    """Markdown: the metrics of every family, and the feature spaces that they are measured in."""
    return "\n".join(line for family in (DIFFUSION, *FAMILIES) for line in _family(family))


def laid_into(text: str, path: Path) -> str:
    """A file's text with the tables of today between the two comments.

    Args:
        text: of the file.
        path: what it is called, for the error.

    Raises:
        UserError: if the two comments are not there, once each and in this order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise UserError(f"{path}: there must be one line {BEGIN.strip()} and, after it, one line {END.strip()}")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _family(family: str) -> Iterator[str]:
    package = family_package(family)
    yield f"### Metrics of the family `{family}`\n"
    # Several metrics of one kind are one line.
    metrics = dict.fromkeys(package.METRICS.values())
    yield from _table(
        ("metric", "what it is", "range", "better", "reference"),
        [(f"`{each.name}`", each.definition, each.range, each.better, each.citation) for each in metrics],
    )
    if package.SPACES:
        yield from _table(
            ("features", "what they are", "reference"),
            [(f"`{each.name}`", each.definition, each.citation) for each in package.SPACES],
        )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


if __name__ == "__main__":
    main()
