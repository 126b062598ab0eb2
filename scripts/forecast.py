"""Print what an experiment will take before anything runs: cells, jobs, hours, and disk."""

import argparse
from pathlib import Path

from nepotism.plan import configfiles
from nepotism.plan.budgets import budgets, render_budgets
from nepotism.plan.config import ConfigError, checked
from nepotism.plan.denoisers import KNOWN
from nepotism.plan.forecast import Forecast, forecast, groups, groups_of_folder
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.plan.rates import Rate, fitting_rates, precisions, read_rates, training_of
from nepotism.plan.searching import at_most
from nepotism.runtime import cli
from nepotism.runtime.errors import UserError
from nepotism.weights.locations import hub, in_project

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("configfile", type=Path, nargs="?", help="experiment file; without it, the default experiment")
    parser.add_argument("--groups", type=int, help="number of groups, where only the images tell")
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or processes on a CPU, that work side by side")
    parser.add_argument("--rates", type=Path, default=ROOT / "resources" / "rates.csv", help="measured speeds (CSV)")
    parser.add_argument(
        "--budgets",
        action="store_true",
        help="also what other ways of retraining would take: GPU memory, hours, disk",
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    grid = at_most(Grid(resolved(arguments.configfile)))
    if grid.family != DIFFUSION:
        print("\n".join([*render_family_forecast(grid), *searches(grid)]))
        return
    expected = forecast(grid, arguments.groups or group_count(dict(grid.config)), arguments.devices)
    rates = read_rates(arguments.rates)
    lines = [*render_forecast(grid, expected, rates, arguments.devices), *searches(grid)]
    if arguments.budgets:
        lines += render_budgets(grid, budgets(grid, expected, rates))
    print("\n".join(lines))


def searches(grid: Grid) -> list[str]:
    """What of a forecast is counted that may not be needed, as lines of text."""
    return [
        f"the arm {arm.name} searches for its ratio: counted are its ends and {arm.search.most} more, one after the other, which is "
        "the most that it can need"
        for arm in grid.searching()
        if arm.search
    ]


def group_count(config: dict) -> int:
    """Number of groups, for which the user's folder is looked at, if it must be."""
    if config["reference"]["source"] == "folder":
        path = Path(in_project(config["reference"]["folder"]["path"]))
        if not path.is_dir():
            raise UserError(f"`reference.folder.path`: there is no folder {path}; or give --groups")
        count = groups_of_folder(path)
        if count == 0:
            raise UserError(
                f"`reference.folder.path`: {path} has no sub-folders and no table of images; or give --groups"
            )
        if count:
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
    chains = sum(len(grid.ratios_of(arm)) * arm.last for arm in grid.arms) * len(grid.seeds)
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
    size, network = grid.config["model"]["resolution"], expected.denoiser
    lines = [
        f"experiment {grid.experiment}: {expected.cells} cells of {expected.slots} images at {size} x {size}",
        "jobs: " + ", ".join(f"{count} {rule}" for rule, count in expected.jobs.items()),
        f"retraining: {expected.trained:,} images in all; sampling: {expected.passes:,} network passes",
    ]
    for source, (trained, passes, other) in expected.others.items():
        has = f"it has {other.bytes / gigabytes:.2f} GB" if other else "its size is not known, and not counted"
        lines.append(
            f"of these, {source} sees {trained:,} images and takes {passes:,} passes; retrained, {has}. "
            "Hours are told as if it were as fast as the other"
        )
    if network is None:
        source = grid.config["model"]["path"]
        others = f", nor one of {', '.join(KNOWN)}" if hub(source) else ""
        return [
            *lines,
            f"disk: {expected.final_bytes / gigabytes:.1f} GB of images, and {expected.models} retrained models "
            f"({grid.config['execution']['keep_models']} kept), whose size is not known: {source} is not on disk{others}",
            "time: not known, as the size of the model is not",
        ]
    million = network.parameters / 1e6
    lines.append(
        f"disk: {expected.final_bytes / gigabytes:.1f} GB at the end, {expected.peak_bytes / gigabytes:.1f} GB at most; "
        f"a retrained model has {network.bytes / gigabytes:.2f} GB ({grid.config['execution']['keep_models']} kept)"
    )
    fitting = fitting_rates(grid, rates, million)
    for rate in fitting:
        hours = expected.hours(rate)
        lines.append(
            f"time: {hours:.1f} hours of {rate.device} ({rate.precision}; measured {rate.measured})"
            + (f", {hours / devices:.1f} on {devices}" if devices > 1 else "")
        )
    if not fitting:
        way = training_of(grid)
        lines.append(
            f"time: no speed was measured for a denoiser of {million:.0f} million parameters at {size} pixels in "
            f"{precisions(grid)}{way and ' with '}{way.replace('+', ', ')}; measure it with "
            "python tests/benchmark/model_speed.py --rates resources/rates.csv"
        )
    return lines


if __name__ == "__main__":
    main()
