"""Keys of the configuration as they are declared, once: in `resources/schemas`, with their defaults in `workflow_config.yaml`."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "resources" / "schemas" / "config.schema.yaml"
DEFAULTS = ROOT / "workflow_config.yaml"


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of ours, anew each time."""
    # As safe as yaml.safe_load, and ten times as fast: every job on a cluster reads the schema anew.
    read: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return read


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema with what it refers to, whose words the schema's own go before."""
    if "$ref" not in schema:
        return schema
    own = {key: value for key, value in schema.items() if key != "$ref"}
    return {**root["$defs"][schema["$ref"].rsplit("/", 1)[1]], **own}


def schema_of_key(key: str) -> Mapping[str, Any]:
    """The JSON schema of a key, such as ``finetune.learning_rate``.

    Raises:
        KeyError: if there is no such key.
    """
    root = _cached(SCHEMA)
    found: Mapping[str, Any] = root
    for part in key.split("."):
        found = resolved(found["properties"][part], root)
    return found


def default_of_key(key: str) -> Any:
    """What a key is if no experiment file names it.

    Raises:
        KeyError: if there is no such key.
    """
    found: Any = _cached(DEFAULTS)
    for part in key.split("."):
        found = found[part]
    return found


@cache
def _cached(path: Path) -> dict[str, Any]:
    return read_yaml(path)
