"""Causal language models: built, trained, sampled and asked for likelihoods. transformers does the work."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, OPTConfig, OPTForCausalLM, PreTrainedModel
from transformers.utils import logging

from nepotism import loading, streams
from nepotism.errors import UserError
from nepotism.generations import Arrays

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


def blocks(tokenizer: Tokenizer, text: str, length: int) -> Tokens:
    """A text cut into blocks of ``length`` tokens: int32 (N, length); what is left over is dropped."""
    tokens = np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32)
    return tokens[: len(tokens) // length * length].reshape(-1, length)


def start(settings: Mapping[str, Any], vocabulary: int, *key: str | int) -> PreTrainedModel:
    """The model that generation 0 begins with: the pretrained one, or an OPT with random weights named by ``key``.

    Raises:
        UserError: if the pretrained one cannot be loaded from safetensors.
    """
    if settings["model"]:
        model = loading.load(AutoModelForCausalLM, Path(settings["model"]), KEY, dtype=torch.float32)
        reach, known = model.config.max_position_embeddings, model.get_input_embeddings().num_embeddings
        if 2 * settings["block"] > reach:
            raise UserError(
                f"`lm.block`: {settings['block']}, but the model reads {reach} tokens: a block and what follows"
            )
        if vocabulary > known:
            raise UserError(
                f"`{KEY}`: the tokenizer has {vocabulary} tokens, the model {known}; they are of two models"
            )
        return model.to(torch.get_default_device())
    network = settings["network"]
    config = OPTConfig(
        vocab_size=vocabulary, hidden_size=network["width"], num_hidden_layers=network["layers"], ffn_dim=4 * network["width"],
        num_attention_heads=network["heads"], word_embed_proj_dim=network["width"], dropout=0.0,
        max_position_embeddings=2 * settings["block"], pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(streams.integer_seed(*key))
        model = OPTForCausalLM(config)
    return model.to(torch.get_default_device())


def train(
    model: PreTrainedModel, rows: Tokens, validation: Tokens, epochs: int, batch_size: int, learning_rate: float,
    *key: str | int,
) -> None:  # fmt: skip
    """Train on blocks by AdamW; what remains are the weights of the epoch that finds ``validation`` likeliest.

    Where the model has dropout, it is drawn from streams named by ``key``, as is the order of the blocks.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)
    data = torch.from_numpy(rows.astype(np.int64)).to(torch.get_default_device())
    best, kept = np.inf, model.state_dict()
    with torch.random.fork_rng([torch.cuda.current_device()] if data.device.type == "cuda" else []):
        torch.manual_seed(streams.integer_seed(*key, "dropout"))
        for epoch in range(epochs):
            model.train()
            order = torch.from_numpy(streams.generator(*key, "order", epoch).permutation(len(rows)))
            for chosen in order.split(batch_size):
                batch = data[chosen.to(data.device)]
                optimizer.zero_grad(set_to_none=True)
                loss = model(input_ids=batch, labels=batch, use_cache=False).loss
                if not torch.isfinite(loss):
                    raise UserError(f"the loss is {loss.item()} in epoch {epoch}; lower `lm.learning_rate`")
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            found = float(losses(model, validation).mean())
            if not np.isfinite(found):
                raise UserError(f"the loss of validation is {found} after epoch {epoch}; lower `lm.learning_rate`")
            if found < best:
                best, kept = found, {name: weight.clone() for name, weight in model.state_dict().items()}
    model.load_state_dict(kept)
    model.eval()


@torch.no_grad()
def losses(model: PreTrainedModel, rows: Tokens) -> NDArray[np.float64]:
    """Mean negative log likelihood of a block's tokens but its first, nats, float64 (N,)."""
    model.eval()
    found = []
    for batch in _batches(rows, BATCH):
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1].float()
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none")
        found.append(each.mean(dim=1).cpu())
    return torch.cat(found).numpy().astype(np.float64)


@torch.no_grad()
def write_on(model: PreTrainedModel, prompts: Tokens, num_beams: int, repetition_penalty: float, batch: int) -> Tokens:
    """What a model writes after each block, as many tokens, by beam search: int32 like ``prompts``."""
    model.eval()
    length = prompts.shape[1]
    written = [
        model.generate(
            input_ids=part, attention_mask=torch.ones_like(part), do_sample=False, num_beams=num_beams,
            min_new_tokens=length, max_new_tokens=length, repetition_penalty=repetition_penalty,
            pad_token_id=model.config.eos_token_id,
        )[:, length:].cpu()
        for part in _batches(prompts, batch)
    ]  # fmt: skip
    return torch.cat(written).numpy().astype(np.int32)


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


def _batches(rows: Tokens, size: int) -> Iterator[Tensor]:
    yield from torch.from_numpy(rows.astype(np.int64)).to(torch.get_default_device()).split(size)
