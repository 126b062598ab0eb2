"""Checking a configuration: every error at once, each with its key, what is wrong and what is right."""

import difflib
import math
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from nepotism.chain.regimes import REGIMES
from nepotism.controls import CONTROLS
from nepotism.experiment.cells import BASELINE_ARM, canonical_ratio
from nepotism.families import FAMILIES, family_package
from nepotism.plan.grid import DIFFUSION
from nepotism.weights.locations import hub, staged_name

SCHEMA = Path(__file__).parents[3] / "resources" / "schemas" / "config.schema.yaml"
# Of arms that do not name them.
DEFAULTS = ("replace", "none")
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
    schema = _schema(config)
    errors = sorted(
        Draft202012Validator(schema).iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path]
    )
    # A renamed key is unknown by its old name and missing by its new one: told once.
    problems = list(_renamed(config)) or list(dict.fromkeys(problem for error in errors for problem in _explain(error)))
    if not problems:
        # Only a configuration of the right shape can be checked against itself.
        problems = list(_contradictions(config))
    if problems:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise ConfigError(f"{count} in the configuration:\n" + "\n".join(f"  - {problem}" for problem in problems))
    canonical: dict[str, Any] = _canonical(config, schema, schema)
    return canonical


def _schema(config: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, with the block of the experiment's family: blocks of other families are rejected."""
    schema = _read(SCHEMA)
    model = config.get("model")
    family = model.get("family") if isinstance(model, Mapping) else None
    if family in FAMILIES:
        block = _read(SCHEMA.parent / f"{family}.schema.yaml")
        schema["properties"][family] = block
        schema["required"].append(family)
        overrides = schema["properties"]["arms"]["items"]["properties"]["overrides"]
        changeable = {
            key: value
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


def _read(path: Path) -> dict[str, Any]:
    # As safe as yaml.safe_load, and ten times as fast: every job on a cluster reads the schema anew.
    read: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return read


def _canonical(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    match schema.get("type"):
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
                    yield f"`{_join(key, unknown)}`: {told}"
                elif unknown not in known:
                    near = difflib.get_close_matches(str(unknown), known, n=1, cutoff=0.5)
                    hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
                    yield f"`{_join(key, unknown)}`: unknown key; {hint}"
        case "required":
            for missing in error.validator_value:
                if missing not in value:
                    yield f"`{_join(key, missing)}`: missing"
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
            above = " (exclusive)" if "exclusiveMinimum" in schema else ""
            yield f"`{key}`: {value!r} is out of range; allowed: {low}{above} to {high}"
        case _:
            yield f"`{key}`: {error.message}"


def _rewritten(value: Any, wanted: Sequence[str]) -> str:
    """How a value is written to be of the wanted type, where that is just another spelling."""
    if "array" in wanted and not isinstance(value, dict):
        return f"; write [{value}]"
    if "string" in wanted and isinstance(value, bool | int | float | date):
        return "; put it in quotes (after --config in both kinds: 'key=\"value\"')"
    return ""


def _unreal(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Numbers that are not finite, of which the schema's ranges say nothing."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _unreal(inner, _join(key, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unreal(inner, f"{key}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, value


def _renamed(value: Any, key: str = "") -> Iterator[str]:
    """Keys by a name that they had before, in a configuration of any shape; in an arm's overrides they are called as in blocks."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            path = _join(key, name)
            if new := RENAMED.get(re.sub(r"^arms\[\d+\]\.overrides\.", "", path)):
                yield f"`{path}`: is called `{new}` now; rename it"
            yield from _renamed(inner, path)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _renamed(inner, f"{key}[{index}]")


def _contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    for key, value in _unreal(config):
        yield f"`{key}`: {value} is no number to reckon with; write one that is finite"
    names = [arm["name"] for arm in config["arms"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"`arms`: two arms are called '{name}'; their results would share a folder"
    for index, arm in enumerate(config["arms"]):
        ratios = [canonical_ratio(ratio) for ratio in arm["ratios"]]
        for ratio in sorted({ratio for ratio in ratios if ratios.count(ratio) > 1}):
            yield f"`arms[{index}].ratios`: {ratio} appears twice"
        yield from _arm_contradictions(config, f"arms[{index}]", arm, ratios)
    family = config["model"]["family"]
    if family != DIFFUSION:
        # The rest is about images and captions.
        yield from _family_contradictions(config, family)
        return
    reference = config["reference"]
    source = reference["source"]
    if source in ("folder", "ffhq"):
        if reference[source]["path"] is None:
            yield f"`reference.{source}.path`: missing, but `reference.source` is {source}; give the folder of the images"
        if reference["scoring_split"] == "develop":
            yield f"`reference.scoring_split`: the source `{source}` has no develop split; use holdout"
    if source == "ffhq":
        yield from _ffhq_contradictions(reference["ffhq"])
    fields_of = {"portraits": ("expression", "hair", "face"), "digits": ("digit",), "folder": ("group",)}
    allowed = fields_of.get(source) or tuple(reference["ffhq"]["factors"])
    caption = reference[source]["caption"]
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(caption) if name is not None]
    except ValueError as error:
        fields = []
        yield f"`reference.{source}.caption`: {error}"
    for name in fields:
        if name not in allowed:
            fields_there_are = ", ".join(f"{{{known}}}" for known in allowed)
            yield f"`reference.{source}.caption`: unknown field {{{name}}}; allowed: {fields_there_are}"
    initial_images = config["initial_images"]
    if initial_images["strength"] * initial_images["num_inference_steps"] < 1:
        yield "`initial_images.strength`: strength x num_inference_steps is below 1, so that no step is run; raise one of them"
    yield from _weights_contradictions(config)


def _family_contradictions(config: Mapping[str, Any], family: str) -> Iterator[str]:
    package = family_package(family)
    problems = list(package.contradictions(config[family], family, config["iterations"]))
    if not problems:
        # What is wrong with all is not told again of each arm.
        for index, arm in enumerate(config["arms"]):
            overrides = arm.get("overrides", {}).get(family, {})
            last = arm.get("iterations", config["iterations"])
            block = {**config[family], **overrides}
            problems += package.contradictions(block, f"arms[{index}].overrides.{family}", last)
    yield from problems


def _ffhq_contradictions(ffhq: Mapping[str, Any]) -> Iterator[str]:
    starts = [age["from"] for age in ffhq["ages"]]
    if starts != sorted(set(starts)):
        yield "`reference.ffhq.ages`: must begin at ascending years"
    if ffhq["labels"] != "deepface":
        if not ffhq["labels"].endswith(".csv"):
            yield f"`reference.ffhq.labels`: '{ffhq['labels']}' is neither deepface nor the name of a .csv file"
        for factor in ffhq["factors"]:
            if ffhq["columns"][factor] is None:
                yield f"`reference.ffhq.columns.{factor}`: missing, but `factors` has {factor}; name the column or leave it out"
    if staged_name(ffhq["weights"]) not in (None, "deepface"):
        yield f"`reference.ffhq.weights`: '{ffhq['weights']}' is not what is needed here; give a folder or deepface"


def _weights_contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    score = config["score"]
    for key, source, download in [
        ("model.path", config["model"]["path"], "hub:"),
        ("score.clip", score["clip"], "hub:"),
        ("score.inception", score["inception"], "clean-fid"),
    ]:
        if source is None:
            continue
        if source.startswith("hub:") and hub(source) is None:
            yield f"`{key}`: '{source}' is not hub:<organisation>/<repository>@<revision>"
        elif staged_name(source) and not source.startswith(download):
            yield f"`{key}`: '{source}' is not what is needed here; give a path or {download}"
    if "inception" in score["features"]:
        if not score["inception"]:
            yield "`score.inception`: missing; the feature space `inception` needs clean-fid's file: `clean-fid`, or its path"
        elif not staged_name(score["inception"]) and not score["inception_sha256"]:
            yield "`score.inception_sha256`: missing; give the checksum of the file that `score.inception` names"


def _arm_contradictions(
    config: Mapping[str, Any], key: str, arm: Mapping[str, Any], ratios: list[str]
) -> Iterator[str]:
    parameters = arm.get("parameters", {})
    family = config["model"]["family"]
    regime, control = REGIMES[arm.get("regime", "replace")], CONTROLS[arm.get("control", "none")]
    if family not in control.families:
        treated = ", ".join(control.families)
        yield f"`{key}.control`: {control.name} treats rows of the family {treated}, and none of {family}; choose another control"
        return
    if not regime.takes_ratio and ratios != ["100"]:
        yield f"`{key}.ratios`: {regime.name} says itself what a training set holds; write ratios: [100]"
    if control.name != "none" and not regime.generates:
        yield f"`{key}.control`: {regime.name} trains on real rows only, and leaves nothing for {control.name} to treat; leave it out"
    elif control.name != "none" and "0" in ratios:
        yield f"`{key}.ratios`: at ratio 0 there are no generated images for {control.name} to treat; leave it out"
    if arm["name"] == BASELINE_ARM and ((regime.name, control.name) != DEFAULTS or arm.get("overrides")):
        yield (
            f"`{key}`: '{BASELINE_ARM}' is the name of the plain mixture: regime replace, control none, without overrides; "
            "choose another"
        )
    if regime.needs_fresh and family != DIFFUSION:
        last = arm.get("iterations", config["iterations"])
        block = {**config[family], **arm.get("overrides", {}).get(family, {})}
        yield from family_package(family).fresh_contradictions(block, key, last)
    if regime.name == "heal":
        finetune = {**config["finetune"], **arm.get("overrides", {}).get("finetune", {})}
        if family == DIFFUSION and finetune["start_from"] == "base":
            yield f"`{key}`: healing goes on from retrained weights, but `finetune.start_from` is base; use parent in this arm"
        branches = {
            canonical_ratio(ratio)
            for other in config["arms"]
            if other["name"] == BASELINE_ARM
            for ratio in other["ratios"]
        }
        for ratio in ratios:
            if ratio not in branches:
                yield f"`{key}.ratios`: healing goes on from the arm '{BASELINE_ARM}', which has no ratio {ratio}"
        last = min(
            (
                other.get("iterations", config["iterations"])
                for other in config["arms"]
                if other["name"] == BASELINE_ARM
            ),
            default=config["iterations"],
        )
        if parameters["after"] > last:
            yield f"`{key}.parameters.after`: {parameters['after']}, but `iterations` ends at {last}"
        if "iterations" in arm:
            yield f"`{key}.iterations`: healing counts its own; use `parameters.iterations`"
    if control.name == "sifid_cull" and parameters.get("features", "vae") != "vae":
        source = parameters.get("inception")
        if not source:
            yield f"`{key}.parameters.inception`: missing; {parameters['features']} needs torchvision's: `torchvision`, or a path"
        elif staged_name(source) not in (None, "torchvision"):
            yield f"`{key}.parameters.inception`: '{source}' is not what is needed here; give a path or torchvision"
        elif not staged_name(source) and not parameters.get("inception_sha256"):
            yield f"`{key}.parameters.inception_sha256`: missing; give the checksum of the file that `inception` names"
    changed = arm.get("overrides", {}).get("initial_images")
    sampled = {**config["initial_images"], **(changed or {})}
    if changed and sampled["strength"] * sampled["num_inference_steps"] < 1:
        yield f"`{key}.overrides.initial_images`: strength x num_inference_steps is below 1, so that no step is run"


def _path(error: ValidationError) -> str:
    key = ""
    for part in error.absolute_path:
        key += f"[{part}]" if isinstance(part, int) else (f".{part}" if key else str(part))
    return key


def _join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)
