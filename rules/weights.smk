# Weights of models: which small files stand for them among the inputs of rules, and which models stay. Functions only.
from nepotism.plan.downloads import downloads
from nepotism.plan.forecast import forecast
from nepotism.plan.knobs import ways_of_sampling, ways_of_training
from nepotism.experiment.stages import options
from nepotism.weights.locations import FOLDER, location, staged_name


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


def preflight_options(wildcards):
    """What preflight tries of a base model, how large the steps are, and how much room the results need."""
    # Where only the images tell how many groups there are: models take most of the room.
    count = known_groups or 1
    keys = (
        "device",
        "threads",
        "sample_batch_size",
        "num_processes",
        "per_device_batch_size",
        "gradient_checkpointing",
    )
    clip = grid.config["score"]["clip"]
    # What is staged later, the first job that scores will try.
    ready = staged_name(clip) is None or os.path.isdir(location(clip))
    arms = [arm for arm in grid.arms if arm.model == wildcards.model]
    # The experiment's own model is drawn with the config's own settings, too.
    ways = [None, *arms] if wildcards.model == "" else arms
    begin = [arm for arm in ways if arm is None or arm.goes_on_from is None]
    drawing = [(grid.block("initial_images", arm), 1) for arm in begin]
    drawing += [
        (
            grid.block("sample", arm),
            2 if arm and arm.regime.extrapolates == "scores" else 1,
        )
        for arm in ways
    ]
    room = options(
        {
            "disk_bytes": forecast(grid, count).peak_bytes,
            "clip": location(clip) if ready else None,
            "schedulers": sorted({block["scheduler"] for block, _ in drawing}),
            "samplings": ways_of_sampling(drawing),
            "trainings": ways_of_training(grid.block("finetune", arm) for arm in arms),
        }
    )
    chosen = settings(grid, "preflight", arm_of(wildcards))
    return f"{chosen} {execution_options(grid, *keys)} {room}"


def kept_or_not(files):
    """Retrained models: to stay, or to go when nothing needs them any more."""
    return files if grid.config["execution"]["keep_models"] == "all" else temp(files)


def last_models(wildcards):
    """The models that stay when others go: named as targets, they outlive the jobs that read them."""
    if grid.config["execution"]["keep_models"] == "all":
        return []
    return models_of(grid.last_cells(grid.certain_cells()))


def models_of(cells):
    return [file for cell in cells for file in grid.model_files(cell)]


def last_models_of(cells):
    """The same of the cells at a ratio that a search has asked for."""
    is_kept = grid.config["execution"]["keep_models"] == "all"
    return [] if is_kept else models_of(grid.last_cells(cells))


searched_models = of_searches(last_models_of)


def evaluator_weights():
    """The weights of all feature spaces, and of the CLIP that scores captions."""
    score = grid.config["score"]
    spaces = [space for space in ("inception", "dinov2") if space in score["features"]]
    return [file for name in ("clip", *spaces) for file in weights_files(score[name])]


# Inputs of most jobs: looked at once, not for every one of thousands.
base_models, clip_files, evaluator_files, sifid_weights = {}, [], [], {}
if grid.family == DIFFUSION:
    base_models = {
        model: weights_files(source) for model, source in grid.models.items()
    }
    clip_files = weights_files(grid.config["score"]["clip"])
    evaluator_files = evaluator_weights()
    sifid_weights = {
        arm.name: weights_files(arm.parameters["inception"])
        for arm in grid.treated_by("sifid_cull")
    }


def base_model(wildcards):
    """The weights of a job's base model: of its arm, or the experiment's own."""
    arm = arm_of(wildcards)
    return base_models[arm.model if arm else ""]


def own_base_model(wildcards):
    """The weights of the experiment's own base model, in whose features single images of all arms are compared."""
    return base_models[""]


def culling_models(wildcards):
    """The weights of the base model that draws anew, and of the one in whose features images are compared."""
    own = base_models[""] if arm_of(wildcards).borrows_features else []
    return [*base_model(wildcards), *own]


def checked_model(wildcards):
    """The record of preflight of a job's base model."""
    arm = arm_of(wildcards)
    return f"{grid.folder}/preflight{arm.model if arm else ''}.json"


def sifid_files(wildcards):
    """Weights of single-image FID, if it needs any but the base model's."""
    return sifid_weights[wildcards.control]


def staging_source(wildcards):
    sources = downloads(grid)
    if wildcards.weights not in sources:
        raise WorkflowError(
            f"no key of the config names weights called '{wildcards.weights}'; those that are staged: {', '.join(sources) or 'none'}."
        )
    return options({"source": sources[wildcards.weights]})


def image_of_jobs():
    """The image that jobs run in with `--sdm apptainer`; None without that, so that the key is nobody's else."""
    methods = workflow.deployment_settings.deployment_method
    if "apptainer" not in {method.item_to_choice() for method in methods}:
        return None
    image = grid.config["execution"]["container"]
    if image is None:
        raise WorkflowError(
            "`execution.container`: name the image that jobs run in with --sdm apptainer; envs/apptainer.def makes one"
        )
    file = in_project(image)
    if not os.path.isfile(file):
        raise WorkflowError(
            f"`execution.container`: there is no file {file}; build it from envs/apptainer.def, or name another"
        )
    return os.path.abspath(file)
