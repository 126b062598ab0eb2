"""Configurations as people write them: YAML files, and values on the command line, read so that nothing is lost or misread.

YAML takes the last of two equal keys without a word, and a number with a leading zero as octal: both are told here.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from nepotism.runtime.errors import UserError

# Integers as YAML reads them that are hardly meant: octal, and sexagesimal such as 1:30, which is 90.
_MISREAD = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+)")


def read(path: Path) -> dict[str, Any]:
    """What a configuration file says.

    Raises:
        UserError: naming the file, if it is not there, is no YAML, has a key twice or a number that YAML misreads.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from None
    # Files are JSON too, whose tabs YAML does not take; neither has any inside of a key.
    found = _value(text.replace("\t", " ") if text.lstrip().startswith("{") else text, str(path))
    if not isinstance(found, dict | None):
        raise UserError(f"{path} has no keys; write `key: value`")
    return found or {}


def of_command_line(words: Iterable[str]) -> dict[str, Any]:
    """What ``snakemake --config key=value ...`` says, its values read as in a file.

    Snakemake itself reads numbers as numbers, but all that is in a list or in braces as text.

    Raises:
        UserError: naming the key, if a value is no YAML or a key is given twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key in found:
            raise UserError(f"`{key}` is given twice after --config; keep one")
        found[key] = _value(value, f"--config {word}", key)
    return found


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge dictionaries as Snakemake's --configfile does: only dictionaries are merged, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(merged[key], value) if both else value
    return merged


def _value(text: str, place: str, key: str = "") -> Any:
    # As safe as yaml.SafeLoader, and ten times as fast.
    loader = yaml.CSafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        if problems := list(_problems(root, key, set())):
            raise UserError(f"{place}: " + "; ".join(problems))
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{place}{line}: no YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{place}: no YAML: {str(error).splitlines()[0]}") from None
    finally:
        loader.dispose()


def _problems(node: yaml.Node, key: str, seen: set[int]) -> Iterator[str]:
    """What is given twice, or is not read as it looks, in a node and below; ``seen`` are nodes that others refer to again."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for name, value in node.value:
            inner = f"{key}.{name.value}" if key else str(name.value)
            line = name.start_mark.line + 1
            if inner in lines:
                yield f"`{inner}` is given twice, on lines {lines[inner]} and {line}; keep one"
            lines[inner] = line
            yield from _problems(value, inner, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _problems(value, f"{key}[{index}]", seen)
    elif node.tag == "tag:yaml.org,2002:int" and _MISREAD.fullmatch(node.value):
        read_as = yaml.safe_load(node.value)
        meant = read_as if ":" in node.value else int(node.value.replace("_", ""))
        yield f"`{key}`: YAML reads {node.value} as {read_as}; write {meant} if that is the number, '{node.value}' if it is a name"
