"""Language models: each generation is trained on blocks of text that the one before wrote.

This module is what the Snakefile needs to know of the family: standard library only.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nepotism.experiment import aspects
from nepotism.experiment.aspects import profiled
from nepotism.families.lm.metrics import GENERATION_0
from nepotism.families.lm.metrics import METRICS as METRICS
from nepotism.weights.locations import hub

# Its figures, functions of its module `figures`, and what they show.
FIGURES = {
    "perplexity": "Perplexity of original test text over generations: mean of the seeds with their range.",
    "histograms": "How likely generation 0 finds what each generation writes: histograms of its perplexity per block of text, for "
    "all seeds together.",
    "texts": "What every generation of the first seed writes after one and the same block of original text.",
    "repetition": "Share of a block's runs of four tokens that the block had before, over generations: mean of the seeds with their "
    "range; dotted, of original text.",
    "zipf": "How often words are used, by their rank, generation by generation of the first seed: where a line breaks off, rare words "
    "are lost.",
}
SPACES = (GENERATION_0,)
# What its profile of collapse is made of.
PROFILE = (
    *profiled("distance", aspects.EXCESS, aspects.RISK, ["perplexity"]),
    *profiled("fidelity", aspects.SHARE, aspects.HALLUCINATION, ["mauve"]),
    *profiled("diversity", aspects.SHARE, aspects.VARIANCE, ["distinct_2grams"]),
    *profiled("diversity", aspects.LOSS, aspects.VARIANCE, ["repeated_4grams", "self_bleu"]),
    *profiled("tails", aspects.LOSS, aspects.TAILS, ["rare_tokens_lost"]),
    # Rare words are few: what is left of their share tells, and not how many points are gone.
    *profiled("tails", aspects.AMOUNT, aspects.TAILS, ["rare_words"]),
)
# Its scores for a glance, the first for each cell.
HEADLINES = ("perplexity", "repeated_4grams")
# What its blocks of text and its tokenizer are written to.
REFERENCE = ("real.parquet", "validation.parquet", "holdout.parquet", "tokenizer.json")
# Blocks that a detector is trained and held out on at least.
LEAST_DETECTOR = 30
# Keys of draws, and what they are where nothing is drawn.
NEUTRAL = {"temperature": 1, "top_k": 0, "top_p": 1}
# Keys of how many rows are held at a time, whatever the result.
BATCHES = ("generation_batch",)
# Whether its jobs run torch, on a GPU where there is one.
TORCH = True
# Keys that all arms share.
SHARED = ("data", "model", "network", "block_size", "split", "bos_per_line")
# Keys that generation 0 does not look at.
LATER = ("start_from", "epochs", "budget")
# Of a pretrained model, whose size is not known before it is there: what OPT of 125 million parameters takes, once and in training.
MODEL_MB, PRETRAINED_MB = 500, 5000


def original_settings(block: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the original blocks of text and the tokenizer: a pretrained model has its own."""
    chosen = {key: block[key] for key in ("data", "model", "block_size", "split", "bos_per_line")}
    return chosen | ({} if block["model"] else {"vocabulary": block["network"]["vocabulary"]})


def execution(block: Mapping[str, Any]) -> dict[str, Any]:
    """What of a block only says how: how much is written at a time, and how large a pretrained model is."""
    return {key: block[key] for key in ("generation_batch", *(("network",) if block["model"] else ()))}


def reads_parent(block: Mapping[str, Any]) -> bool:
    """Whether a generation is fitted from the model of the one before, and not from what generation 0 began with."""
    return bool(block["start_from"] == "parent")


def model_paths(block: Mapping[str, Any]) -> list[str]:
    """Weights that a block names."""
    return [block["model"]] if block["model"] else []


def sources(block: Mapping[str, Any]) -> list[str]:
    """Downloads that a block may name."""
    return [block["data"], *([block["model"]] if block["model"] else [])]


def memory_mb(block: Mapping[str, Any], generations: int) -> int:
    """Megabytes of a job whose models are trained on the rows of ``generations`` generations at once."""
    network, tokens = block["network"], 2 * block["block_size"]
    # Keys and values of every beam, twice while beams are put in order; and the scores of every token of a step.
    beams = block["generation_batch"] * block["num_beams"]
    cache = 4 * beams * tokens * network["hidden_size"] * network["num_hidden_layers"] * 2 * 2
    logits = 4 * (beams + 3 * block["batch_size"] * block["block_size"]) * network["vocabulary"]
    held = 8 * block["split"]["real"] * block["block_size"] * generations
    models = PRETRAINED_MB + MODEL_MB * (generations + block["chunk"]) if block["model"] else 1800
    return models + (cache + logits + held) // 10**6


def fresh_contradictions(block: Mapping[str, Any], key: str, iterations: int) -> Iterator[str]:
    """Whether there are original rows for ``iterations`` training sets of an arm of the regime fresh, which is called ``key``."""
    needed = iterations * block["split"]["real"]
    if block["split"]["fresh"] < needed:
        there = block["split"]["fresh"]
        yield f"`{key}`: {iterations} iterations of the regime fresh need {needed} original rows, but `lm.split.fresh` is {there}"


def control_contradictions(
    block: Mapping[str, Any], key: str, control: str, parameters: Mapping[str, Any]
) -> Iterator[str]:
    """What is wrong with a control and its parameters, of an arm that is called ``key``."""
    if control != "filter":
        return
    if parameters["source"] == "watermark":
        yield f"`{key}.parameters.source`: text has no watermark here; use detector or oracle"
    there = block["split"].get("detector", 0)
    if parameters["source"] == "detector" and there < LEAST_DETECTOR:
        yield (
            f"`{key}.parameters.source`: a detector is trained on original text that nothing else uses, but `lm.split.detector` is "
            f"{there}; reserve {LEAST_DETECTOR} blocks or more"
        )


def contradictions(block: Mapping[str, Any], key: str, iterations: int) -> Iterator[str]:
    """What is wrong with a block `lm`, which is called ``key``, of chains of ``iterations`` iterations, that its schema cannot tell."""
    network = block["network"]
    if network["hidden_size"] % network["num_attention_heads"]:
        heads = network["num_attention_heads"]
        yield f"`{key}.network`: hidden_size {network['hidden_size']} cannot be shared among {heads} attention heads; use a multiple"
    if block["batch_size"] > block["split"]["real"]:
        yield f"`{key}.batch_size`: {block['batch_size']}, but `lm.split.real` has only {block['split']['real']} blocks"
    if block["bos_per_line"] and not block["model"]:
        yield f"`{key}.bos_per_line`: a tokenizer that is trained here has no token that a line begins with; write false"
    if block["final_learning_rate"] is not None and block["final_learning_rate"] > block["learning_rate"]:
        yield f"`{key}.final_learning_rate`: {block['final_learning_rate']:g} is above `learning_rate`; give less, or null"
    draws = block.get("do_sample", False)
    if draws and block["num_beams"] > 1:
        yield f"`{key}.num_beams`: {block['num_beams']}, but draws (`do_sample: true`) have no beams; write 1, or `do_sample: false`"
    for name, none in NEUTRAL.items():
        if not draws and block.get(name, none) != none:
            yield f"`{key}.{name}`: {block[name]:g}, but nothing is drawn; write `do_sample: true`, or {none}"
    for name, prefix in (("data", "dataset:"), ("model", "hub:")):
        source = block[name]
        if source and source.startswith(("dataset:", "hub:")) and not (source.startswith(prefix) and hub(source)):
            yield f"`{key}.{name}`: '{source}' is not what is needed here; give a path or {prefix}<organisation>/<repository>@<revision>"
