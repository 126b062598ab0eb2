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
from nepotism.controls.filter import detector
from nepotism.data.images import Record
from nepotism.data.jackknife import LeftOut, half_width, standard_error
from nepotism.data.rows import rows_table, write_rows
from nepotism.families.lm import data, networks
from nepotism.families.lm.decoding import Decoding, edited, write_on
from nepotism.families.lm.measures.distinct import distinct
from nepotism.families.lm.measures.mauve import mauve
from nepotism.families.lm.measures.rare_words import rare, share_of, words
from nepotism.families.lm.measures.repetition import repeated
from nepotism.families.lm.measures.self_bleu import self_bleu
from nepotism.families.lm.metrics import BINS, BINS_PER_OCTAVE, DISTINCT, GENERATION_0, RARE, RARE_WORDS, REPEATED
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
        self._seed, self._decoding = seed, Decoding.of(settings)
        self._judged: tuple[Arrays, Any, NDArray[np.float32]] | None = None
        real, self._validation, self._holdout = (_tokens(pq.read_table(reference[name])) for name in SPLIT_OF)
        # Blocks that are reserved for single training sets come after those of the slots.
        split = settings["split"]
        ends = (split["real"], split["real"] + split["fresh"])
        self._real, self._reserved, self._detecting = np.split(real, ends)
        self._tokenizer = networks.read_tokenizer(reference["tokenizer"])
        self._rare = _rare(self._real)
        self._rare_words = rare(words(self._tokenizer.decode_batch(self._real.tolist())), RARE_WORDS)

    def originals(self) -> Rows:
        """Blocks of original text to train on."""
        return self._real

    def fresh(self, iteration: int) -> Rows:
        """Blocks of original text that no training set has held before."""
        return self._reserved[(iteration - 1) * len(self._real) :][: len(self._real)]

    def _start(self) -> Any:
        return networks.start(self._settings, networks.vocabulary_of(self._tokenizer), self._seed, "lm", "init")

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
        """What the model writes after each original block: as the settings have it. Where that is by beam search, which would write
        the same again, each token of further draws is drawn from the model's distribution."""
        return write_on(
            self._restored(model), self._real, self._decoding, self._settings["generation_batch"],
            checkpoints, self.stream(iteration, draw),
        )  # fmt: skip

    def confidence(
        self, model: Arrays, iteration: int, checkpoints: Store = NOWHERE
    ) -> Callable[[Rows], NDArray[np.float64]]:
        """How sure a detector is that blocks are generated: 0 to 1.

        A linear probe on embeddings and likelihoods of blocks, trained on original ones that nothing else uses, and on what the model
        writes after them. Both are those of the model that generation 0 begins with: one that was trained on the original blocks of
        the mixture finds them as likely as what is written, and would take them for it.
        """
        judge, prompts = self._start().eval(), self._detecting
        stream = (self._seed, iteration, "detector") if self._decoding.do_sample else None
        batch = self._settings["generation_batch"]
        written = write_on(self._restored(model), prompts, self._decoding, batch, checkpoints, stream)
        found = detector.trained(_features(judge, prompts), _features(judge, written), self._seed)
        logger.info("detector: area under the curve %.3f on %d held-out blocks", found.auc, found.held_out)
        return lambda blocks: found.confidence(_features(judge, blocks))

    def edited(self, model: Arrays, slots: NDArray[np.int64], iteration: int, threshold: float) -> Rows:
        """Original blocks whose tokens the model draws anew where it finds them as likely as ``threshold``."""
        found = edited(self._restored(model), self._real, threshold, (self._seed, iteration, "edit"))
        logger.info("toedit: %d of %d tokens changed", (found != self._real)[slots].sum(), self._real[slots].size)
        return found[slots]

    def stream(self, iteration: int, draw: int = 0) -> streams.StreamKey | None:
        """Beam search draws nothing; of draws, each block has its own within it."""
        draws = self._decoding.do_sample or draw
        return (self._seed, iteration, streams.of_draw("sample", draw)) if draws else None

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
        judge, original = self._judge(first)
        for name, blocks in ({"samples": rows()} | ({"real": self._real} if iteration == 0 else {})).items():
            read = networks.read(judge, blocks)
            for metric, value in (_likelihoods(np.exp(read.losses)) | self._variety(blocks)).items():
                # Text without any word has no rare ones.
                if not np.isnan(value):
                    yield Score(metric, value, len(blocks), name, GENERATION_0.name if "perplexity" in metric else "")
            compared = len(original)
            yield Score("mauve", mauve(read.embeddings[:compared], original), compared, name, GENERATION_0.name)

    def _judge(self, first: Arrays) -> tuple[Any, NDArray[np.float32]]:
        """The model of generation 0, and its embeddings of original test text: once for all generations that a job scores."""
        if self._judged is None or self._judged[0] is not first:
            judge = self._restored(first)
            self._judged = (first, judge, networks.read(judge, self._holdout[: len(self._real)]).embeddings)
        return self._judged[1:]

    def _variety(self, blocks: Tokens) -> dict[str, float]:
        texts = self._tokenizer.decode_batch(blocks.tolist())
        return {
            "repeated_4grams": repeated(blocks, REPEATED),
            **{f"distinct_{length}grams": distinct(blocks, length) for length in DISTINCT},
            "self_bleu": self_bleu(blocks),
            "rare_tokens_lost": float((~np.isin(self._rare, blocks)).mean()),
            "rare_words": share_of(texts, self._rare_words),
        }

    def table(self, rows: Rows, records: Sequence[Record]) -> pa.Table:
        """Blocks with their text and their tokens."""
        return _table(self._tokenizer, rows, records)

    def rows(self, table: pa.Table) -> Rows:
        """The tokens of such a table."""
        return _tokens(table)


def _features(model: Any, blocks: Tokens) -> NDArray[np.float32]:
    """What a detector goes by: a block's embedding and how likely it is, float32 (N, D + 1)."""
    read = networks.read(model, blocks)
    return np.column_stack([read.embeddings, read.losses]).astype(np.float32)


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
        fresh = settings["split"]["fresh"] + settings["split"].get("detector", 0) if name == "real" else 0
        if len(blocks) < settings["split"][name] + fresh:
            more = f" and {fresh} reserved ones" if fresh else ""
            raise UserError(
                f"`lm.split.{name}`: {settings['split'][name]}{more}, but the text {split} has only {len(blocks)} blocks"
            )
        blocks = blocks[: settings["split"][name] + fresh]
        records = [Record(f"{name}/{slot:05d}", "", split, f"{slot:05d}", "real") for slot in range(len(blocks))]
        described = {"text_sha256": digest, "text": settings["data"]}
        write_rows(files[name], _table(tokenizer, blocks, records).replace_schema_metadata(described))


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
