"""A results folder's config.json: the resolved configuration of a run, and the grid that it asks for. Standard library only."""

import json
from pathlib import Path
from typing import Any

from nepotism.plan.grid import Grid
from nepotism.plan.searching import follow
from nepotism.runtime.errors import UserError

CONFIG = "config.json"


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration of an experiment.

    Args:
        folder: its results.

    Raises:
        UserError: if there is none, or it is none.
    """
    path = folder / CONFIG
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"there is no {path}; give an experiment's results, such as results/faces, after its first run has started"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: no JSON: {error}; start Snakemake once to write it anew") from None
    if not _has_its_shape(found):
        raise UserError(f"{path} is no configuration; start Snakemake once to write it anew")
    assert isinstance(found, dict)
    return found


def read_grid(folder: Path) -> Grid:
    """The grid of an experiment, with the ratios that searches have asked for so far.

    Args:
        folder: its results.

    Raises:
        UserError: if there is no configuration, or it is of another version of the project.
    """
    config = read_config(folder)
    try:
        grid = Grid(config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / CONFIG} is no configuration of this version: {error!r}; start Snakemake once"
        ) from None
    return follow(grid, folder)


def _has_its_shape(found: object) -> bool:
    """Whether something may be a configuration of whatever version: keys, of which `arms` is a list of named ones."""
    if not isinstance(found, dict) or not isinstance(found.get("model", {}), dict):
        return False
    arms = found.get("arms", [])
    return isinstance(arms, list) and all(isinstance(arm, dict) and "name" in arm for arm in arms)
