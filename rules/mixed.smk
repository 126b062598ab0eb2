# What training sets of images are made of: functions only.


def drawn_images(wildcards):
    """What the chain's models drew, the last one or all so far."""
    return with_advice(grid.drawn_images, cell_of(wildcards))


def further_draws(wildcards):
    """What the last model drew besides, for ratios above 100."""
    return with_advice(grid.further_draws, cell_of(wildcards))


def fed_images(wildcards):
    """What another chain drew at the iteration before, for arms that it feeds."""
    return with_advice(grid.fed_images, cell_of(wildcards)) or []


def other_samples(wildcards):
    """What that chain draws at the same iteration. Not its features: two chains that feed each other would wait for them."""
    other = with_advice(grid.other, cell_of(wildcards))
    return f"{grid.folder}/{other.path}/samples.parquet" if other else []


def generated_option(wildcards, input):
    words = [f"--generated {input.generated}"] if input.generated else []
    words += [f"--draws {input.draws}"] if input.draws else []
    words += [f"--fed {input.other}"] if input.other else []
    return " ".join(words)


def fresh_images(wildcards):
    """The real images that a regime puts into a training set and no other."""
    needed = arm_of(wildcards).regime.needs_fresh
    return with_advice(grid.fresh_images, cell_of(wildcards)) if needed else []


def fresh_option(wildcards, input):
    return f"--fresh {input.fresh}" if input.fresh else ""


def fresh_sets_up_to(wildcards):
    """The reserved sets before one, in the order in which they are taken, and that one."""
    names, own = grid.fresh_sets(), wildcards.set.removeprefix("iteration-")
    if own not in names:
        raise WorkflowError(
            f"no arm takes real images that are reserved as {wildcards.set}. Change the configuration or ask for another file."
        )
    return f"--fresh-sets {' '.join(names[: names.index(own) + 1])}"


def drop_option(wildcards):
    replacement = arm_of(wildcards).parameters.get("replacement")
    return "--drop-missing" if replacement == "drop" else ""
