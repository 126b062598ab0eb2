"""Causal language models: built, trained and asked for likelihoods. transformers does the work."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)
from transformers.utils import logging

from nepotism.chain.engine import Arrays
from nepotism.families.training import Training
from nepotism.runtime import streams
from nepotism.runtime.devices import reproducible_gradients
from nepotism.runtime.errors import UserError
from nepotism.runtime.resume.checkpoints import NOWHERE, Store
from nepotism.weights import loading

# Models are loaded several times a generation, into the logs of jobs.
logging.disable_progress_bar()

Tokens = NDArray[np.int32]
END = "</s>"
KEY = "lm.model"
# Blocks whose likelihood is computed at a time.
BATCH = 64


def train_tokenizer(text: str, vocabulary: int) -> Tokenizer:
    """Byte-level BPE, as OPT's own tokenizer is: any text can be written in it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer


def pretrained_tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of a pretrained model.

    Raises:
        UserError: if there is none that works fast.
    """
    loading.check_sums(Path(folder), KEY)
    tokenizer = loading.tokenizer(AutoTokenizer, Path(folder), KEY)
    if not tokenizer.is_fast:
        raise UserError(f"`lm.model`: the tokenizer in {folder} has no tokenizer.json and cannot be converted to one")
    # A whole text is cut into tokens, whatever the model was used to.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer.backend_tokenizer


def blocks(tokenizer: Tokenizer, text: str, length: int, bos_per_line: bool = False) -> Tokens:
    """A text cut into blocks of ``length`` tokens: int32 (N, length); what is left over is dropped.

    Args:
        tokenizer: that cuts it.
        text: to be cut.
        length: tokens of a block.
        bos_per_line: whether each line begins with the token that the tokenizer begins texts with.

    Raises:
        UserError: if there is no such token, or one that texts end with.
    """
    if bos_per_line:
        alone, whole = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
        if len(whole) <= len(alone) or whole[-len(alone) :] != alone:
            raise UserError(
                "`lm.bos_per_line`: the tokenizer of `lm.model` begins texts with no token, or ends them with one; write false"
            )
        lines = [part + "\n" for part in text.removesuffix("\n").split("\n")]
        found = [token for line in tokenizer.encode_batch(lines) for token in line.ids]
    else:
        found = tokenizer.encode(text, add_special_tokens=False).ids
    tokens = np.array(found, np.int32)
    return tokens[: len(tokens) // length * length].reshape(-1, length)


def vocabulary_of(tokenizer: Tokenizer) -> int:
    """How many tokens a model needs to know: one more than the highest number of one; some tokenizers leave numbers out."""
    return 1 + max(tokenizer.get_vocab().values())


def start(settings: Mapping[str, Any], vocabulary: int, *key: str | int) -> PreTrainedModel:
    """The model that generation 0 begins with: the pretrained one, or an OPT with random weights named by ``key``.

    How it writes is left to `decoding`, whatever penalties its folder's generation_config.json has.

    Raises:
        UserError: if the pretrained one cannot be loaded from safetensors.
    """
    if settings["model"]:
        model = loading.load_model(AutoModelForCausalLM, Path(settings["model"]), KEY, dtype=torch.float32)
        known = model.get_input_embeddings().num_embeddings
        # Models whose positions are relative, or that have none, know no end.
        reach = getattr(model.config, "max_position_embeddings", None)
        if reach is not None and 2 * settings["block_size"] > reach:
            raise UserError(
                f"`lm.block_size`: {settings['block_size']}, but the model reads {reach} tokens, a block and what follows: write "
                f"{reach // 2} or less"
            )
        if vocabulary > known:
            raise UserError(
                f"`{KEY}`: the tokenizer has {vocabulary} tokens, the model {known}; they are of two models"
            )
        said = model.generation_config
        model.generation_config = GenerationConfig(
            bos_token_id=said.bos_token_id, eos_token_id=said.eos_token_id, pad_token_id=said.pad_token_id
        )
        return model.to(torch.get_default_device())
    network = settings["network"]
    config = OPTConfig(
        vocab_size=vocabulary, hidden_size=network["hidden_size"], num_hidden_layers=network["num_hidden_layers"],
        ffn_dim=4 * network["hidden_size"],
        num_attention_heads=network["num_attention_heads"], word_embed_proj_dim=network["hidden_size"], dropout=0.0,
        max_position_embeddings=2 * settings["block_size"], pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(streams.integer_seed(*key))
        model = OPTForCausalLM(config)
    return model.to(torch.get_default_device())


def train(
    model: PreTrainedModel, rows: Tokens, validation: Tokens, epochs: int, batch_size: int, learning_rate: float,
    *key: str | int, final_learning_rate: float | None = None, gradient_clip: float | None = 1.0, checkpoints: Store = NOWHERE,
    most: int | None = None,
) -> None:  # fmt: skip
    """Train on blocks by AdamW; what remains are the weights of the epoch that finds ``validation`` likeliest.

    Where the model has dropout, it is drawn from streams named by ``key``, as is the order of the blocks. Half a cosine over
    the epochs takes the learning rate to ``final_learning_rate``, if that is given. An epoch has ``most`` blocks, chosen anew
    each time, or all.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)
    data = torch.from_numpy(rows.astype(np.int64)).to(torch.get_default_device())
    training = Training(model, optimizer, checkpoints)
    training.values.setdefault("best", math.inf)
    # Of an epoch: a step for every batch, and one to ask for the likelihood of validation text.
    steps = math.ceil(min(len(rows), most or len(rows)) / batch_size)
    order, ordered = torch.empty(0), -1
    forked = [torch.cuda.current_device()] if data.device.type == "cuda" else []
    with torch.random.fork_rng(forked), reproducible_gradients(data.device):
        for step in training.steps(epochs * (steps + 1)):
            epoch, number = divmod(step, steps + 1)
            if number == steps:
                found = float(losses(model, validation, training.pause).mean())
                if not np.isfinite(found):
                    raise UserError(f"the loss of validation is {found} after epoch {epoch}; lower `lm.learning_rate`")
                if found < training.values["best"]:
                    training.values["best"] = found
                    training.kept = {name: weight.clone() for name, weight in model.state_dict().items()}
                continue
            if epoch != ordered:
                order, ordered = (
                    torch.from_numpy(streams.generator(*key, "order", epoch).permutation(len(rows))[:most]),
                    epoch,
                )
            for group in optimizer.param_groups:
                group["lr"] = _rate(learning_rate, final_learning_rate, epoch / epochs)
            model.train()
            torch.manual_seed(streams.integer_seed(*key, "dropout", epoch, number))
            batch = data[order[number * batch_size :][:batch_size].to(data.device)]
            optimizer.zero_grad(set_to_none=True)
            loss = model(input_ids=batch, labels=batch, use_cache=False).loss
            if not torch.isfinite(loss):
                raise UserError(f"the loss is {loss.item()} in epoch {epoch}; lower `lm.learning_rate`")
            loss.backward()
            if gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
            optimizer.step()
    model.load_state_dict(training.kept)
    model.eval()


def _rate(first: float, final: float | None, share: float) -> float:
    """The learning rate after a share of the epochs."""
    return first if final is None else final + (first - final) * (1 + math.cos(math.pi * share)) / 2


def losses(model: PreTrainedModel, rows: Tokens, pause: Callable[[], None] = lambda: None) -> NDArray[np.float64]:
    """Mean negative log likelihood of a block's tokens but its first, nats, float64 (N,); ``pause`` may end it early."""
    found = [-each.mean(dim=1) for each, _ in _passes(model, rows, pause)]
    return torch.cat(found).cpu().numpy().astype(np.float64)


@dataclass(frozen=True)
class Reading:
    """What a model makes of N blocks.

    Attributes:
        losses: mean negative log likelihood of a block's tokens but its first, nats, float64 (N,).
        embeddings: mean over its tokens of the last layer's output, float32 (N, D).
    """

    losses: NDArray[np.float64]
    embeddings: NDArray[np.float32]


def read(model: PreTrainedModel, rows: Tokens) -> Reading:
    """The likelihoods and the embeddings of blocks, in one pass."""
    found = [(-each.mean(dim=1), states.mean(dim=1)) for each, states in _passes(model, rows, states=True)]
    losses, embeddings = (torch.cat(part).cpu().numpy() for part in zip(*found, strict=True))
    return Reading(losses.astype(np.float64), embeddings.astype(np.float32))


@torch.no_grad()
def _passes(
    model: PreTrainedModel, rows: Tokens, pause: Callable[[], None] = lambda: None, states: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of every batch, the log likelihood of each token but the first, and the last layer's output at each, if asked for."""
    model.eval()
    for batch in batches(rows, BATCH):
        pause()
        made = model(input_ids=batch, use_cache=False, output_hidden_states=states)
        logits = made.logits[:, :-1].float()
        each = -torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none")
        yield each, made.hidden_states[-1].float() if states else each


def arrays(model: PreTrainedModel) -> Arrays:
    """The weights of a model, each once: what is tied to others is left out."""
    tied = set(model.all_tied_weights_keys)
    return {name: weight.detach().cpu().numpy() for name, weight in model.state_dict().items() if name not in tied}


def restore(model: PreTrainedModel, weights: Arrays) -> PreTrainedModel:
    """Give a model such weights."""
    tensors = {name: torch.from_numpy(np.asarray(weight)) for name, weight in weights.items()}
    loading.fill(
        model, tensors, "`lm`: a generation's weights", loading.OTHER_SETTINGS, set(model.all_tied_weights_keys)
    )
    model.tie_weights()
    return model.eval()


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer from its file."""
    return Tokenizer.from_file(str(path))


def batches(rows: Tokens, size: int) -> Iterator[Tensor]:
    """Rows as tensors of at most ``size`` of them, where models run."""
    yield from torch.from_numpy(rows.astype(np.int64)).to(torch.get_default_device()).split(size)
