"""What of a configuration contradicts itself, or the plug-ins that it names: what no schema can tell."""

import math
import string
from collections.abc import Iterator, Mapping
from typing import Any

from nepotism.chain.faces import Regime
from nepotism.chain.regimes import REGIMES
from nepotism.controls import CONTROLS
from nepotism.experiment.cells import BASELINE_ARM
from nepotism.experiment.search import certain_ratios
from nepotism.families import family_package
from nepotism.plan.bases import model_source, origin_contradictions
from nepotism.plan.grid import DIFFUSION
from nepotism.plan.knobs import knob_contradictions, laid_over
from nepotism.plan.populations import feed_contradictions
from nepotism.plan.searching import is_searching, search_contradictions
from nepotism.weights.locations import hub, staged_name

# Of arms that name neither: the plain mixture.
DEFAULTS = ("replace", "none")
# Height and width from which on a mark is found where much of a picture is flat (docs/explanation/watermark.md).
LEAST_MARKED = 64


def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    for key, value in _unreal(config):
        yield f"`{key}`: {value} is no number to reckon with; write one that is finite"
    names = [arm["name"] for arm in config["arms"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"`arms`: two arms are called '{name}'; their results would share a folder"
    for index, arm in enumerate(config["arms"]):
        ratios = certain_ratios(arm["ratios"])
        for ratio in sorted({ratio for ratio in ratios if ratios.count(ratio) > 1}):
            yield f"`arms[{index}].ratios`: {ratio} appears twice"
        yield from _arm_contradictions(config, f"arms[{index}]", arm, ratios)
        yield from search_contradictions(config, f"arms[{index}]", arm)
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
    fields_of["ffhq"] = tuple(reference["ffhq"]["factors"])
    allowed = fields_of.get(source, ())
    caption = reference[source]["caption"]
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(caption) if name is not None]
    except ValueError as error:
        fields = []
        yield f"`reference.{source}.caption`: {error}"
    for name in fields if allowed else ():
        if name not in allowed:
            fields_there_are = ", ".join(f"{{{known}}}" for known in allowed)
            yield f"`reference.{source}.caption`: unknown field {{{name}}}; allowed: {fields_there_are}"
    yield from _watermark_contradictions(config, "sample", config["sample"])
    yield from _watermark_contradictions(config, "initial_images", config["initial_images"])
    initial_images = config["initial_images"]
    if initial_images["strength"] * initial_images["num_inference_steps"] < 1:
        yield "`initial_images.strength`: strength x num_inference_steps is below 1, so that no step is run; raise one of them"
    yield from knob_contradictions(config, config["arms"])
    yield from _weights_contradictions(config)


def _family_contradictions(config: Mapping[str, Any], family: str) -> Iterator[str]:
    package = family_package(family)
    problems = list(package.contradictions(config[family], family, config["iterations"]))
    if not problems:
        # What is wrong with all is not told again of each arm.
        for index, arm in enumerate(config["arms"]):
            overrides = arm.get("overrides", {}).get(family, {})
            last = arm.get("iterations", config["iterations"])
            block = laid_over(config[family], overrides)
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
    of_arms = [
        (f"arms[{index}].overrides.model.path", model_source(config, arm["overrides"]), "hub:")
        for index, arm in enumerate(config["arms"])
        if arm.get("overrides", {}).get("model")
    ]
    for key, source, download in [
        ("model.path", config["model"]["path"], "hub:"),
        *of_arms,
        ("score.clip", score["clip"], "hub:"),
        ("score.inception", score["inception"], "clean-fid"),
        ("score.dinov2", score["dinov2"], "hub:"),
    ]:
        if source is None:
            continue
        if source.startswith("hub:") and hub(source) is None:
            yield f"`{key}`: '{source}' is not hub:<organisation>/<repository>@<revision>"
        elif staged_name(source) and not source.startswith(download):
            yield f"`{key}`: '{source}' is not what is needed here; give a path or {download}"
    if "dinov2" in score["features"] and not score["dinov2"]:
        yield "`score.dinov2`: missing; the feature space `dinov2` needs a Dinov2Model: its folder, or hub:<repository>@<revision>"
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
    if control.families and family not in control.families:
        treated = ", ".join(control.families)
        yield f"`{key}.control`: {control.name} treats rows of the family {treated}, and none of {family}; choose another control"
        return
    if regime.families and family not in regime.families:
        made = ", ".join(regime.families)
        yield f"`{key}.regime`: {regime.name} is for models of the family {made}, and not of {family}; choose another regime"
        return
    if regime.listens:
        yield from feed_contradictions(config, key, arm, ratios)
    if not regime.takes_ratio and ratios != ["100"]:
        yield f"`{key}.ratios`: {regime.name} says itself what a training set holds; write ratios: [100]"
    above = [ratio for ratio in ratios if float(ratio) > 100] if regime.takes_ratio else []
    for ratio in above if not regime.adds else ():
        adding = ", ".join(each.name for each in REGIMES.values() if each.adds)
        yield f"`{key}.ratios`: {ratio}, but {regime.name} takes at most 100 %; regimes that take more: {adding}"
    if above and regime.adds and control.name != "none":
        yield (
            f"`{key}.ratios`: {above[0]} % takes several images of a slot, and {control.name} treats one; use at most 100, or "
            "leave `control` out"
        )
    if control.name != "none" and not regime.generates:
        yield f"`{key}.control`: {regime.name} trains on real rows only, and leaves nothing for {control.name} to treat; leave it out"
    elif control.name != "none" and regime.branches:
        yield f"`{key}.control`: {regime.name} trains on rows as they were drawn; leave {control.name} out"
    elif control.name != "none" and "0" in ratios:
        yield f"`{key}.ratios`: at ratio 0 there are no generated images for {control.name} to treat; leave it out"
    if arm["name"] == BASELINE_ARM and ((regime.name, control.name) != DEFAULTS or arm.get("overrides")):
        yield (
            f"`{key}`: '{BASELINE_ARM}' is the name of the plain mixture: regime replace, control none, without overrides; "
            "choose another"
        )
    if family != DIFFUSION:
        last, package = arm.get("iterations", config["iterations"]), family_package(family)
        block = laid_over(config[family], arm.get("overrides", {}).get(family, {}))
        chosen = control.filled(parameters)
        if regime.needs_fresh or control.needs_fresh(chosen):
            yield from package.fresh_contradictions(block, key, last)
        if control.name != "none":
            yield from package.control_contradictions(block, key, control.name, chosen)
    if regime.branches:
        yield from _branch_contradictions(config, key, arm, regime, ratios)
    if control.name == "sifid_cull" and parameters.get("features", "vae") != "vae":
        source = parameters.get("inception")
        if not source:
            yield f"`{key}.parameters.inception`: missing; {parameters['features']} needs torchvision's: `torchvision`, or a path"
        elif staged_name(source) not in (None, "torchvision"):
            yield f"`{key}.parameters.inception`: '{source}' is not what is needed here; give a path or torchvision"
        elif not staged_name(source) and not parameters.get("inception_sha256"):
            yield f"`{key}.parameters.inception_sha256`: missing; give the checksum of the file that `inception` names"
    if control.name == "filter":
        yield from _filter_contradictions(key, regime.name, parameters, ratios)
        if parameters.get("source") == "watermark":
            yield from _mark_contradictions(config, key, arm)
    if family == DIFFUSION:
        for name in ("sample", "initial_images"):
            yield from _watermark_contradictions(
                config, f"{key}.overrides.{name}", arm.get("overrides", {}).get(name, {})
            )
    changed = arm.get("overrides", {}).get("initial_images")
    sampled = laid_over(config["initial_images"], changed or {})
    if changed and sampled["strength"] * sampled["num_inference_steps"] < 1:
        yield f"`{key}.overrides.initial_images`: strength x num_inference_steps is below 1, so that no step is run"


def _filter_contradictions(key: str, regime: str, parameters: Mapping[str, Any], ratios: list[str]) -> Iterator[str]:
    source, action = parameters.get("source", "oracle"), parameters.get("action", "drop")
    if source != "oracle":
        for rate in ("fpr", "fnr"):
            if rate in parameters:
                yield f"`{key}.parameters.{rate}`: only an oracle has it; the error rates of a {source} are measured; leave it out"
    elif "threshold" in parameters:
        yield f"`{key}.parameters.threshold`: an oracle is sure of every row; use `fpr` and `fnr`, or leave it out"
    if source == "watermark" and action != "resample" and "threshold" not in parameters:
        yield (
            f"`{key}.parameters.threshold`: missing; 0.99 takes one real image in a hundred for marked (1 minus the false-positive "
            "rate asked for)"
        )
    if source != "detector" and parameters.get("retrained"):
        yield f"`{key}.parameters.retrained`: only a detector is trained; use `source: detector`, or leave it out"
    if source != "oracle" or action == "replace" or parameters.get("fnr", 0) > 0:
        return
    if parameters.get("fpr", 0) == 1:
        yield f"`{key}.parameters.fpr`: an oracle that takes every row for generated leaves nothing to train on; use a rate below 1"
    if "100" in ratios and regime in ("replace", "fresh"):
        yield (
            f"`{key}.ratios`: at 100 % an oracle without errors leaves nothing to train on; use `action: replace`, a `fnr` above 0, "
            "or a lower ratio"
        )


def _mark_contradictions(config: Mapping[str, Any], key: str, arm: Mapping[str, Any]) -> Iterator[str]:
    """A filter by watermark needs the same mark in what every model of the chain draws."""
    marks = [
        laid_over(config[block], arm.get("overrides", {}).get(block, {}))["watermark"]
        for block in ("sample", "initial_images")
    ]
    if None in marks or str(marks[0]["key"]) != str(marks[1]["key"]):
        yield (
            f"`{key}.parameters.source`: a watermark is to be found that is not there; give `overrides` of this arm the same "
            "`sample.watermark` and `initial_images.watermark`"
        )


def _branch_contradictions(
    config: Mapping[str, Any], key: str, arm: Mapping[str, Any], regime: Regime, ratios: list[str]
) -> Iterator[str]:
    name, family, parameters = regime.name, config["model"]["family"], regime.filled(arm["parameters"])
    finetune = laid_over(config["finetune"], arm.get("overrides", {}).get("finetune", {}))
    if family == DIFFUSION and finetune["start_from"] == "base":
        yield f"`{key}`: {name} goes on from retrained weights, but `finetune.start_from` is base; use parent in this arm"
    if family != DIFFUSION and parameters["share"] != 100:
        yield f"`{key}.parameters.share`: only for models of the family {DIFFUSION}; leave it out"
    yield from _origin_contradictions(config, key, name, parameters, ratios)
    yield from origin_contradictions(config, key, arm)
    if "iterations" in arm:
        yield f"`{key}.iterations`: {name} counts its own; use `parameters.iterations`"
    if regime.extrapolates == "scores" and parameters["iterations"] > 1:
        yield (
            f"`{key}.parameters.iterations`: {parameters['iterations']}, but a cell of {name} draws with two models, and no "
            "further one can be retrained from it; leave it out"
        )


def _origin_contradictions(
    config: Mapping[str, Any], key: str, name: str, parameters: Mapping[str, Any], ratios: list[str]
) -> Iterator[str]:
    """What is wrong with the arm that one goes on from, which may go on from another in its turn."""
    arms = {each["name"]: each for each in config["arms"]}
    origin = parameters.get("from", BASELINE_ARM)
    if origin != BASELINE_ARM and config["model"]["family"] != DIFFUSION:
        yield f"`{key}.parameters.from`: only for models of the family {DIFFUSION}; leave it out"
        return
    if origin not in arms:
        yield f"`{key}.parameters.from`: {name} goes on from the arm '{origin}', which is not there; there are: {', '.join(arms)}"
        return
    chain = [origin]
    while (earlier := arms[chain[-1]].get("parameters", {}).get("from")) in arms:
        if earlier in chain:
            yield f"`{key}.parameters.from`: {' goes on from '.join([*chain, earlier])}: a circle; name an arm that begins before"
            return
        chain.append(earlier)
    before = arms[origin]
    regime = REGIMES[before.get("regime", "replace")]
    if regime.extrapolates == "scores":
        yield f"`{key}.parameters.from`: a cell of {regime.name} draws with two models, and no further one can be retrained from it"
    there = certain_ratios(before["ratios"])
    for ratio in ratios:
        if ratio not in there:
            sure = (
                f"; of those that it searches, only {' and '.join(there)} are sure to be run"
                if is_searching(before)
                else ""
            )
            yield f"`{key}.ratios`: {name} goes on from the arm '{origin}', which has no ratio {ratio}{sure}"
    first, last = 1, before.get("iterations", config["iterations"])
    if regime.branches:
        own = regime.filled(before["parameters"])
        first, last = own["after"] + 1, own["after"] + own["iterations"]
    if not first <= parameters["after"] <= last:
        yield f"`{key}.parameters.after`: {parameters['after']}, but those of the arm '{origin}' are {first} to {last}"


def _watermark_contradictions(config: Mapping[str, Any], key: str, block: Mapping[str, Any]) -> Iterator[str]:
    resolution = config["model"]["resolution"]
    if block.get("watermark") and resolution < LEAST_MARKED:
        yield (
            f"`{key}.watermark`: images of {resolution} pixels are too small to find a mark in; raise `model.resolution` to "
            f"{LEAST_MARKED} or use null"
        )


def _unreal(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Numbers that are not finite, of which the schema's ranges say nothing."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _unreal(inner, join(key, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unreal(inner, f"{key}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, value


def join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)
