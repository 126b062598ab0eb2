"""Captions of the pretraining data, and a tokenizer that knows their words."""

import numpy as np
from numpy.typing import NDArray
from transformers import CLIPTokenizer

from nepotism.pretrain.data import NAMES, describe, named_factors
from nepotism.sources.portraits import GROUP_FACTORS

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


def generator_caption(row: NDArray[np.int64], rng: np.random.Generator) -> str:
    """What the generator learns from: mostly the group's caption, sometimes other factors too, sometimes nothing."""
    named = named_factors(row)
    kind = rng.random()
    if kind < 0.1:
        return ""
    if "digit" in named or kind < 0.3:
        return describe({factor: name for factor, name in named.items() if factor == "digit" or rng.random() < 0.6})
    return describe({factor: named[factor] for factor in GROUP_FACTORS})


def evaluator_caption(row: NDArray[np.int64], rng: np.random.Generator) -> str:
    """What the evaluator learns from: few or many of all factors, so that it sees wherever diversity may die."""
    named = named_factors(row)
    share = rng.uniform(0.3, 1.0)
    return describe({factor: name for factor, name in named.items() if factor == "digit" or rng.random() < share})
