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
