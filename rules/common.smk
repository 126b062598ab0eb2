# The glue between Snakemake and nepotism.grid: functions only.
import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

scripts = Path(workflow.basedir) / "scripts"
sys.path.insert(0, str(scripts))

from nepotism import config as configuration
from nepotism import configfiles, seen
from nepotism.cells import Cell
from nepotism.errors import UserError
from nepotism.files import write_text
from nepotism.forecast import forecast, groups, read_rates
from nepotism.gpus import nvidia_gpus
from nepotism.grid import DIFFUSION, Grid
from nepotism.head import end_idle_wake_ups
from nepotism.needs import Needs
from nepotism.settings import family_how, how, ratios_option, settings
from nepotism.stages import options
from nepotism.status import failures
from nepotism.weights import FOLDER, in_project, location, staged_name

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


# Keys of the config's `how` that these stages need.
HOW_TO_SAMPLE = (
    "device",
    "threads",
    "sample_batch_size",
    "checkpoint_seconds",
    "compile",
)
HOW_TO_TRAIN = (
    "device",
    "threads",
    "checkpoint_seconds",
    "training_devices",
    "micro_batch_size",
    "gradient_checkpointing",
    "compile",
)
HOW_TO_GENERATE = ("device", "threads", "checkpoint_seconds")


# The process that plans and sends jobs; on a cluster, each job reads the Snakefile again.
is_head = workflow.is_main_process


def told(question, *arguments):
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


grid = told(checked_grid)
# GPUs of a job that runs a model. `device: auto` takes one where there is one.
uses_gpu = {"cuda": True, "auto": nvidia_gpus() > 0}
gpu = int(uses_gpu.get(grid.config["how"]["device"], False))


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
rates = told(read_rates, Path(workflow.basedir) / "resources" / "rates.csv")
needs = Needs(grid, rates, known_groups)


def grown(amount):
    """What a job asks for, and as much again on each further attempt."""
    return lambda wildcards, attempt: attempt * amount


def memory_of(stage):
    """Megabytes of a job that loads the model or many images."""
    return grown(needs.memory_mb(stage))


def minutes_of(stage):
    """Minutes of a job that retrains or samples."""
    return lambda wildcards, attempt: attempt * needs.minutes(stage, arm_of(wildcards))


def write_resolved_config():
    write_text(f"{grid.folder}/config.json", json.dumps(grid.config, indent=2) + "\n")


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
    return with_advice(grid.arm_of_base, getattr(wildcards, "base", "base"))


def settings_of(stage):
    # A function, because Snakemake would read the braces of captions in a plain string as wildcards.
    return lambda wildcards: settings(
        grid, stage, arm_of(wildcards), int(getattr(wildcards, "iteration", 0))
    )


def arms_of(kind):
    """Pattern of the {control}s whose arm is of a type; without such an arm it matches nothing."""
    return "|".join(arm.name for arm in grid.arms_of(kind)) or "(?!)"


def cell_of(wildcards):
    return Cell(
        wildcards.control,
        wildcards.ratio,
        int(wildcards.seed),
        int(wildcards.iteration),
    )


# Of what every chain waits for: above the priority of every cell.
most_urgent = 1 + max(grid.urgency(cell) for cell in grid.cells())


def urgency(wildcards):
    """Priority of retraining and sampling, the chain that everything waits for; scoring fills the gaps."""
    return 0 if in_base(wildcards) else with_advice(grid.urgency, cell_of(wildcards))


# Where models do not stay, scoring comes first: it is the last to need them.
scoring_urgency = 0 if grid.config["how"]["keep_models"] == "all" else most_urgent


def weights_files(source, inside=""):
    """The small file that stands for weights that a key of the config names: Snakemake compares it by content, not by time.

    Weights that are not there are not an input: a plan can be made without them, and preflight says what is missing.
    """
    if name := staged_name(source):
        return [in_project(f"{FOLDER}/{name}/SHA256SUMS")]
    return seen.checksums(Path(location(source)) / inside, is_head) if source else []


def face_weights(wildcards):
    """DeepFace's weights."""
    return weights_files(
        grid.config["reference"]["ffhq"]["weights"], ".deepface/weights"
    )


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
    return f"{grid.folder}/reference/selection.csv"


def selection_option(wildcards, input):
    return f"--selection {input.selection}" if input.selection else ""


def generated_images(wildcards):
    return with_advice(grid.generated_images, cell_of(wildcards)) or []


def mixed_images(wildcards):
    return with_advice(grid.mixed_images, cell_of(wildcards)) or []


def curated_files(wildcards):
    """A control's images and its table; nothing where the arm has none."""
    curated = with_advice(grid.curated_images, cell_of(wildcards))
    return [curated, str(Path(curated).with_suffix(".csv"))] if curated else []


def seed_images_of_arm(wildcards):
    base = with_advice(grid.arm, wildcards.control).base
    return f"{grid.folder}/{base}/seed-{wildcards.seed}/seed_images.parquet"


def parent_model(wildcards):
    return with_advice(grid.parent_model, cell_of(wildcards))


def sampled_model(wildcards):
    """The model that drew the images which a control treats."""
    return with_advice(grid.sampled_model, cell_of(wildcards))


def how_to_check():
    """What preflight tries, how large the steps are, and how much room the results need."""
    # Where only the images tell how many groups there are: models take most of the room.
    count = known_groups or 1
    keys = (
        "device",
        "threads",
        "sample_batch_size",
        "training_devices",
        "micro_batch_size",
        "gradient_checkpointing",
    )
    clip = grid.config["score"]["clip"]
    # What is staged later, the first job that scores will try.
    ready = staged_name(clip) is None or os.path.isdir(location(clip))
    schedulers = {
        {**grid.config[name], **overrides.get(name, {})}["scheduler"]
        for overrides in ({}, *(arm.overrides for arm in grid.arms))
        for name in ("sample", "seed_images")
    }
    room = options(
        {
            "disk_bytes": forecast(grid, count).peak_bytes,
            "clip": location(clip) if ready else None,
            "schedulers": sorted(schedulers),
        }
    )
    return f"{settings(grid, 'preflight')} {how(grid, *keys)} {room}"


def kept_or_not(files):
    """Retrained models: to stay, or to go when nothing needs them any more."""
    return files if grid.config["how"]["keep_models"] == "all" else temp(files)


def last_models(wildcards):
    """The models that stay when others go: named as targets, they outlive the jobs that read them."""
    if grid.config["how"]["keep_models"] == "all":
        return []
    return [file for cell in grid.last_cells() for file in grid.model_files(cell)]


def training_ratio(wildcards):
    return grid.training_ratio(cell_of(wildcards))


def generated_option(wildcards, input):
    return f"--generated {input.generated}" if input.generated else ""


def parent_option(wildcards, input):
    return f"--parent-model {Path(input.parent[0]).parent}" if input.parent else ""


def drop_option(wildcards):
    replacement = arm_of(wildcards).parameters.get("replacement")
    return "--drop-missing" if replacement == "drop" else ""


def in_base(wildcards):
    """Whether a job belongs to iteration 0, which has no control, ratio and iteration in its paths."""
    return not hasattr(wildcards, "control")


def named_place(wildcards):
    folder = (
        f"{getattr(wildcards, 'base', 'base')}/seed-{wildcards.seed}"
        if in_base(wildcards)
        else cell_of(wildcards).path
    )
    return f"--cell {folder} --seed {wildcards.seed}"


def named_cell(wildcards):
    return f"{named_place(wildcards)} --iteration {getattr(wildcards, 'iteration', 0)}"


def sampled_cell(wildcards, input):
    """The cell, and the retrained model that draws for it; without one, the base model does."""
    model = input.get("model")
    return named_cell(wildcards) + (
        f" --model {Path(model[0]).parent}" if model else ""
    )


def scored_cell(wildcards, input):
    words = sampled_cell(wildcards, input)
    if in_base(wildcards):
        words += f" --seed-images {input.seed_images}"
    elif input.curated:
        words += f" --curated {input.curated[0]} --curated-table {input.curated[1]}"
    return words


def evaluator_weights():
    """The weights of all feature spaces, and of the CLIP that scores captions."""
    score = grid.config["score"]
    inception = score["inception"] if "inception" in score["features"] else None
    return weights_files(score["clip"]) + weights_files(inception)


# Inputs of most jobs: looked at once, not for every one of thousands.
base_model, evaluator_files, sifid_weights = [], [], {}
if grid.family == DIFFUSION:
    base_model = weights_files(grid.config["model"]["path"])
    evaluator_files = evaluator_weights()
    sifid_weights = {
        arm.name: weights_files(arm.parameters["inception"])
        for arm in grid.arms_of("sifid_cull")
    }


def sifid_files(wildcards):
    """Weights of single-image FID, if it needs any but the base model's."""
    return sifid_weights[wildcards.control]


def staging_source(wildcards):
    sources = grid.downloads()
    if wildcards.weights not in sources:
        raise WorkflowError(
            f"no key of the config names weights called '{wildcards.weights}'; those that are staged: {', '.join(sources) or 'none'}."
        )
    return options({"source": sources[wildcards.weights]})


def base_metrics(wildcards):
    return [
        f"{grid.folder}/{base}/seed-{seed}/metrics.json"
        for base in grid.bases
        for seed in grid.seeds
    ]


def first_base_metrics(wildcards):
    return base_metrics(wildcards)[0]


def cell_metrics(wildcards):
    return [f"{grid.folder}/{cell.path}/metrics.json" for cell in grid.cells()]


def diagnostic_metrics(wildcards):
    if grid.family != DIFFUSION or not grid.config["diagnostics"]["vae_round_trips"]:
        return []
    return [f"{grid.folder}/reference/vae_round_trips.json"]
