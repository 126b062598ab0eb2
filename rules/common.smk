# The glue between Snakemake and nepotism.grid: functions only.
import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from nepotism import config as configuration
from nepotism.files import write_text
from nepotism.grid import Cell, Grid

# `.venv/bin/snakemake` works without activation: shell rules find the interpreter that runs Snakemake.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
)
# glibc gives every freed tensor back to the system and clears it anew; keeping it saves a tenth of the models' time.
for threshold in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
    os.environ.setdefault(threshold, str(2**32))
# A chain of hundreds of iterations, asked for as one target, is resolved recursively.
sys.setrecursionlimit(20_000)


def checked_grid():
    try:
        return Grid(configuration.checked(config))
    except configuration.ConfigError as error:
        raise WorkflowError(str(error)) from None


grid = checked_grid()


def write_resolved_config():
    write_text(f"{grid.folder}/config.json", json.dumps(grid.config, indent=2) + "\n")


def settings_of(stage):
    # A function, because Snakemake would read the braces of captions in a plain string as wildcards.
    return lambda wildcards: grid.settings(stage)


def cell_of(wildcards):
    return Cell(
        wildcards.control,
        wildcards.ratio,
        int(wildcards.seed),
        int(wildcards.iteration),
    )


def with_advice(question, wildcards):
    """Ask the grid about a cell; a cell that it does not have becomes a readable error."""
    try:
        return question(cell_of(wildcards))
    except ValueError as error:
        raise WorkflowError(
            f"{error}. Change the configuration or ask for another cell."
        ) from None


# Of what every chain waits for: above the priority of every cell.
most_urgent = 2 * grid.iterations + 1


def urgency(wildcards):
    """Priority of retraining and sampling, the chain that everything waits for; scoring fills the gaps."""
    return 0 if in_base(wildcards) else grid.urgency(cell_of(wildcards))


def generated_images(wildcards):
    return with_advice(grid.generated_images, wildcards) or []


def parent_model(wildcards):
    return with_advice(grid.parent_model, wildcards)


def generated_option(wildcards, input):
    return f"--generated {input.generated}" if input.generated else ""


def parent_option(wildcards, input):
    return f"--parent-model {Path(input.parent[0]).parent}" if input.parent else ""


def in_base(wildcards):
    """Whether a job belongs to iteration 0, which has no control, ratio and iteration in its paths."""
    return not hasattr(wildcards, "control")


def named_cell(wildcards):
    if in_base(wildcards):
        return (
            f"--cell base/seed-{wildcards.seed} --seed {wildcards.seed} --iteration 0"
        )
    cell = cell_of(wildcards)
    return f"--cell {cell.path} --seed {cell.seed} --iteration {cell.iteration}"


def sampled_cell(wildcards, input):
    model = "" if in_base(wildcards) else f" --model {Path(input.model[0]).parent}"
    return named_cell(wildcards) + model


def scored_cell(wildcards, input):
    seed_images = f" --seed-images {input.seed_images}" if in_base(wildcards) else ""
    return sampled_cell(wildcards, input) + seed_images


def checksums(folder, otherwise):
    """The small file that stands for a folder of weights: Snakemake compares it by content, not by time."""
    sums = Path(folder) / "SHA256SUMS"
    return str(sums if sums.exists() else Path(folder) / otherwise)


def base_model(wildcards):
    return checksums(grid.config["model"]["path"], "model_index.json")


def evaluator_files(wildcards):
    """The small file that stands for the evaluator's weights."""
    return checksums(grid.config["score"]["clip"], "config.json")


def base_metrics(wildcards):
    return [f"{grid.folder}/base/seed-{seed}/metrics.json" for seed in grid.seeds]


def cell_metrics(wildcards):
    return [f"{grid.folder}/{cell.path}/metrics.json" for cell in grid.cells()]


def shown_cells():
    """The cells of figure 2: every ratio and iteration of the first arm, at the first seed."""
    return [
        cell
        for cell in grid.cells()
        if cell.control == grid.arms[0].name and cell.seed == grid.seeds[0]
    ]


def shown_samples(wildcards):
    return [f"{grid.folder}/{cell.path}/samples.parquet" for cell in shown_cells()]


def shown_unseen(wildcards):
    return [
        f"{grid.folder}/{cell.path}/unseen.parquet"
        for cell in shown_cells()
        if cell.iteration == grid.iterations
    ]


def shown_base(name):
    return f"{grid.folder}/base/seed-{grid.seeds[0]}/{name}.parquet"


def figure_files(wildcards):
    return [
        f"{grid.folder}/figures/{figure}{suffix}"
        for figure in ("figure-2", "figure-3")
        for suffix in (".svg", ".png", ".csv")
    ]
