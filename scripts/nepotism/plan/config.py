"""Checking a configuration: every error at once, each with its key, what is wrong and what is right."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from nepotism.chain.regimes import REGIMES
from nepotism.controls import CONTROLS
from nepotism.experiment.declared import SCHEMA, read_yaml
from nepotism.families import FAMILIES, family_package
from nepotism.plan.contradictions import DEFAULTS, contradictions, join
from nepotism.plan.grid import DIFFUSION

# Keys of earlier versions, and what to write instead.
MOVED = {
    "type": "an arm has a `regime` ({regimes}) and a `control` ({controls}) now, by default replace and none",
    "kept": "it is a parameter of the regime replace now: `parameters: {{kept: ...}}` of an arm",
}
# Keys by the names that they had before, and their present ones. For one release an old name is an error that tells the new one.
RENAMED = {
    "how": "execution",
    "how.micro_batch_size": "per_device_batch_size",
    "how.training_devices": "num_processes",
    "execution.micro_batch_size": "per_device_batch_size",
    "execution.training_devices": "num_processes",
    "seed_images": "initial_images",
    "finetune.flip": "random_flip",
    "gmm.components": "n_components",
    "lm.block": "block_size",
    "lm.network.width": "hidden_size",
    "lm.network.layers": "num_hidden_layers",
    "lm.network.heads": "num_attention_heads",
}


class ConfigError(Exception):
    """The configuration has mistakes; the message lists all of them."""


def checked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check a resolved configuration against the schema and against itself.

    Returns:
        The configuration with every number in the type of its schema (3 and 3.0 are the same guidance and must not
        rerun anything) and the schema's defaults of what arms leave out.

    Raises:
        ConfigError: naming every wrong key.
    """
    model = config.get("model")
    schema = schema_of(model.get("family") if isinstance(model, Mapping) else None)
    errors = sorted(
        Draft202012Validator(schema).iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path]
    )
    # A renamed key is unknown by its old name and missing by its new one: told once.
    problems = list(_renamed(config)) or list(dict.fromkeys(problem for error in errors for problem in _explain(error)))
    if not problems:
        # Only a configuration of the right shape can be checked against itself.
        problems = list(contradictions(config))
    if problems:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise ConfigError(f"{count} in the configuration:\n" + "\n".join(f"  - {problem}" for problem in problems))
    canonical: dict[str, Any] = _canonical(config, schema, schema)
    return canonical


def schema_of(family: object) -> dict[str, Any]:
    """The schema of experiments of a family, with its block: blocks of other families are rejected."""
    schema = read_yaml(SCHEMA)
    if family in FAMILIES:
        block = read_yaml(SCHEMA.parent / f"{family}.schema.yaml")
        schema["properties"][family] = block
        schema["required"].append(family)
        overrides = schema["properties"]["arms"]["items"]["properties"]["overrides"]
        # What an arm leaves out is as in the block, not of its default.
        changeable = {
            key: {word: said for word, said in value.items() if word != "default"}
            for key, value in block["properties"].items()
            if key not in ("chunk", *family_package(family).SHARED)
        }
        overrides["properties"] = {family: {"type": "object", "additionalProperties": False, "properties": changeable}}
    schema["properties"]["model"]["properties"]["family"]["enum"] = [DIFFUSION, *FAMILIES]
    _add_plug_ins(schema["properties"]["arms"]["items"])
    return schema


def _add_plug_ins(arm: dict[str, Any]) -> None:
    """Names of regimes and controls, and what an arm's parameters may be, as they declare it themselves."""
    arm["properties"]["regime"]["enum"], arm["properties"]["control"]["enum"] = list(REGIMES), list(CONTROLS)
    arm["allOf"] = []
    for regime in REGIMES.values():
        for control in CONTROLS.values():
            # What is left out is of its default.
            named = [key for key, face in (("regime", regime), ("control", control)) if face.name not in DEFAULTS]
            chosen = {"regime": {"const": regime.name}, "control": {"const": control.name}}
            declared = {"type": "object", "additionalProperties": False, "required": list(regime.required)}
            declared["properties"] = {**regime.parameters, **control.parameters}
            given: dict[str, Any] = {
                "properties": {"parameters": declared},
                "required": ["parameters"] if regime.required else [],
            }
            if not regime.required:
                given["properties"]["parameters"]["default"] = {}
            arm["allOf"].append({"if": {"required": named, "properties": chosen}, "then": given})


def _canonical(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    kinds = schema.get("type")
    if isinstance(kinds, list):
        # Of several types, the value's own.
        others = [kind for kind in kinds if kind not in ("null", "object")]
        kinds = "object" if isinstance(value, Mapping) else None if value is None or len(others) > 1 else others[0]
    match kinds:
        case "object":
            known = dict(schema.get("properties", {}))
            for branch in schema.get("allOf", []):
                if Draft202012Validator(branch["if"]).is_valid(value):
                    known |= branch["then"]["properties"]
            given = {key: entry["default"] for key, entry in known.items() if "default" in entry} | dict(value)
            return {key: _canonical(entry, known[key], root) for key, entry in given.items()}
        case "array":
            return [_canonical(entry, schema["items"], root) for entry in value]
        case "integer":
            return int(value)
        case "number":
            return float(value)
        case _:
            return value


def _explain(error: ValidationError) -> Iterator[str]:
    key = _path(error)
    value = error.instance
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            for unknown in value:
                if unknown in MOVED:
                    told = MOVED[unknown].format(regimes=", ".join(REGIMES), controls=", ".join(CONTROLS))
                    yield f"`{join(key, unknown)}`: {told}"
                elif unknown not in known:
                    near = difflib.get_close_matches(str(unknown), known, n=1, cutoff=0.5)
                    hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
                    yield f"`{join(key, unknown)}`: unknown key; {hint}"
        case "required":
            for missing in error.validator_value:
                if missing not in value:
                    yield f"`{join(key, missing)}`: missing"
        case "type" if isinstance(value, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value, re.IGNORECASE):
            digits, exponent = value.lower().split("e")
            yield f"`{key}`: YAML reads {value} as text; write {digits}.0e{exponent}"
        case "type":
            wanted = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
            yield f"`{key}`: {value!r} is of the wrong type; expected {' or '.join(wanted)}{_rewritten(value, wanted)}"
        case "enum":
            near = difflib.get_close_matches(str(value), [str(choice) for choice in error.validator_value], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"`{key}`: {value!r} is none of {', '.join(map(str, error.validator_value))}{hint}"
        case "not":
            yield f"`{key}`: {value!r} is, or looks like, a folder of the results; choose another"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            schema = error.schema
            low = schema.get("minimum", schema.get("exclusiveMinimum"))
            high = schema.get("maximum", schema.get("exclusiveMaximum"))
            why = f"; {schema['$comment']}" if "$comment" in schema else ""
            above, below = (" (exclusive)" if f"exclusive{end}" in schema else "" for end in ("Minimum", "Maximum"))
            yield f"`{key}`: {value!r} is out of range; allowed: {low}{above} to {high}{below}{why}"
        case _:
            yield f"`{key}`: {error.message}"


def _rewritten(value: Any, wanted: Sequence[str]) -> str:
    """How a value is written to be of the wanted type, where that is just another spelling."""
    if "array" in wanted and not isinstance(value, dict):
        return f"; write [{value}]"
    if "string" in wanted and isinstance(value, bool | int | float | date):
        return "; put it in quotes (after --config in both kinds: 'key=\"value\"')"
    return ""


def _renamed(value: Any, key: str = "") -> Iterator[str]:
    """Keys by a name that they had before, in a configuration of any shape; in an arm's overrides they are called as in blocks."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            path = join(key, name)
            if new := RENAMED.get(re.sub(r"^arms\[\d+\]\.overrides\.", "", path)):
                yield f"`{path}`: is called `{new}` now; rename it"
            yield from _renamed(inner, path)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _renamed(inner, f"{key}[{index}]")


def _path(error: ValidationError) -> str:
    key = ""
    for part in error.absolute_path:
        key += f"[{part}]" if isinstance(part, int) else (f".{part}" if key else str(part))
    return key
