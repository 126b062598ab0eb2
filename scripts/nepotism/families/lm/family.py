"""The family of language models: each generation is trained on what the one before wrote after blocks of original text.

Shumailov et al., Nature 631 (2024), section "Language models": every block of the original training text is the prompt for
the block that takes its place, so that a perfect model would write the original text again.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nepotism.chain.engine import Arrays, Rows, Score
from nepotism.data.images import Record
from nepotism.data.jackknife import LeftOut, half_width, standard_error
from nepotism.data.rows import rows_table, write_rows
from nepotism.families.lm import BINS, BINS_PER_OCTAVE, GENERATION_0, RARE, REPEATED, data, networks
from nepotism.families.lm.networks import Tokens
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import atomic_write
from nepotism.runtime.resume.checkpoints import NOWHERE, Store
from nepotism.weights.locations import location

logger = logging.getLogger(__name__)

# Parts of the test text that are left out in turn.
PARTS = 10
# The split of a data set that a file of original blocks is cut from.
SPLIT_OF = {"real": "train", "validation": "validation", "holdout": "test"}


class Family:
    """Language models of one cell; see `nepotism.chain.engine.Family`. Rows are tokens, int32 (N, block).

    Args:
        settings: the config's block `lm`.
        seed: replicate seed.
        reference: blocks of text ``real``, ``validation`` and ``holdout``, and the ``tokenizer``.
    """

    def __init__(self, settings: Mapping[str, Any], seed: int, reference: Mapping[str, Path]) -> None:
        self._settings = {**settings, "model": location(settings["model"])}
        self._seed = seed
        real, self._validation, self._holdout = (_tokens(pq.read_table(reference[name])) for name in SPLIT_OF)
        # Blocks that are reserved for single training sets come after those of the slots.
        self._real, self._reserved = np.split(real, [settings["split"]["real"]])
        self._tokenizer = networks.read_tokenizer(reference["tokenizer"])
        self._rare = _rare(self._real)

    def originals(self) -> Rows:
        """Blocks of original text to train on."""
        return self._real

    def fresh(self, iteration: int) -> Rows:
        """Blocks of original text that no training set has held before."""
        return self._reserved[(iteration - 1) * len(self._real) :][: len(self._real)]

    def _start(self) -> Any:
        return networks.start(self._settings, self._tokenizer.get_vocab_size(), self._seed, "lm", "init")

    def _restored(self, model: Arrays) -> Any:
        return networks.restore(self._start(), model)

    def fit(self, rows: Rows, parent: Arrays | None, iteration: int, checkpoints: Store = NOWHERE) -> Arrays:
        """A model trained on from the one before, or from the same beginning as generation 0."""
        chosen = self._settings
        goes_on = parent is not None and chosen["start_from"] == "parent"
        model = self._restored(parent) if parent is not None and goes_on else self._start()
        networks.train(
            model, rows, self._validation, chosen["epochs" if iteration else "first_epochs"], chosen["batch_size"],
            chosen["learning_rate"], self._seed, iteration, "fit", final_learning_rate=chosen["final_learning_rate"],
            gradient_clip=chosen["gradient_clip"], checkpoints=checkpoints,
            most=len(self._real) if iteration and chosen["budget"] == "steps" else None,
        )  # fmt: skip
        return networks.arrays(model)

    def sample(self, model: Arrays, iteration: int, checkpoints: Store = NOWHERE, draw: int = 0) -> Rows:
        """What the model writes after each original block: first by beam search, which would write the same again; in further
        draws, each token is drawn from the model's distribution."""
        chosen = self._settings
        return networks.write_on(
            self._restored(model), self._real, chosen["num_beams"], chosen["repetition_penalty"], chosen["generation_batch"],
            checkpoints, self.stream(iteration, draw),
        )  # fmt: skip

    def stream(self, iteration: int, draw: int = 0) -> streams.StreamKey | None:
        """Beam search draws nothing; of further draws, each block has its own within it."""
        return (self._seed, iteration, streams.of_draw("sample", draw)) if draw else None

    def is_shown(self, iteration: int) -> bool:
        """All that is written is kept: it took long, and is small."""
        return True

    def score(self, model: Arrays, rows: Callable[[], Rows], iteration: int, first: Arrays) -> Iterator[Score]:
        """Scores of the model and of what it wrote; of generation 0, also those of the text that it was trained on."""
        losses = networks.losses(self._restored(model), self._holdout)
        value, left_out = float(np.exp(losses.mean())), _without_parts(losses)
        se = standard_error(value, left_out)
        # On the logarithm's scale, where it is a mean.
        factor = None if se is None else float(np.exp(half_width(se / value, left_out.df, 0.95)))
        yield Score(
            "perplexity", value, len(losses), se=se, ci_low=factor and value / factor, ci_high=factor and value * factor,
            left_out=left_out,
        )  # fmt: skip
        judge = self._restored(first)
        for name, blocks in ({"samples": rows()} | ({"real": self._real} if iteration == 0 else {})).items():
            each = np.exp(networks.losses(judge, blocks))
            for metric, value in (_likelihoods(each) | self._variety(blocks)).items():
                yield Score(metric, value, len(blocks), name, GENERATION_0.name if "perplexity" in metric else "")

    def _variety(self, blocks: Tokens) -> dict[str, float]:
        pairs = np.stack([blocks[:, :-1], blocks[:, 1:]], axis=2).reshape(-1, 2)
        return {
            "repeated_4grams": repeated(blocks, REPEATED),
            "distinct_2grams": len(np.unique(pairs, axis=0)) / len(pairs),
            "rare_tokens_lost": float((~np.isin(self._rare, blocks)).mean()),
        }

    def table(self, rows: Rows, records: Sequence[Record]) -> pa.Table:
        """Blocks with their text and their tokens."""
        return _table(self._tokenizer, rows, records)

    def rows(self, table: pa.Table) -> Rows:
        """The tokens of such a table."""
        return _tokens(table)


def write_originals(settings: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Cut the text of each split into blocks, in tokens of the pretrained model or of a tokenizer trained on the training text.

    Raises:
        UserError: if a text has fewer blocks than are asked for.
    """
    texts = data.read_texts(str(location(settings["data"])))
    digest = data.digest(texts)
    logger.info("text: %s characters, sha256 %s", " + ".join(str(len(text)) for text in texts.values()), digest)
    tokenizer = (
        networks.pretrained_tokenizer(str(location(settings["model"])))
        if settings["model"]
        else networks.train_tokenizer(texts["train"], settings["vocabulary"])
    )
    with atomic_write(files["tokenizer"]) as temporary:
        tokenizer.save(str(temporary))
    for name, split in SPLIT_OF.items():
        blocks = networks.blocks(tokenizer, texts[split], settings["block_size"], settings["bos_per_line"])
        fresh = settings["split"]["fresh"] if name == "real" else 0
        if len(blocks) < settings["split"][name] + fresh:
            more = f" and {fresh} fresh ones" if fresh else ""
            raise UserError(
                f"`lm.split.{name}`: {settings['split'][name]}{more}, but the text {split} has only {len(blocks)} blocks"
            )
        blocks = blocks[: settings["split"][name] + fresh]
        records = [Record(f"{name}/{slot:05d}", "", split, f"{slot:05d}", "real") for slot in range(len(blocks))]
        # The documentation differs between versions of Python.
        described = {"text_sha256": digest, "text": settings["data"]}
        write_rows(files[name], _table(tokenizer, blocks, records).replace_schema_metadata(described))


def repeated(blocks: Tokens, length: int) -> float:
    """Mean share of a block's runs of ``length`` tokens that occurred in the same block before: [0, 1]."""
    runs = np.lib.stride_tricks.sliding_window_view(blocks, length, axis=1)
    return float(np.mean([1 - len(np.unique(block, axis=0)) / len(block) for block in runs]))


def _without_parts(losses: NDArray[np.float64]) -> LeftOut:
    """The perplexity without each tenth of the text in turn: it is the same text for all models."""
    parts = np.array_split(np.arange(len(losses)), min(PARTS, len(losses)))
    without = [float(np.exp(np.delete(losses, part).mean())) for part in parts]
    return LeftOut(tuple(map(len, parts)), tuple(without))


def _rare(blocks: Tokens) -> NDArray[np.int32]:
    """The rarest tokens, which together make up `RARE` of the text."""
    counts = sorted((count, token) for token, count in Counter(blocks.ravel().tolist()).items())
    share = np.cumsum([count for count, _ in counts]) / blocks.size
    return np.array([token for (_, token), below in zip(counts, share, strict=True) if below <= RARE], np.int32)


def _likelihoods(perplexities: NDArray[np.float64]) -> dict[str, float]:
    median, high = np.quantile(perplexities, [0.5, 0.99])
    bins = np.floor(BINS_PER_OCTAVE * np.log2(perplexities)).clip(0, BINS - 1).astype(int)
    shares = np.bincount(bins, minlength=BINS) / len(bins)
    return {
        "sample_perplexity": float(median),
        "sample_perplexity_p99": float(high),
        **{f"perplexity_share_{number:02d}": float(share) for number, share in enumerate(shares)},
    }


def _table(tokenizer: Any, blocks: Tokens, records: Sequence[Record]) -> pa.Table:
    texts = tokenizer.decode_batch(blocks.tolist(), skip_special_tokens=False)
    flat = pa.array(np.ascontiguousarray(blocks, np.int32).reshape(-1))
    return rows_table("text", texts, records).append_column(
        "tokens", pa.FixedSizeListArray.from_arrays(flat, blocks.shape[1])
    )


def _tokens(table: pa.Table) -> Tokens:
    """The column ``tokens`` as int32 (N, block): not every text is cut again as it was written."""
    return np.asarray(table["tokens"].combine_chunks().flatten()).reshape(len(table), -1)
