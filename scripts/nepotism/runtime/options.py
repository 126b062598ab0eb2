"""Command-line options that are keys of the configuration: type, range and description are declared there, once."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from nepotism.experiment.declared import default_of_key, schema_of_key

_REQUIRED = object()
# A block is one word of JSON.
_TYPES: dict[str, Callable[[str], Any]] = {"integer": int, "number": float, "string": str, "object": json.loads}


def add_keys(parser: argparse.ArgumentParser, block: str, *names: str, required: bool | None = None) -> None:
    """An option for each of some keys of a block.

    How a job is executed has the configuration's defaults; what decides its result must be given, unless the key may be null.

    Args:
        parser: takes the options.
        block: such as ``finetune``.
        names: of its keys; the options are called like them.
        required: whether these must be given, whatever their schema says; if not, they are None then.
    """
    for name in names:
        key = f"{block}.{name}"
        schema = schema_of_key(key)
        decides = block != "execution" and not _may_be_null(schema)
        # What is null in an experiment is left out of its jobs' options.
        default = default_of_key(key) if block == "execution" and not _may_be_null(schema) else None
        add_key(parser, name, schema, _REQUIRED if (decides if required is None else required) else default)


def add_parameters(
    parser: argparse.ArgumentParser, parameters: Mapping[str, Mapping[str, Any]], *names: str
) -> None:  # fmt: skip
    """An option for each of the parameters that a regime or control declares, or for the named ones."""
    for name in names or parameters:
        add_key(parser, name, parameters[name], parameters[name].get("default", _REQUIRED))


def add_key(parser: argparse.ArgumentParser, name: str, schema: Mapping[str, Any], default: Any = _REQUIRED) -> None:
    """An option for one key.

    Args:
        parser: takes the option.
        name: of the key; the option has - for _.
        schema: of its value.
        default: of the option; without one it must be given.
    """
    kinds = schema.get("type", "string")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    words: dict[str, Any] = {"help": schema.get("description", "").replace("%", "%%")}
    words |= {"required": True} if default is _REQUIRED else {"default": default}
    each = schema
    if kind == "array":
        each = schema["items"]
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        words["nargs"] = most if least == most else "+" if least else "*"
        kind = each.get("type", "string")
    if kind == "boolean":
        words["action"] = argparse.BooleanOptionalAction
    elif "enum" in each:
        words["choices"] = each["enum"]
    else:
        words["type"] = _checked(kind, each)
    parser.add_argument("--" + name.replace("_", "-"), **words)


def _may_be_null(schema: Mapping[str, Any]) -> bool:
    return isinstance(schema.get("type"), list) and "null" in schema["type"]


def _checked(kind: str, schema: Mapping[str, Any]) -> Callable[[str], Any]:
    """What turns a word into a value of a type and checks its range."""
    validator = Draft202012Validator(schema)

    def value(word: str) -> Any:
        found = _TYPES[kind](word)
        for error in validator.iter_errors(found):
            raise argparse.ArgumentTypeError(error.message)
        return Path(found) if schema.get("format") == "path" else found

    # What argparse says that an unreadable word is not.
    value.__name__ = kind
    return value
