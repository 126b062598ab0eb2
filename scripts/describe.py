"""Describe what the project declares about itself, as tables: metrics and feature spaces, or the keys of a configuration.

python scripts/describe.py --write results/README.md                # metrics and feature spaces of metrics.csv
python scripts/describe.py --keys --write docs/reference/keys.md    # keys of a configuration, regimes and controls
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nepotism.chain.faces import Regime
from nepotism.chain.regimes import REGIMES
from nepotism.controls import CONTROLS
from nepotism.families import FAMILIES, family_package
from nepotism.plan import configfiles
from nepotism.plan.config import schema_of
from nepotism.plan.grid import DIFFUSION
from nepotism.plan.keys import Key, key_of, keys_of
from nepotism.runtime import cli
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import write_text

# What is between these lines of a file is written anew.
BEGIN = "<!-- What follows is written by scripts/describe.py -->\n"
END = "<!-- End of what scripts/describe.py writes -->\n"

DEFAULTS = Path(__file__).parents[1] / "workflow_config.yaml"
KEY_COLUMNS = ("key", "type", "range", "default", "description")


def main() -> None:
    parser = cli.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--keys", action="store_true", help="the keys of a configuration; without it, metrics and feature spaces"
    )
    parser.add_argument(
        "--write",
        type=Path,
        help="file whose part between two comments becomes the tables; without it they are printed",
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    described = key_tables() if arguments.keys else tables()
    if arguments.write is None:
        print(described, end="")
    else:
        text = arguments.write.read_text(encoding="utf-8")
        write_text(arguments.write, laid_into(text, arguments.write, described))


def tables() -> str:
    """Markdown: the metrics of every family, and the feature spaces that they are measured in."""
    return "\n".join(line for family in (DIFFUSION, *FAMILIES) for line in _family(family))


def key_tables() -> str:
    """Markdown: every key of a configuration, block by block, with regimes and controls and their parameters."""
    schema, defaults = schema_of(DIFFUSION), configfiles.read(DEFAULTS)
    return "\n".join([*_blocks(schema, defaults), *(line for family in FAMILIES for line in _family_block(family))])


def laid_into(text: str, path: Path, described: str) -> str:
    """A file's text with the tables of today between the two comments.

    Args:
        text: of the file.
        path: what it is called, for the error.
        described: the tables.

    Raises:
        UserError: if the two comments are not there, once each and in this order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise UserError(f"{path}: there must be one line {BEGIN.strip()} and, after it, one line {END.strip()}")
    return f"{before}{BEGIN}\n{described}\n{END}{after}"


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


def _blocks(schema: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """What all experiments have in common and the blocks of diffusion, each key with its value in the default configuration."""
    found = {name: list(keys_of(name, entry, schema, defaults[name])) for name, entry in schema["properties"].items()}
    yield "## The experiment\n"
    yield from _keys(key for keys in found.values() if len(keys) == 1 for key in keys)
    for name, (block, *inside) in found.items():
        if not inside:
            continue
        yield f"## `{name}`\n"
        yield f"{block.description}\n"
        yield from _keys(inside)
        if name == "arms":
            yield from _regimes()
            yield from _controls()


def _regimes() -> Iterator[str]:
    yield "### Regimes\n"
    yield from _table(
        ("`regime`", "training set of an iteration", "ratios", "families", "reference"),
        [
            (f"`{each.name}`", each.summary, _ratios(each), ", ".join(each.families) or "all", each.citation)
            for each in REGIMES.values()
        ],
    )
    yield from _parameters("regime", REGIMES.values())


def _ratios(regime: Regime) -> str:
    if not regime.takes_ratio:
        return "100 only"
    return "up to 1000" if regime.adds else "up to 100"


def _controls() -> Iterator[str]:
    yield "### Controls\n"
    yield from _table(
        ("`control`", "what happens to generated rows", "families", "reference"),
        [
            (f"`{each.name}`", each.summary, ", ".join(each.families) or "all", each.citation)
            for each in CONTROLS.values()
        ],
    )
    yield from _parameters("control", CONTROLS.values())


def _parameters(kind: str, faces: Any) -> Iterator[str]:
    """The keys of an arm's `parameters` that regimes, or controls, declare."""
    rows = []
    for face in faces:
        for name, declared in face.parameters.items():
            key = key_of(name, declared, required=name in getattr(face, "required", ()))
            rows.append((f"`{face.name}`", *_cells(key)))
    yield from _table((f"`{kind}`", "parameter", *KEY_COLUMNS[1:]), rows)


def _family_block(family: str) -> Iterator[str]:
    schema = schema_of(family)["properties"][family]
    block, *inside = keys_of(family, schema, schema)
    yield f"## `{family}`\n"
    shared = ", ".join(f"`{key}`" for key in schema["properties"] if key in ("chunk", *family_package(family).SHARED))
    yield f"{block.description} All arms have the same {shared}; `overrides` of an arm may change the others.\n"
    yield from _keys(inside)


def _keys(keys: Any) -> Iterator[str]:
    yield from _table(KEY_COLUMNS, [_cells(key) for key in keys])


def _cells(key: Key) -> tuple[str, ...]:
    return (f"`{key.name}`", *map(_cell, (key.type, key.range, key.default, key.description)))


def _cell(text: str) -> str:
    """Text as a cell of a table: a bar would end it, and what is in <...> would be taken for HTML."""
    parts = re.split(r"(`[^`]*`)", text.replace("|", r"\|"))
    return "".join(part if part.startswith("`") else part.replace("<", r"\<") for part in parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


if __name__ == "__main__":
    main()
