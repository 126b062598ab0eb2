"""Variational autoencoders of handwritten digits: each is trained from scratch on what the one before drew.

This module is what the Snakefile needs to know of the family: standard library only.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nepotism.experiment import aspects
from nepotism.experiment.aspects import profiled
from nepotism.measure.metrics import K, Metric, Space, declared
from nepotism.weights.locations import staged_name

# Its figures, functions of its module `figures`, and what they show.
FIGURES = {
    "digits": "The first digits that every condition draws, generation after generation.",
    "distance": "Fréchet distance from held-out digits, in the features of the classifier, over generations: mean of the seeds "
    "with their range. Dotted: of as many real digits.",
    "classes": "Share of every digit among the samples, over generations, as the classifier tells them: mean of the seeds.",
    "spread": "How much of the variety is left, over generations: variance under generation 0's encoder, and distance between "
    "digits of one class (dashed), both relative to real digits.",
}
# Digits, and so classes.
CLASSES = 10
# A class is lost if it has less than this share of what an even one would have.
LOST = 0.1
CLASSIFIER = Space(
    "classifier", "what the classifier, which is trained on a split of its own, knows of a digit before its last layer"
)
GENERATION_0 = Space("generation 0", "posterior means of the encoder of generation 0")
SPACES = (CLASSIFIER, GENERATION_0)
METRICS = declared(
    Metric(
        "fid", "Fréchet distance from as many held-out digits, in the features of the classifier",
        "[0, inf)", "lower", "Heusel et al. 2017 (arXiv 1706.08500)",
    ),
    Metric(
        "precision", f"share of samples inside the ball of a held-out digit, which reaches to its {K}th nearest "
        "neighbour",
        "[0, 1]", "higher", "Kynkäänniemi et al. 2019 (arXiv 1904.06991)",
    ),
    Metric(
        "recall", f"share of held-out digits inside the ball of a sample (k = {K})",
        "[0, 1]", "higher", "Kynkäänniemi et al. 2019 (arXiv 1904.06991)",
    ),
    Metric(
        "within_class_distance", "mean distance of the features of two digits of one class (no row where no class "
        "has two)",
        "[0, inf)", "higher",
    ),
    Metric(
        "latent_spread", "total variance of the posterior means of generation 0's encoder, over that of the training "
        "digits",
        "[0, inf)", "higher",
    ),
    Metric(
        "class_share_<digit>", "share of samples that the classifier takes for that digit",
        "[0, 1]", "neither", several=tuple(map(str, range(CLASSES))),
    ),
    Metric("rejected", "share of samples that the classifier takes for no digit", "[0, 1]", "lower"),
    Metric(
        "class_entropy", f"entropy of the classes of what is a digit, over ln {CLASSES}; 0 where nothing is",
        "[0, 1]", "higher",
    ),
    Metric(
        "lost_classes", f"digits with less than {100 * LOST:g} % of an even share of the samples",
        f"[0, {CLASSES}]", "lower",
    ),
)  # fmt: skip
# What its profile of collapse is made of.
PROFILE = (
    *profiled("distance", aspects.DISTANCE, aspects.RISK, ["fid"]),
    *profiled("fidelity", aspects.SHARE, aspects.HALLUCINATION, ["precision"]),
    *profiled("fidelity", aspects.LOSS, aspects.HALLUCINATION, ["rejected"]),
    *profiled("diversity", aspects.SHARE, aspects.VARIANCE, ["recall"]),
    *profiled("diversity", aspects.AMOUNT, aspects.VARIANCE, ["within_class_distance", "latent_spread"]),
    *profiled("diversity", aspects.SHARE, aspects.MODES, ["class_entropy"]),
)
# Its scores for a glance, the first for each cell.
HEADLINES = ("fid", "class_entropy")
# What its digits, and the classifier that it measures with, are written to.
REFERENCE = ("real.parquet", "holdout.parquet", "classifier.safetensors")
# Whether its jobs run torch, on a GPU where there is one.
TORCH = True
# Keys that all arms share.
SHARED = ("data", "split", "classifier")
# Keys that generation 0 does not look at.
LATER = ()
# What memory is reckoned with: MNIST's side. The file is not opened to know its own.
USUAL_SIDE = 28


def original_settings(block: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the original digits and the classifier."""
    return {key: block[key] for key in SHARED}


def execution(block: Mapping[str, Any]) -> dict[str, Any]:
    """What of a block only says how: nothing."""
    return {}


def reads_parent(block: Mapping[str, Any]) -> bool:
    """Whether a generation is fitted from the model of the one before: each is trained from scratch."""
    return False


def sources(block: Mapping[str, Any]) -> list[str]:
    """Downloads that a block names."""
    return [block["data"]]


def memory_mb(block: Mapping[str, Any], generations: int) -> int:
    """Megabytes of a job whose models are trained on the rows of ``generations`` generations at once."""
    pixels = block["split"]["real"] * generations * USUAL_SIDE**2
    # Distances between all samples and all held-out digits, some of them twice.
    compared = min(block["split"]["real"], block["split"]["holdout"])
    return 1500 + (5 * pixels + 42 * compared**2) // 10**6


def fresh_contradictions(block: Mapping[str, Any], key: str, iterations: int) -> Iterator[str]:
    """Whether there are original rows for ``iterations`` training sets of an arm of the regime fresh, which is called ``key``."""
    needed = iterations * block["split"]["real"]
    if block["split"]["fresh"] < needed:
        there = block["split"]["fresh"]
        yield f"`{key}`: {iterations} iterations of the regime fresh need {needed} original rows, but `vae.split.fresh` is {there}"


def contradictions(block: Mapping[str, Any], key: str, iterations: int) -> Iterator[str]:
    """What is wrong with a block `vae`, which is called ``key``, of chains of ``iterations`` iterations, that its schema cannot tell."""
    if min(block["snapshots"]) > iterations:
        yield f"`{key}.snapshots`: none is within the {iterations} iterations; begin with 0"
    if block["batch_size"] > block["split"]["real"]:
        yield f"`{key}.batch_size`: {block['batch_size']}, but `vae.split.real` has only {block['split']['real']} digits"
    data = block["data"]
    if ":" in data and not (staged_name(data) or "").startswith("datasets--"):
        yield f"`{key}.data`: '{data}' is not dataset:<organisation>/<repository>[/<folder>]@<revision>; give that, digits, or a path"
