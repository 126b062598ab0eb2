"""Kinds of models. Diffusion has rules of its own; the others make generations in chunks, and each is a package here."""

import argparse
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

# The families whose cells are chunks of generations.
FAMILIES = tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/family.py")))


def family_package(family: str) -> ModuleType:
    """What the Snakefile needs to know of a family: its figures, and what its settings may be. Standard library only."""
    return importlib.import_module(f"nepotism.families.{family}")


def decisive_settings(family: str, block: Mapping[str, Any], iteration: int) -> dict[str, Any]:
    """What of a family's block decides a generation: without the keys that only say how, and for generation 0 without those
    that only later generations look at.

    Arms whose settings of generation 0 are the same can share it.
    """
    package = family_package(family)
    others = {"chunk", *package.execution(block), *([] if iteration else package.LATER)}
    return {key: value for key, value in block.items() if key not in others}


def imported_family(arguments: argparse.Namespace) -> ModuleType:
    """The module that does a family's work: ``--family``; with torch, tensors live on ``--device`` from now on."""
    package = family_package(arguments.family)
    # Told if they take too much memory.
    arguments.batch_keys = [f"`{arguments.family}.{key}`" for key in getattr(package, "BATCHES", ())]
    if package.TORCH:
        import torch

        from nepotism.devices import choose

        torch.set_default_device(choose(arguments.device, arguments.threads))
    return importlib.import_module(f"nepotism.families.{arguments.family}.family")
