"""Captions of the pretraining data, and tokenizers that know their words."""

import json

import numpy as np
from nepotism.sources.portraits import GROUP_FACTORS
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer, GemmaTokenizer

from pretraining.data import NAMES, describe, named_factors

MAX_LENGTH = 32


def tokenizer() -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's format, trained on all words of the captions; other words fall into pieces."""
    special = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    blank = CLIPTokenizer(vocab=special, merges=[], model_max_length=MAX_LENGTH)
    return blank.train_new_from_iterator([_all_words()], vocab_size=600)


def gemma_tokenizer() -> GemmaTokenizer:
    """The same in Gemma's format: a space belongs to the word after it, and what no word has is spelt in bytes."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    learner = Tokenizer(models.BPE(byte_fallback=True, unk_token=special[3]))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split(Regex("▁?[^▁,]+|,"), "isolated")
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    learner.train_from_iterator(
        _all_words(), trainers.BpeTrainer(vocab_size=800, special_tokens=special + bytes_, show_progress=False)
    )
    model = json.loads(learner.to_str())["model"]
    return GemmaTokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        model_max_length=MAX_LENGTH,
        add_bos_token=True,
    )


def _all_words() -> list[str]:
    """Captions that have all words between them."""
    return [
        describe({factor: names[index % len(names)] for factor, names in NAMES.items() if factor != "digit"})
        for index in range(30)
    ] + [describe({"digit": word}) for word in NAMES["digit"]]


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
