"""Every key of a configuration: its type, range, default and description, from the schemas and the default configuration."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from nepotism.experiment.declared import resolved

# Values longer than this are read in the file itself.
LONGEST_DEFAULT = 100
# Blocks of an arm whose keys are declared elsewhere: those of other blocks, and of regimes and controls.
ELSEWHERE = ("parameters", "overrides")
_ABSENT = object()


@dataclass(frozen=True)
class Key:
    """A key of the configuration, in words.

    Attributes:
        name: with those of the blocks around it, and ``[]`` after a list's.
        type: of its value.
        range: the values that are allowed; empty if the type says all.
        default: what it is if no experiment file names it; empty for a block and for what may be left out.
        description: one or two sentences.
    """

    name: str
    type: str
    range: str
    default: str
    description: str


def key_of(name: str, schema: Mapping[str, Any], default: object = _ABSENT, required: bool = True) -> Key:
    """What the JSON schema of one key says.

    Args:
        name: of the key.
        schema: of its value.
        default: from the default configuration; without one, the schema's own.
        required: whether it must be there.
    """
    found = schema.get("default", _ABSENT) if default is _ABSENT else default
    if _is_block(schema) and not _is_list(schema) and found is not None:
        shown = ""
    elif found is not _ABSENT:
        shown = _written(found)
    else:
        shown = "must be given" if required else ""
    return Key(name, _type(schema), _range(schema), shown, schema.get("description", ""))


def keys_of(
    name: str, schema: Mapping[str, Any], root: Mapping[str, Any], default: object = _ABSENT, required: bool = True
) -> Iterator[Key]:
    """A key and all keys below it, in the order of the schema.

    Args:
        name, default, required: see `key_of`.
        schema: of its value.
        root: the whole schema, which references are looked up in.
    """
    schema = resolved(schema, root)
    yield key_of(name, schema, default, required)
    inner, inside, given = schema, name, default
    if _is_list(schema) and not _is_block(schema):
        inner, inside, given = resolved(schema["items"], root), f"{name}[]", _ABSENT
    if not _is_block(inner) or name.rsplit(".", 1)[-1] in ELSEWHERE:
        return
    for key, entry in inner["properties"].items():
        value = given.get(key, _ABSENT) if isinstance(given, Mapping) else _ABSENT
        yield from keys_of(f"{inside}.{key}", entry, root, value, key in inner.get("required", ()))


def _is_block(schema: Mapping[str, Any]) -> bool:
    named = schema.get("type")
    return named == "object" or (isinstance(named, list) and "object" in named)


def _is_list(schema: Mapping[str, Any]) -> bool:
    named = schema.get("type")
    return "array" in (named if isinstance(named, list) else [named])


def _type(schema: Mapping[str, Any]) -> str:
    """The type in words."""
    named = schema.get("type", "string")
    if isinstance(named, list):
        return " or ".join(_type({**schema, "type": each}) for each in named)
    if named == "array":
        one, *rest = _type(schema["items"]).split(" ")
        return " ".join([f"list of {one}s", *rest])
    return "block" if named == "object" else str(named)


def _range(schema: Mapping[str, Any]) -> str:
    """The values that are allowed, in words."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if _is_list(schema):
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        count = str(most) if least == most else f"{least} to {most}" if most else f"{least} or more"
        each = "" if _is_block(schema["items"]) else _range(schema["items"])
        parts = [count, "all different" if schema.get("uniqueItems") else "", f"each {each}" if each else ""]
        return "; ".join(filter(None, parts))
    parts = []
    word, high = ("below", "exclusiveMaximum") if "exclusiveMaximum" in schema else ("at most", "maximum")
    if "minimum" in schema:
        between = " to" if high == "maximum" else f", {word}"
        parts.append(f"{_number(schema['minimum'])}{between} {_number(schema[high])}")
    if "exclusiveMinimum" in schema:
        parts.append(f"above {_number(schema['exclusiveMinimum'])}, {word} {_number(schema[high])}")
    if "multipleOf" in schema:
        parts.append(f"a multiple of {schema['multipleOf']}")
    if "pattern" in schema:
        parts.append(f"`{schema['pattern']}`")
    if "not" in schema:
        unwanted = schema["not"]
        parts.append(f"not {_range(unwanted)}")
    return "; ".join(parts)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _written(value: object) -> str:
    """A value as an experiment file has it."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False)
    text = text.removesuffix("...\n").strip()
    return f"`{text}`" if len(text) <= LONGEST_DEFAULT else "see `workflow_config.yaml`"
