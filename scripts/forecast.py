"""Print what an experiment will take before anything runs: cells, jobs, hours, and disk."""

import argparse
from pathlib import Path

import yaml
from nepotism import cli
from nepotism.config import ConfigError, checked
from nepotism.errors import UserError
from nepotism.forecast import Forecast, Rate, fitting_rates, forecast, groups, precisions, read_rates
from nepotism.grid import DIFFUSION, Grid

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
    try:
        count = arguments.groups or groups(dict(grid.config))
    except ValueError as error:
        raise UserError(str(error)) from None
    print(
        "\n".join(told(grid, forecast(grid, count, arguments.devices), read_rates(arguments.rates), arguments.devices))
    )


def resolved(configfile: Path | None) -> dict:
    """The default configuration with an experiment file laid over it, checked."""
    config = yaml.safe_load((ROOT / "workflow_config.yaml").read_text(encoding="utf-8"))
    if configfile:
        if not configfile.is_file():
            raise UserError(f"there is no file {configfile}")
        config = laid_over(config, yaml.safe_load(configfile.read_text(encoding="utf-8")) or {})
    try:
        config = checked(config)
    except ConfigError as error:
        raise UserError(str(error)) from None
    if config["model"]["family"] != DIFFUSION:
        raise UserError(
            f"models of the family {config['model']['family']} take seconds, not GPU hours; `snakemake -n` lists the jobs"
        )
    return config


def laid_over(below: dict, above: dict) -> dict:
    """Merge dictionaries as Snakemake's --configfile does: only dictionaries are merged, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(merged[key], value) if both else value
    return merged


def told(grid: Grid, expected: Forecast, rates: list[Rate], devices: int) -> list[str]:
    """The forecast as lines of text."""
    gigabytes = 1e9
    size = grid.config["model"]["resolution"]
    million = expected.unet_bytes / 4e6
    lines = [
        f"experiment {grid.experiment}: {expected.cells} cells of {expected.slots} images at {size} x {size}",
        "jobs: " + ", ".join(f"{count} {rule}" for rule, count in expected.jobs.items()),
        f"retraining: {expected.trained:,} images in all; sampling: {expected.passes:,} network passes",
        f"disk: {expected.final_bytes / gigabytes:.1f} GB at the end, {expected.peak_bytes / gigabytes:.1f} GB at most; "
        f"a retrained model has {expected.unet_bytes / gigabytes:.2f} GB ({grid.config['how']['keep_models']} kept)",
    ]
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
