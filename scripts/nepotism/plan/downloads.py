"""What of an experiment must be downloaded before anything runs. Standard library only."""

from nepotism.families import family_package
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.weights.locations import staged_name


def downloads(grid: Grid) -> dict[str, str]:
    """Sources of the weights and data that must be staged, by the name of their folder in ``resources/models/``."""
    if grid.family != DIFFUSION:
        of_family = family_package(grid.family).sources(grid.config[grid.family])
        return {name: source for source in of_family if (name := staged_name(source))}
    score = grid.config["score"]
    sources = [*grid.models.values(), score["clip"]]
    sources += [score[space] for space in ("inception", "dinov2") if space in score["features"]]
    sources += [arm.parameters["inception"] for arm in grid.treated_by("sifid_cull")]
    sources += [grid.config["reference"]["ffhq"]["weights"]] if grid.shards() else []
    return {name: source for source in sources if (name := staged_name(source))}
