"""The card of tiny-opt: what it was trained on, for how long, how good it is, and what it writes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from nepotism.families.lm import networks
from nepotism.families.lm.decoding import Decoding, write_on
from nepotism.families.lm.measures.distinct import distinct
from nepotism.families.lm.measures.repetition import repeated
from nepotism.families.lm.metrics import REPEATED
from nepotism.families.lm.networks import Tokens
from nepotism.runtime.files import write_text
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from pretraining import novels
from pretraining.contrastive import parameters
from pretraining.language import WINDOW
from pretraining.scoring import training_rows

BLOCK = WINDOW // 2
# As experiments draw, and what shows why they do.
DECODINGS = {
    "drawn, top_p 0.9": Decoding(do_sample=True, top_p=0.9),
    "drawn from all tokens": Decoding(do_sample=True),
    "greedy": Decoding(),
    "beam search, 5 beams": Decoding(num_beams=5),
}
# Blocks that are gone on from, and those whose text the card shows.
PROMPTS, SHOWN = 100, 4
BEGINNING = "It is a truth universally acknowledged, that a single man in possession of a good fortune,"


def write(card: Path, pretrained: Path, originals: Mapping[str, Path], folder: Path, logs: Path) -> None:
    """Score the model and write the card.

    Args:
        card: output: the card (Markdown).
        pretrained: text that the model was trained on.
        originals: the splits of the text that experiments begin with, by name.
        folder: of the model and its tokenizer.
        logs: folder of the training logs, which tell steps and time.
    """
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    texts = {"five novels (trained on)": novels.read(pretrained)[:200_000]}
    texts |= {f"Pride and Prejudice, {split}": novels.read(path) for split, path in originals.items()}
    likely = [_likelihood(model, tokenizer, name, text) for name, text in texts.items()]
    prompts = networks.blocks(tokenizer, novels.read(originals["test"]), BLOCK)[:PROMPTS]
    written = {name: _written(model, prompts, decoding) for name, decoding in DECODINGS.items()}
    variety = [
        f"| {name} | {repeated(blocks, REPEATED):.1%} | {distinct(blocks, 2):.2f} |"
        for name, blocks in [("original text", prompts), *written.items()]
    ]
    drawn = next(iter(DECODINGS))
    samples = [
        f"> {_line(tokenizer, prompt)} **{_line(tokenizer, block)}**"
        for prompt, block in zip(prompts[:SHOWN], written[drawn][:SHOWN], strict=True)
    ]
    begun = np.array([tokenizer.encode(BEGINNING).ids], np.int32)
    begun_on = _written(model, begun, DECODINGS[drawn])
    text, sizes = novels.read(pretrained), model.config
    write_text(
        card,
        f"""# tiny-opt

A small language model that writes English, for the embedded experiments on text: an OPT with a tokenizer of its own, in the
hub's format. `snakemake --cores all -s resources/pretrain/Snakefile` trains it and `resources/pretrain/promote.py` puts it here.

It loads with `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`: {parameters(model) / 1e6:.1f} million
parameters, {sizes.num_hidden_layers} layers of {sizes.hidden_size}, {sizes.vocab_size:,} tokens of byte-level BPE, and a reach of
{sizes.max_position_embeddings} tokens.

## Training

On one CPU core of a machine that other work shared. Data: five novels of Jane Austen (Emma, Mansfield Park, Northanger Abbey,
Persuasion, Sense and Sensibility), {len(text):,} characters, {len(tokenizer.encode(text).ids):,} tokens, in the public domain; the
[provenance](../austen/README.md) is that of the sixth, Pride and Prejudice, which no training here has seen. Windows of {WINDOW}
tokens; steps, batch size and learning rate are in `resources/pretrain/Snakefile`.

| part | steps | time |
| --- | --- | --- |
{training_rows(logs, ["lm"])}

## Scores

| text | perplexity of a token | bits of a character |
| --- | --- | --- |
{chr(10).join(likely)}

What it writes after {PROMPTS} blocks of {BLOCK} tokens of the test text, as many again: how many runs of {REPEATED} tokens a block
had before, and how many pairs of tokens are different ones.

| | repeated | distinct pairs |
| --- | --- | --- |
{chr(10).join(variety)}

## Samples

{drawn.capitalize()}; bold is what the model wrote. Nobody chose them: they are the first blocks of the test text.

{(chr(10) + chr(10)).join(samples)}

> {BEGINNING} **{_line(tokenizer, begun_on[0])}**

## Limits

It knows the words of five novels of 1811 to 1817 and holds a thought for half a sentence. It exists so that every rule of a language
model that is fine-tuned on its own text runs for real within minutes, and so that a reader sees what becomes of it.
""",
    )


def _likelihood(model: PreTrainedModel, tokenizer: networks.Tokenizer, name: str, text: str) -> str:
    """A row of the table: perplexity of a token, and bits of a character."""
    blocks = networks.blocks(tokenizer, text, WINDOW)
    loss = float(networks.losses(model, blocks).mean())
    letters = sum(map(len, tokenizer.decode_batch(blocks.tolist()))) / blocks.size
    return f"| {name} | {np.exp(loss):.1f} | {loss / np.log(2) / letters:.2f} |"


def _written(model: PreTrainedModel, prompts: Tokens, decoding: Decoding) -> Tokens:
    stream = ("pretrain", "language card") if decoding.do_sample else None
    return write_on(model, prompts, decoding, len(prompts), stream=stream)


def _line(tokenizer: networks.Tokenizer, tokens: Tokens) -> str:
    """Tokens as text in one line, without what Markdown would take for its own."""
    return " ".join(tokenizer.decode(tokens.tolist()).split()).replace("*", "\\*")
