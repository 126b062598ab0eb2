# What training sets of images are made of: functions only.


def drawn_images(wildcards):
    """What the chain's models drew, the last one or all so far."""
    return with_advice(grid.drawn_images, cell_of(wildcards))


def further_draws(wildcards):
    """What the last model drew besides, for ratios above 100."""
    return with_advice(grid.further_draws, cell_of(wildcards))


def generated_option(wildcards, input):
    words = [f"--generated {input.generated}"] if input.generated else []
    words += [f"--draws {input.draws}"] if input.draws else []
    return " ".join(words)
