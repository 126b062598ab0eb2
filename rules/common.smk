# The glue between Snakemake and nepotism.plan.grid: functions only.
import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

scripts = Path(workflow.basedir) / "scripts"
sys.path.insert(0, str(scripts))

from nepotism.plan import config as configuration
from nepotism.plan import configfiles, seen
from nepotism.experiment.cells import Cell
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import write_text
from nepotism.plan.forecast import groups
from nepotism.runtime.gpus import nvidia_gpus
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.runtime.scheduler import end_idle_wake_ups
from nepotism.plan.needs import Needs
from nepotism.plan.rates import read_rates
from nepotism.plan.settings import (
    checks_of_reference,
    family_execution_options,
    execution_options,
    settings,
)
from nepotism.plan.status import failures
from nepotism.runtime.warm.head import WarmParent
from nepotism.weights.locations import in_project

# `.venv/bin/snakemake` works without activation: shell rules find the interpreter that runs Snakemake; and the project's
# scripts, wherever Snakemake runs.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    SCRIPTS=str(scripts),
)
# Memory in large pages, where the system offers them: glibc reads this before a program starts.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
# A chain of hundreds of iterations, asked for as one target, is resolved recursively.
sys.setrecursionlimit(20_000)


# Keys of the config's `execution` that these stages need.
SAMPLING_KEYS = (
    "device",
    "threads",
    "sample_batch_size",
    "checkpoint_seconds",
    "compile",
)
TRAINING_KEYS = (
    "device",
    "threads",
    "checkpoint_seconds",
    "num_processes",
    "per_device_batch_size",
    "gradient_checkpointing",
    "compile",
)
GENERATING_KEYS = ("device", "threads", "checkpoint_seconds")


# The process that plans and sends jobs; on a cluster, each job reads the Snakefile again.
is_head = workflow.is_main_process


def with_readable_errors(question, *arguments):
    """Ask; a mistake in the user's files becomes a readable error."""
    try:
        return question(*arguments)
    except (UserError, configuration.ConfigError) as error:
        raise WorkflowError(str(error)) from None


def checked_grid():
    if is_head:
        # Snakemake has read these files, and of a key given twice took the last.
        for file in workflow.configfiles:
            configfiles.read(Path(file))
    words = workflow.config_settings.config_args or []
    update_config(config, configfiles.of_command_line(words))
    return Grid(configuration.checked(config))


grid = with_readable_errors(checked_grid)
# GPUs of a job that runs a model. `device: auto` takes one where there is one.
uses_gpu = {"cuda": True, "auto": nvidia_gpus() > 0}
gpu = int(uses_gpu.get(grid.config["execution"]["device"], False))


def group_count():
    """Number of groups of images; None where only the images tell."""
    reference = grid.config["reference"]
    if reference["source"] == "folder":
        return seen.groups(Path(in_project(reference["folder"]["path"])), is_head)
    try:
        return groups(grid.config)
    except ValueError:
        return None


known_groups = group_count() if grid.family == DIFFUSION else None
rates = with_readable_errors(
    read_rates, Path(workflow.basedir) / "resources" / "rates.csv"
)
needs = Needs(grid, rates, known_groups)


def grown(amount):
    """What a job asks for, and as much again on each further attempt."""
    return lambda wildcards, attempt: attempt * amount


def memory_of(stage):
    """Megabytes of a job that loads the model or many images."""
    return lambda wildcards, attempt: attempt * needs.memory_mb(
        stage, arm_of(wildcards)
    )


def minutes_of(stage):
    """Minutes of a job that retrains or samples."""
    return lambda wildcards, attempt: attempt * needs.minutes(stage, arm_of(wildcards))


def write_resolved_config():
    write_text(f"{grid.folder}/config.json", json.dumps(grid.config, indent=2) + "\n")


def fork_jobs():
    """Have jobs forked from a process with their imports done, where they run on this machine's CPU, in this environment."""
    here = is_head and workflow.local_exec and sys.platform == "linux"
    if not here or gpu or workflow.deployment_settings.deployment_method:
        return
    try:
        WarmParent(grid.config["execution"]["threads"], os.environ).take_jobs_of(shell)
    except OSError as error:
        print(f"jobs start by themselves: {error}", file=sys.stderr)


def tell_failures(log):
    """Name every job that failed, and its log, at the end, where people look."""
    if not is_head:
        return
    for path in [log] if isinstance(log, str) else log:
        for name, file in failures(Path(path)):
            print(f"failed: {name}, see {file}", file=sys.stderr)


def with_advice(question, *arguments):
    """Ask the grid; what it does not have becomes a readable error."""
    try:
        return question(*arguments)
    except ValueError as error:
        raise WorkflowError(
            f"{error}. Change the configuration or ask for another file."
        ) from None


def arm_of(wildcards):
    """The arm that a job's settings are taken from; None where the config's own hold."""
    if hasattr(wildcards, "control"):
        return with_advice(grid.arm, wildcards.control)
    if hasattr(wildcards, "model"):
        return with_advice(grid.arm_of_model, wildcards.model)
    return with_advice(grid.arm_of_base, getattr(wildcards, "base", "base"))


def settings_of(stage):
    # A function, because Snakemake would read the braces of captions in a plain string as wildcards.
    return lambda wildcards: settings(
        grid, stage, arm_of(wildcards), int(getattr(wildcards, "iteration", 0))
    )


def arms_of(control):
    """Pattern of the {control}s whose arms have a control; without such an arm it matches nothing."""
    return "|".join(arm.name for arm in grid.treated_by(control)) or "(?!)"


def cell_of(wildcards):
    return Cell(
        wildcards.control,
        wildcards.ratio,
        int(wildcards.seed),
        int(wildcards.iteration),
    )


# Of what every chain waits for: above the priority of every cell.
most_urgent = 1 + max(grid.urgency(cell) for cell in grid.certain_cells())


def urgency(wildcards):
    """Priority of retraining and sampling, the chain that everything waits for; scoring fills the gaps."""
    return 0 if in_base(wildcards) else with_advice(grid.urgency, cell_of(wildcards))


# Where models do not stay, scoring comes first: it is the last to need them.
scoring_urgency = 0 if grid.config["execution"]["keep_models"] == "all" else most_urgent


def face_labels(wildcards):
    """Labels of all faces: the shards that DeepFace classifies, or a table."""
    if not grid.shards():
        return in_project(grid.config["reference"]["ffhq"]["labels"])
    return [
        f"{grid.folder}/reference/labels/shard-{shard}.parquet"
        for shard in range(grid.shards())
    ]


def selected_images(wildcards):
    """The table of chosen faces; nothing for other sources, which are split as they are read."""
    if grid.config["reference"]["source"] != "ffhq":
        return []
    table = (
        f"fresh/{wildcards.set}.csv" if hasattr(wildcards, "set") else "selection.csv"
    )
    return f"{grid.folder}/reference/{table}"


def selection_option(wildcards, input):
    return f"--selection {input.selection}" if input.selection else ""


def generated_images(wildcards):
    return with_advice(grid.generated_images, cell_of(wildcards)) or []


def mixed_images(wildcards):
    return with_advice(grid.mixed_images, cell_of(wildcards))


def curated_files(wildcards):
    """A control's images and its table; nothing where the arm has none."""
    curated = with_advice(grid.curated_images, cell_of(wildcards))
    return [curated, str(Path(curated).with_suffix(".csv"))] if curated else []


def initial_images_of_arm(wildcards):
    base = with_advice(grid.arm, wildcards.control).base
    return f"{grid.folder}/{base}/seed-{wildcards.seed}/initial_images.parquet"


def parent_model(wildcards):
    return with_advice(grid.parent_model, cell_of(wildcards))


def sampled_model(wildcards):
    """The model that drew the images which a control treats."""
    return with_advice(grid.sampled_model, cell_of(wildcards))


def parent_option(wildcards, input):
    return f"--parent-model {Path(input.parent[0]).parent}" if input.parent else ""


def in_base(wildcards):
    """Whether a job belongs to iteration 0, which has no control, ratio and iteration in its paths."""
    return not hasattr(wildcards, "control")


def named_place(wildcards):
    if not in_base(wildcards):
        folder = cell_of(wildcards).path
    else:
        folder = f"{getattr(wildcards, 'base', 'base')}/seed-{wildcards.seed}"
        if hasattr(wildcards, "iteration"):
            folder = f"{folder}/iteration-{wildcards.iteration}"
    return f"--cell {folder} --seed {wildcards.seed}"


def named_cell(wildcards):
    draw = f" --draw {wildcards.draw}" if hasattr(wildcards, "draw") else ""
    return f"{named_place(wildcards)} --iteration {getattr(wildcards, 'iteration', 0)}{draw}"


def sampled_cell(wildcards, input):
    """The cell, and the retrained models that draw for it; without one, the base model does."""
    return " ".join([named_cell(wildcards), *drawing_options(input)])


def drawn_cell(wildcards, input):
    """The cell to sample. The base model's own images are of the first iteration's noise: claims compare the two."""
    noise = "" if hasattr(wildcards, "iteration") else " --noise-iteration 1"
    return sampled_cell(wildcards, input) + noise


def scored_cell(wildcards, input):
    words = sampled_cell(wildcards, input)
    if input.get("initial_images"):
        words += f" --initial-images {input.initial_images}"
    elif input.get("curated"):
        words += f" --curated {input.curated[0]} --curated-table {input.curated[1]}"
    if input.get("filtered"):
        words += f" --filtered-table {input.filtered}"
    if input.get("other"):
        words += f" --other-samples {input.other}"
    return words


def base_metrics(wildcards):
    return [
        f"{grid.folder}/{base}/seed-{seed}/metrics.json"
        for base in grid.bases
        for seed in grid.seeds
    ]


def redrawn_metrics(wildcards):
    return [
        f"{grid.folder}/base/seed-{seed}/iteration-{iteration}/metrics.json"
        for seed in grid.seeds
        for iteration in grid.redrawn()
    ]


def first_base_metrics(wildcards):
    return base_metrics(wildcards)[0]


def cell_metrics(wildcards):
    return metrics_of(grid.certain_cells())


def metrics_of(cells):
    return [f"{grid.folder}/{cell.path}/metrics.json" for cell in cells]


def diagnostic_metrics(wildcards):
    if grid.family != DIFFUSION or not grid.config["diagnostics"]["vae_round_trips"]:
        return []
    return [f"{grid.folder}/reference/vae_round_trips.json"]
