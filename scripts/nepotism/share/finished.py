"""Whether results are all there, and all of one configuration: what is published as whole must be."""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from nepotism.judge.looks import ONCE
from nepotism.plan import configfiles
from nepotism.plan.config import ConfigError
from nepotism.plan.grid import Grid
from nepotism.plan.requests import experiment_with
from nepotism.plan.status import cell_statuses
from nepotism.runtime.errors import UserError
from nepotism.share.provenance import Versions

# How many rules are named that would still run.
MOST = 4
# Stages that are one job of an experiment, and make no cell: Snakemake knows whether their files are of this version.
OF_ALL = ("metrics_table", "claims", "profile_table", "remedies", "threshold", "answer", "figure_", "page", "track")
# What every finished experiment has.
TABLES = ("tables/metrics.csv", "tables/claims.csv", "report/answer.rst")


def experiment_file(config: dict[str, Any], root: Path) -> str:
    """An experiment file of the configuration: what differs from workflow_config.yaml.

    Args:
        config: resolved, of the experiment.
        root: of the project.

    Raises:
        UserError: if the configuration is of another version of the project.
    """
    try:
        defaults = configfiles.read(root / "workflow_config.yaml")
        named = experiment_with(config, len(config["seeds"]), config.get("looks", ONCE), defaults)
    except (ConfigError, KeyError, TypeError) as error:
        # The first mistake is enough.
        first = str(error).strip().splitlines()[-1].strip(" -")
        raise UserError(f"config.json is of another version of the project: {first}; start Snakemake once") from None
    return as_yaml(named)


def as_yaml(named: dict[str, Any]) -> str:
    """An experiment file, as text."""
    return yaml.safe_dump(named, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def lacking(folder: Path, grid: Grid, made: Versions, file: str, root: Path) -> Iterator[str]:
    """What is missing in an experiment, or of another configuration; nothing where it is whole.

    Args:
        folder: results of the experiment.
        grid: by its config.json.
        made: what its cells say of how they were made.
        file: its experiment file, as text.
        root: of the project.
    """
    states = Counter(status.state for status in cell_statuses(grid, folder))
    if undone := states.total() - states["done"]:
        yield f"{undone} of {states.total()} cells are not done"
    if missing := [name for name in TABLES if not (folder / name).is_file()]:
        yield f"there is no {missing[0]}"
    several = [
        key.removeprefix("stage_versions.")
        for key, values in made.items()
        if len(values) > 1 and key.startswith("stage_versions.")
    ]
    if stages := [stage for stage in several if not stage.startswith(OF_ALL)]:
        yield f"cells were made by different versions of {', '.join(stages)}"
    # Snakemake knows with which settings each file was made. Results that were copied here come without its memory.
    place = folder.resolve().parent.parent
    if folder.resolve().parent.name == "results" and (place / ".snakemake" / "metadata").is_dir():
        yield from _planned(place, file, root)


def _planned(place: Path, file: str, root: Path) -> Iterator[str]:
    """What Snakemake would still run."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as experiment:
        experiment.write(file)
        experiment.flush()
        options = ["-s", str(root / "Snakefile"), "--directory", str(place), "--quiet", "host", "--nolock", "-n"]
        # Neither conda nor containers, in which results may have been made, nor what was sent to a tracker is looked at.
        options += ["--rerun-triggers", "mtime", "params", "input", "code", "--config", "tracking={log_with: null}"]
        command = [sys.executable, "-m", "snakemake", *options, "--configfile", experiment.name]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
        raise UserError(f"Snakemake cannot tell whether results are finished: {last}")
    if "Nothing to be done" in done.stdout:
        return
    jobs = re.findall(r"^(\w+) +(\d+)$", done.stdout.split("Job stats:")[-1], re.MULTILINE)
    counts = {rule: int(count) for rule, count in jobs if rule not in ("all", "total")}
    most = sorted(counts, key=lambda rule: -counts[rule])[:MOST]
    told = ", ".join(f"{rule} {counts[rule]}" for rule in most) + (", …" if len(counts) > MOST else "")
    if counts:
        yield f"Snakemake would still run {sum(counts.values())} jobs by this configuration and version ({told})"
