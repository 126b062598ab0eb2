"""Captions as a model's denoiser reads them: one or several tensors, each with a row per caption."""

from collections.abc import Sequence

import torch

# By name; the first dimension of each is the captions'. A model with one encoder has "text" only; others add masks or a pooled
# embedding.
Text = dict[str, torch.Tensor]


def count(text: Text) -> int:
    """Number of captions."""
    return len(next(iter(text.values())))


def rows(text: Text, chosen: Sequence[int] | torch.Tensor | slice) -> Text:
    """The captions at some indices, in that order."""
    return {name: tensor[chosen] for name, tensor in text.items()}


def repeated(text: Text, times: int) -> Text:
    """One caption, as many times."""
    return {name: tensor.expand(times, *tensor.shape[1:]) for name, tensor in text.items()}


def joined(texts: Sequence[Text]) -> Text:
    """Captions one after another."""
    return {name: torch.cat([text[name] for text in texts]) for name in texts[0]}


def single(text: Text) -> Text:
    """The same in single precision; masks stay what they are."""
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in text.items()}


def moved(text: Text, device: torch.device | str) -> Text:
    """The same on another device."""
    return {name: tensor.to(device) for name, tensor in text.items()}
