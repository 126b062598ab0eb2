"""Captions of the pretraining data, and a tokenizer that knows their words."""

import numpy as np
from nepotism.sources.portraits import GROUP_FACTORS
from numpy.typing import NDArray
from transformers import CLIPTokenizer

from pretraining.data import NAMES, describe, named_factors

MAX_LENGTH = 32


def tokenizer() -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's format, trained on all words of the captions; other words fall into pieces."""
    captions = [
        describe({factor: names[index % len(names)] for factor, names in NAMES.items() if factor != "digit"})
        for index in range(30)
    ] + [describe({"digit": word}) for word in NAMES["digit"]]
    special = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    blank = CLIPTokenizer(vocab=special, merges=[], model_max_length=MAX_LENGTH)
    return blank.train_new_from_iterator([captions], vocab_size=600)


def generator_names(row: NDArray[np.int64], rng: np.random.Generator) -> dict[str, str]:
    """The factors that a caption names for the generator: mostly the group's, sometimes others too, sometimes none."""
    named = named_factors(row)
    kind = rng.random()
    if kind < 0.1:
        return {}
    if "digit" in named or kind < 0.3:
        return {factor: name for factor, name in named.items() if factor == "digit" or rng.random() < 0.6}
    return {factor: named[factor] for factor in GROUP_FACTORS}


def evaluator_names(row: NDArray[np.int64], rng: np.random.Generator) -> dict[str, str]:
    """The factors that a caption names for the evaluator: few or many, so that it sees wherever diversity may die."""
    share = rng.uniform(0.3, 1.0)
    return {factor: name for factor, name in named_factors(row).items() if factor == "digit" or rng.random() < share}
