"""Print what an experiment will take before anything runs: cells, jobs, hours, and disk."""

import argparse
from pathlib import Path

from nepotism.plan import configfiles
from nepotism.plan.config import ConfigError, checked
from nepotism.plan.forecast import (
    Forecast,
    Rate,
    fitting_rates,
    forecast,
    groups,
    groups_of_folder,
    precisions,
    read_rates,
)
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.runtime import cli
from nepotism.runtime.errors import UserError
from nepotism.weights.locations import in_project

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("configfile", type=Path, nargs="?", help="experiment file; without it, the default experiment")
    parser.add_argument("--groups", type=int, help="number of groups, where only the images tell")
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or processes on a CPU, that work side by side")
    parser.add_argument("--rates", type=Path, default=ROOT / "resources" / "rates.csv", help="measured speeds (CSV)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    grid = Grid(resolved(arguments.configfile))
    if grid.family != DIFFUSION:
        print("\n".join(render_family_forecast(grid)))
        return
    expected = forecast(grid, arguments.groups or group_count(dict(grid.config)), arguments.devices)
    print("\n".join(render_forecast(grid, expected, read_rates(arguments.rates), arguments.devices)))


def group_count(config: dict) -> int:
    """Number of groups, for which the user's folder is looked at, if it must be."""
    path = config["reference"]["folder"]["path"]
    if config["reference"]["source"] == "folder" and (count := groups_of_folder(Path(in_project(path)))):
        return count
    try:
        return groups(config)
    except ValueError as error:
        raise UserError(str(error)) from None


def resolved(configfile: Path | None) -> dict:
    """The default configuration with an experiment file laid over it, checked."""
    config = configfiles.read(ROOT / "workflow_config.yaml")
    if configfile:
        config = configfiles.laid_over(config, configfiles.read(configfile))
    try:
        return checked(config)
    except ConfigError as error:
        raise UserError(str(error)) from None


def render_family_forecast(grid: Grid) -> list[str]:
    """What there is to do for models of another family than diffusion, as lines of text: of their speed, nothing is known."""
    chains = sum(len(arm.ratios) * arm.last for arm in grid.arms) * len(grid.seeds)
    bases = len(grid.bases) * len(grid.seeds)
    chunks = len(grid.cells())
    return [
        f"experiment {grid.experiment}: {chains:,} generations of the family {grid.family}, after {bases} generations 0",
        f"jobs: 1 family_reference, {bases} generation_0, {bases} score_generation_0, {chunks} generations, {chunks} score_generations",
        f"time and disk: not known, as no speed of the family {grid.family} was measured. Begin: once a job of each kind has "
        f"ended, python scripts/status.py {grid.folder} tells how long the rest takes",
    ]


def render_forecast(grid: Grid, expected: Forecast, rates: list[Rate], devices: int) -> list[str]:
    """The forecast as lines of text."""
    gigabytes = 1e9
    size = grid.config["model"]["resolution"]
    million = expected.unet_bytes / 4e6
    lines = [
        f"experiment {grid.experiment}: {expected.cells} cells of {expected.slots} images at {size} x {size}",
        "jobs: " + ", ".join(f"{count} {rule}" for rule, count in expected.jobs.items()),
        f"retraining: {expected.trained:,} images in all; sampling: {expected.passes:,} network passes",
        f"disk: {expected.final_bytes / gigabytes:.1f} GB at the end, {expected.peak_bytes / gigabytes:.1f} GB at most; "
        f"a retrained model has {expected.unet_bytes / gigabytes:.2f} GB ({grid.config['execution']['keep_models']} kept)",
    ]
    for source, (trained, passes, unet) in expected.others.items():
        lines.append(
            f"of these, {source} sees {trained:,} images and takes {passes:,} passes; retrained, it has {unet / gigabytes:.2f} GB. "
            "Hours are told as if it were as fast as the other"
        )
    fitting = fitting_rates(grid, rates, million)
    for rate in fitting:
        hours = expected.hours(rate)
        lines.append(
            f"time: {hours:.1f} hours of {rate.device} ({rate.precision}; measured {rate.measured})"
            + (f", {hours / devices:.1f} on {devices}" if devices > 1 else "")
        )
    if not fitting:
        lines.append(
            f"time: no speed was measured for a U-Net of {million:.0f} million parameters at {size} pixels in "
            f"{precisions(grid)}; measure it with "
            "python tests/benchmark/model_speed.py --rates resources/rates.csv"
        )
    return lines


if __name__ == "__main__":
    main()
