"""Kinds of models. Diffusion has rules of its own; the others make generations in chunks, and each is a package here."""

import argparse
import importlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from nepotism.experiment.stages import stage_version
from nepotism.runtime.warm import first_use

logger = logging.getLogger(__name__)

# The families whose cells are chunks of generations.
FAMILIES = tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/family.py")))


def family_package(family: str) -> ModuleType:
    """What the Snakefile needs to know of a family: its figures, and what its settings may be. Standard library only."""
    return importlib.import_module(f"nepotism.families.{family}")


def rule_files(family: str) -> tuple[str, ...]:
    """The files of `rules/` by which a family is made: its own, or those of generations in chunks."""
    files: tuple[str, ...] = getattr(family_package(family), "RULES", ("generations",))
    return files


def decisive_settings(family: str, block: Mapping[str, Any], iteration: int) -> dict[str, Any]:
    """What of a family's block decides a generation: without the keys that only say how, and for generation 0 without those
    that only later generations look at.

    Arms whose settings of generation 0 are the same can share it.
    """
    package = family_package(family)
    others = {"chunk", *package.execution(block), *([] if iteration else package.LATER)}
    return {key: value for key, value in block.items() if key not in others}


def add_family(parser: argparse.ArgumentParser) -> None:
    """Which family it is and its settings, in two parts."""
    parser.add_argument("--family", required=True, help="kind of model: a package of nepotism.families")
    parser.add_argument("--settings", required=True, help="what decides the result, of the family's block, as JSON")
    parser.add_argument("--family-execution", default="{}", help="the block's keys that only say how, as JSON")
    parser.add_argument("--stage-version", type=int, help="version of the family's algorithm")


def settings_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both parts of a family's settings."""
    return {**json.loads(arguments.family_execution), **json.loads(arguments.settings)}


def version_of(arguments: argparse.Namespace, stage: str) -> int:
    """The version of a family's stage.

    Raises:
        ValueError: if another one was asked for.
    """
    current = stage_version(stage, arguments.family)
    if arguments.stage_version not in (None, current):
        raise ValueError(
            f"--stage-version {arguments.stage_version}, but {stage} of {arguments.family} is at {current}"
        )
    return current


def imported_family(arguments: argparse.Namespace) -> ModuleType:
    """The module that does a family's work: ``--family``; with torch, tensors live on ``--device`` from now on."""
    package = family_package(arguments.family)
    # Told if they take too much memory.
    arguments.batch_keys = [f"`{arguments.family}.{key}`" for key in getattr(package, "BATCHES", ())]
    if package.TORCH:
        import torch

        from nepotism.runtime.devices import choose

        torch.set_default_device(choose(arguments.device, arguments.threads))
    return importlib.import_module(f"nepotism.families.{arguments.family}.family")


def _import_before_fork(named: Path) -> None:
    """Import what jobs of a family import, in the process that they are forked from: seconds of each job, where that is torch."""
    # Diffusion's jobs say with the weights they name what they import.
    if named.name not in FAMILIES:
        return
    try:
        if family_package(named.name).TORCH:
            importlib.import_module("nepotism.runtime.devices")
        importlib.import_module(f"nepotism.families.{named.name}.family")
    except ImportError as error:
        logger.debug("left to jobs: %s", error)


first_use.before_fork("--family", _import_before_fork)
