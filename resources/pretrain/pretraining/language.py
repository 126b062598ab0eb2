"""The embedded language model: a small OPT and its own tokenizer, trained on five novels and saved as the hub stores them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from nepotism.families.lm import networks
from nepotism.runtime import streams
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from pretraining.training import train

# Tokens of a window: a block of an experiment and what a model writes after it.
WINDOW = 128
VOCABULARY = 2048
NETWORK = {"hidden_size": 192, "ffn_dim": 768, "num_hidden_layers": 4, "num_attention_heads": 6}
# The text is read some twenty times.
DROPOUT, WEIGHT_DECAY = 0.1, 0.1


def tokenizer_of(text: str) -> Tokenizer:
    """Byte-level BPE of `VOCABULARY` tokens, as OPT's own is."""
    return networks.train_tokenizer(text, VOCABULARY)


def fit(text: str, steps: int, batch_size: int, learning_rate: float, seed: int) -> tuple[OPTForCausalLM, Tokenizer]:
    """A model that was trained on windows of a text, and the tokenizer that cut it.

    Args:
        text: to train on.
        steps: optimizer steps.
        batch_size: windows a step.
        learning_rate: the highest of a cosine.
        seed: of weights, windows and dropout.
    """
    tokenizer = tokenizer_of(text)
    tokens = np.array(tokenizer.encode(text, add_special_tokens=False).ids)
    torch.manual_seed(streams.integer_seed("pretrain", "language", seed))
    model = OPTForCausalLM(
        OPTConfig(
            vocab_size=tokenizer.get_vocab_size(), word_embed_proj_dim=NETWORK["hidden_size"], dropout=DROPOUT,
            max_position_embeddings=WINDOW, pad_token_id=0, bos_token_id=0, eos_token_id=0, **NETWORK,
        )
    )  # fmt: skip
    model.train()

    def loss_of(windows: NDArray[np.int64]) -> torch.Tensor:
        batch = torch.from_numpy(windows)
        return model(input_ids=batch, labels=batch, use_cache=False).loss

    windows = _windows(tokens, steps, batch_size, "language", seed)
    averaged = train(model, loss_of, windows, steps, learning_rate, "language model", False, weight_decay=WEIGHT_DECAY)
    # Parameters that are tied are one, which an average of each has forgotten.
    model.load_state_dict(averaged.state_dict())
    model.tie_weights()
    return model.eval(), tokenizer


def save(model: OPTForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """A model and its tokenizer as transformers' ``from_pretrained`` reads them."""
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=WINDOW,
        bos_token=networks.END, eos_token=networks.END, unk_token=networks.END, pad_token=networks.END,
    )  # fmt: skip
    model.save_pretrained(folder)
    whole.save_pretrained(folder)


def _windows(tokens: NDArray[np.int64], steps: int, size: int, *key: str | int) -> Iterator[NDArray[np.int64]]:
    """``steps`` batches of windows (size, `WINDOW`), each from anywhere in the text."""
    rng = streams.generator("pretrain", *key)
    every = np.lib.stride_tricks.sliding_window_view(tokens, WINDOW)
    for _ in range(steps):
        yield every[rng.integers(len(every), size=size)].copy()
