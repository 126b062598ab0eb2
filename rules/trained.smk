# What trains: mixtures, what filters leave of them, and what filters go by. Functions only.


def training_set(wildcards):
    return with_advice(grid.training_set, cell_of(wildcards))


def encoded_images(wildcards):
    """The real images of a training set, encoded by its arm's base model: the reference, and those that are reserved for it."""
    ending = f"{arm_of(wildcards).model}.safetensors"
    fresh = with_advice(grid.fresh_images, cell_of(wildcards))
    encoded = [f"{Path(fresh).with_suffix('')}{ending}"] if fresh else []
    return [f"{grid.folder}/reference/latents{ending}", *encoded]


def spare_images(wildcards):
    """Real images that stand in for rows which were taken for generated, beside those of the reference."""
    arm = arm_of(wildcards)
    needed = arm.control.needs_fresh(arm.parameters)
    return with_advice(grid.fresh_images, cell_of(wildcards)) if needed else []


def filtered_table(wildcards):
    """What a filter did to each row of the training set; nothing where the arm has none."""
    manifest = Path(training_set(wildcards))
    return str(manifest.with_suffix(".csv")) if manifest.stem == "filtered" else []


def detector_of(wildcards):
    return with_advice(grid.detector, cell_of(wildcards)) or []


def clip_of_detector(wildcards):
    """The weights of the CLIP on whose features a detector looks; nothing where there is none."""
    return clip_files if detector_of(wildcards) else []


def detector_option(wildcards, input):
    return f"--detector {input.detector}" if input.detector else ""


def filter_options(wildcards, input):
    return f"{fresh_option(wildcards, input)} {detector_option(wildcards, input)}"


def detector_cell(wildcards, input):
    return f"{sampled_cell(wildcards, input)} --purpose detector"


def images_of_last_model(wildcards):
    """What the model draws for a detector that the detector has to tell."""
    cell = cell_of(wildcards)
    parent = with_advice(grid.parent, cell)
    folder = (
        parent.path if parent else f"{grid.arm(cell.control).base}/seed-{cell.seed}"
    )
    return f"{grid.folder}/{folder}/detector_images.parquet"
