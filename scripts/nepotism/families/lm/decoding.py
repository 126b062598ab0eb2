"""How a language model goes on from a text: greedily, by beam search, or by draws. transformers does the work."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from nepotism.families.lm.networks import Tokens, batches
from nepotism.runtime import streams
from nepotism.runtime.resume.checkpoints import NOWHERE, Store

# Blocks that are edited at a time.
EDITED = 64
# What an edit is drawn from, in the authors' code (github.com/Xuekai-Zhu/toedit, strategy up_revise): the likeliest tokens, by their
# probability to the power of 1 over this.
CANDIDATES, FLATTER = 8, 1.5


class _AtEachToken(StoppingCriteria):
    """Asked after every token: never ends a text, but may end the process."""

    def __init__(self, pause: Callable[[], None]) -> None:
        self._pause = pause

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> torch.BoolTensor:
        self._pause()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


def _noise(random: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """Gumbel noise: added to logits, it makes the largest a draw from the softmax (Gumbel 1954; Maddison et al. 2014, arXiv
    1411.0030)."""
    return -np.log(random.standard_exponential(shape))


class _Gumbel(LogitsProcessor):
    """Gumbel noise on the logits of every block, from a stream of its own."""

    def __init__(self, stream: streams.StreamKey, blocks: Iterable[int]) -> None:
        self._random = [streams.generator(*stream, block) for block in blocks]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        noise = np.stack([_noise(random, scores.shape[1]) for random in self._random])
        return scores + torch.from_numpy(noise.astype(np.float32)).to(scores.device)  # type: ignore[return-value]


@dataclass(frozen=True)
class Decoding:
    """How a model writes; names and meanings are those of transformers' ``GenerationConfig``.

    Attributes:
        do_sample: draw each token from the model's distribution, rather than take the likeliest continuation.
        num_beams: of beam search; 1 is greedy. Draws have one.
        temperature: that logits are divided by before a draw.
        top_k: the likeliest tokens that a draw is from; 0 for all (Fan et al. 2018, arXiv 1805.04833).
        top_p: a draw is from the likeliest tokens that together have this probability (nucleus sampling: Holtzman et al. 2020,
            arXiv 1904.09751).
        repetition_penalty: how much less likely a token becomes that was there before; 1 is none (Keskar et al. 2019, arXiv
            1909.05858).
    """

    do_sample: bool = False
    num_beams: int = 1
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Decoding":
        """That of a config's block `lm`."""
        return cls(**{field.name: settings[field.name] for field in fields(cls)})

    def warpers(self) -> list[LogitsProcessor]:
        """What changes the logits before a draw, in transformers' order."""
        found: list[LogitsProcessor] = []
        if self.temperature != 1:
            found.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            found.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            found.append(TopPLogitsWarper(self.top_p))
        return found


@torch.no_grad()
def write_on(
    model: PreTrainedModel, prompts: Tokens, decoding: Decoding, batch: int,
    checkpoints: Store = NOWHERE, stream: streams.StreamKey | None = None,
) -> Tokens:  # fmt: skip
    """What a model writes after each block, as many tokens: int32 like ``prompts``.

    With a random stream, token by token by draws, whatever ``decoding`` says of that: block s draws from the stream ``(*stream,
    s)``, whatever the size of a batch. Without one, by beam search.
    """
    model.eval()
    length = prompts.shape[1]
    ends = model.generation_config.eos_token_id
    found = checkpoints.newest()
    written = [found.tensors["written"]] if found else []
    done = found.position if found else 0

    def state() -> tuple[dict[str, Any], dict[str, Any]]:
        return {"written": np.concatenate(written) if written else np.empty((0, length), np.int32)}, {}

    def pause() -> None:
        if checkpoints.told_to_stop():
            checkpoints.offer(done, state)

    for part in batches(prompts[done:], batch):
        drawing = [*decoding.warpers(), _Gumbel(stream, range(done, done + len(part)))] if stream else []
        made = model.generate(
            input_ids=part, attention_mask=torch.ones_like(part), do_sample=False,
            num_beams=1 if stream else decoding.num_beams, min_new_tokens=length, max_new_tokens=length,
            repetition_penalty=decoding.repetition_penalty, pad_token_id=ends[0] if isinstance(ends, list) else ends,
            stopping_criteria=StoppingCriteriaList([_AtEachToken(pause)]), logits_processor=LogitsProcessorList(drawing),
        )  # fmt: skip
        written.append(made[:, length:].cpu().numpy().astype(np.int32))
        done += len(part)
        if done < len(prompts):
            checkpoints.offer(done, state)
    return np.concatenate(written)


@torch.no_grad()
def edited(model: PreTrainedModel, rows: Tokens, threshold: float, stream: streams.StreamKey) -> Tokens:
    """Blocks whose tokens are drawn anew where the model finds them as likely as ``threshold``, given the original ones before
    them; 1 leaves all as they are: int32 like ``rows``.

    ToEdit (Zhu et al. 2024, arXiv 2412.14689, section 4). What a block begins with stays. Draws are from the `CANDIDATES` likeliest
    tokens, flattened by `FLATTER`, and not as the model writes: where it is sure of a token, a nucleus of nine tenths holds no other. Each
    block has a stream of its own.
    """
    if threshold >= 1:
        return rows
    model.eval()
    changed = rows.copy()
    warpers = Decoding(temperature=FLATTER, top_k=CANDIDATES).warpers()
    for begin, batch in enumerate(batches(rows, EDITED)):
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1].float()
        likely = logits.softmax(-1).gather(2, batch[:, 1:, None])[:, :, 0] >= threshold
        for place, block in enumerate(batch):
            at = likely[place].nonzero()[:, 0]
            if not len(at):
                continue
            scores = logits[place, at]
            for warp in warpers:
                scores = warp(block[None], scores)
            index = begin * EDITED + place
            noise = _noise(streams.generator(*stream, index), *scores.shape)
            drawn = (scores + torch.from_numpy(noise.astype(np.float32)).to(scores.device)).argmax(-1)
            changed[index, at.cpu().numpy() + 1] = drawn.cpu().numpy()
    return changed
