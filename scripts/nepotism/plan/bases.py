"""What arms begin with: a base model, and images of iteration 0, which they share where both are the same. Standard library only."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nepotism.chain.regimes import REGIMES
from nepotism.experiment.cells import BASELINE_ARM
from nepotism.families import FAMILIES, decisive_settings
from nepotism.plan.arms import Arm
from nepotism.plan.knobs import at_iteration, laid_over
from nepotism.weights.locations import location

Config = Mapping[str, Any]
Overrides = Mapping[str, Mapping[str, Any]]


def block(config: Config, name: str, overrides: Overrides) -> dict[str, Any]:
    """One of the config's blocks with what an arm overrides."""
    return laid_over(config[name], overrides.get(name, {}))


def model_source(config: Config, overrides: Overrides) -> str:
    """Where the base model of an arm comes from: a path or a name, as the config has it."""
    return str(block(config, "model", overrides)["path"])


def place_of(source: str) -> str:
    """What two sources of one base model have in common, however their paths are spelt."""
    return os.path.normpath(str(location(source)))


def with_bases(config: Config, arms: Iterable[Arm]) -> Iterator[Arm]:
    """Arms with the names of their base models and their folders of iteration 0.

    Those that begin in the same way share a folder, and those of one model what is made once for each: both are called after the
    first of them.
    """
    arms = list(arms)
    places = {arm.name: place_of(model_source(config, arm.overrides)) for arm in arms}
    models, folders = {place_of(model_source(config, {})): ""}, {_beginning(config, {}): "base"}
    # An arm that branches goes on from another's cells, and begins nowhere.
    for arm in (each for each in arms if each.first == 1):
        models.setdefault(places[arm.name], f"-{arm.name}")
        folders.setdefault(_beginning(config, arm.overrides), f"base-{arm.name}")
    for arm in arms:
        base = folders[_beginning(config, arm.overrides)] if arm.first == 1 else arm.base
        yield replace(arm, base=base, model=models[places[arm.name]])


def _beginning(config: Config, overrides: Overrides) -> str:
    """All settings of an arm that decide its iteration 0."""
    family = config["model"]["family"]
    if family in FAMILIES:
        return json.dumps(decisive_settings(family, block(config, family, overrides), 0), sort_keys=True)
    decide = {
        "model": place_of(model_source(config, overrides)),
        "initial_images": block(config, "initial_images", overrides),
        "sample": at_iteration(block(config, "sample", overrides), 0, last=1),
    }
    return json.dumps(decide, sort_keys=True)


def origin_contradictions(config: Config, key: str, arm: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the model of an arm that goes on from another's weights: it must be that one's.

    Args:
        config: of the right shape.
        key: what the arm is called, such as ``arms[2]``.
        arm: the entry of `arms`, of a regime that branches.
    """
    name = arm["parameters"].get("from", BASELINE_ARM)
    found = [each for each in config["arms"] if each["name"] == name]
    if not found:
        # Told elsewhere.
        return
    mine, other = (model_source(config, each.get("overrides", {})) for each in (arm, found[0]))
    if place_of(mine) != place_of(other):
        yield (
            f"`{key}.overrides.model.path`: {REGIMES[arm['regime']].name} in the arm '{arm['name']}' goes on from weights of the arm "
            f"'{name}', which are {other}'s, and not {mine}'s; give both arms the same"
        )
