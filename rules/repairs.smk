# Repairs whose images are drawn by two models: functions only.


def extrapolated_model(wildcards):
    """The model that draws together with the cell's own; nothing where that draws alone."""
    return with_advice(grid.extrapolated_model, cell_of(wildcards))


def drawing_options(input):
    """The options of the models among a job's inputs."""
    named = {"--model": input.get("model"), "--parent-model": input.get("parent")}
    return [
        f"{option} {Path(files[0]).parent}" for option, files in named.items() if files
    ]
