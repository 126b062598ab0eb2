# Of families whose generations are made in chunks: what their jobs need. Functions only.
from nepotism.experiment.cells import draw_count
from nepotism.families import family_package, rule_files
from nepotism.plan.grid import CHUNK_FILES

# What a family of chunks says: names and captions of its figures, and the files of its original rows.
family_figures, reference_files, family_downloads, family_gpu = {}, [], [], 0
# Weights that every generation may start from.
family_weights = []
if grid.family != DIFFUSION:
    family_figures = family_package(grid.family).FIGURES
    reference_files = [
        f"results/{{experiment}}/reference/{name}"
        for name in family_package(grid.family).REFERENCE
    ]
    family_downloads = [
        in_project(f"{FOLDER}/{name}/SHA256SUMS") for name in downloads(grid)
    ]
    model_paths = getattr(family_package(grid.family), "model_paths", lambda block: [])
    family_weights = [
        file
        for source in model_paths(grid.family_block(None))
        for file in weights_files(source)
    ]
    family_gpu = gpu if family_package(grid.family).TORCH else 0


def read_chunks(wildcards):
    """Folders of the chunks that a chunk goes on from: the one before, or all where its arm accumulates; of an arm with a control,
    also generation 0, which detectors are trained on."""
    folders = with_advice(grid.earlier_chunks, cell_of(wildcards))
    arm = arm_of(wildcards)
    if arm.regime.accumulates:
        return folders
    return list(dict.fromkeys([*folders[: arm.is_controlled], folders[-1]]))


def earlier_models(wildcards):
    """Models that a chunk reads: to be fitted from, to draw again what an accumulating arm keeps, or to draw several rows of
    a slot."""
    arm = arm_of(wildcards)
    reads = family_package(grid.family).reads_parent(grid.family_block(arm))
    again = (
        arm.regime.accumulates or arm.is_controlled or draw_count(wildcards.ratio) > 1
    )
    if not reads and not again:
        return []
    return [f"{folder}/model/{CHUNK_FILES[0]}" for folder in read_chunks(wildcards)]


def earlier_samples(wildcards):
    """What earlier generations drew."""
    return [f"{folder}/samples.parquet" for folder in read_chunks(wildcards)]


def filtered_manifest(wildcards):
    """What a filter made of the training sets of a chunk, to be scored."""
    arm = arm_of(wildcards)
    folder = f"results/{wildcards.experiment}/{cell_of(wildcards).path}"
    return f"{folder}/mix.parquet" if arm.filters else []


def first_model(wildcards):
    """The model of generation 0, which scores compare with."""
    folder = with_advice(grid.earlier_chunks, cell_of(wildcards))[0]
    return f"{folder}/model/{CHUNK_FILES[0]}"


def generation_options(wildcards, resources):
    """What changes no generation: functions of resources are not tracked."""
    return f"{execution_options(grid, *GENERATING_KEYS)} {family_execution_options(grid, arm_of(wildcards))}"


def generation_score_options(wildcards, resources):
    """What changes no score."""
    return f"{execution_options(grid, 'device', 'threads')} {family_execution_options(grid, arm_of(wildcards))}"


def chunk_of_generations(wildcards):
    """The generations that a job makes."""
    if in_base(wildcards):
        return f"{named_place(wildcards)} --first 0 --last 0"
    cell = cell_of(wildcards)
    first = with_advice(grid.first_iteration, cell)
    return f"{named_place(wildcards)} --ratio {cell.ratio} --first {first} --last {cell.iteration}"


def memory_of_generations(wildcards, attempt):
    """Megabytes of a job: an arm that accumulates fits to the rows of all generations so far, others to those of all draws."""
    arm = arm_of(wildcards)
    held = 1
    if arm and arm.regime.accumulates:
        held += int(getattr(wildcards, "iteration", 0))
    held += max(0, draw_count(getattr(wildcards, "ratio", 0)) - 1)
    return attempt * family_package(grid.family).memory_mb(grid.family_block(arm), held)
