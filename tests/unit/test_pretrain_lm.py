"""The language model's text and its training: what is read from R's files, how it is split, what is shipped."""

import gzip
import itertools
import struct
import zlib

import numpy as np
import pytest
import torch
from conftest import ROOT
from nepotism.families.lm import data, networks
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import mismatches
from pretraining import language, novels
from transformers import AutoModelForCausalLM, AutoTokenizer

# ---- R's lazy-load database, written as R documents it ("R Internals", Serialization Formats)


def integer(value):
    return struct.pack(">i", value)


def text(value):
    if value is None:
        return integer(9) + integer(-1)
    return integer(9) + integer(len(value.encode())) + value.encode()


def strings(values, attributes=b""):
    return integer(16 | (0x200 if attributes else 0)) + integer(len(values)) + b"".join(map(text, values)) + attributes


def names(values):
    """A pairlist of one attribute, names."""
    return integer(2 | 0x400) + integer(1) + text("names") + strings(values) + integer(254)


def listed(values, attributes=b""):
    return integer(19 | (0x200 if attributes else 0)) + integer(len(values)) + b"".join(values) + attributes


def stream(value, version=3):
    encoding = integer(5) + b"UTF-8" if version == 3 else b""
    return b"X\n" + integer(version) + integer(0x40200) + integer(0x20300) + encoding + value


def package(folder, books, version=3):
    content, places = b"", []
    for lines in books.values():
        written = stream(strings(lines), version)
        stored = struct.pack(">I", len(written)) + zlib.compress(written)
        places.append(integer(13) + integer(2) + integer(len(content)) + integer(len(stored)))
        content += stored
    variables = listed(places, names(list(books)))
    index = listed(
        [variables, listed([], names([])), integer(10) + integer(1) + integer(1)],
        names(["variables", "references", "compressed"]),
    )
    (folder / "Rdata.rdb").write_bytes(content)
    (folder / "Rdata.rdx").write_bytes(gzip.compress(stream(index, version)))


@pytest.mark.parametrize("version", [2, 3])
def test_novels_are_read_from_what_r_wrote(tmp_path, version):
    books = {"emma": ["EMMA", "", "Handsome, clever,", "and rich: £20."], "persuasion": ["Sir Walter Elliot,"]}
    package(tmp_path, books, version)
    assert novels.read_package(tmp_path) == books


def test_other_files_are_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="expected Rdata.rdb and Rdata.rdx"):
        novels.read_package(tmp_path)
    package(tmp_path, {"emma": ["EMMA", None]})
    with pytest.raises(UserError, match="no database of text"):
        novels.read_package(tmp_path)
    package(tmp_path, {"emma": ["EMMA"]})
    whole = (tmp_path / "Rdata.rdb").read_bytes()
    (tmp_path / "Rdata.rdb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="no database of text"):
        novels.read_package(tmp_path)


# ---- Its text


def test_paragraphs_are_lines_without_marks():
    lines = ["It was _their_", "estate.  And large;", "", " ", "CHAPTER II", "", "", "An end--"]
    assert novels.paragraphs(lines) == ["It was their estate. And large;", "CHAPTER II", "An end--"]


def test_chapters_are_split_whole_and_the_first_trains():
    text = ["TITLE", *(part for number in range(1, 31) for part in (f"Chapter {number}", f"words of {number}"))]
    chapters = novels.chapters(text)
    assert len(chapters) == 30
    assert chapters[0] == ["TITLE", "Chapter 1", "words of 1"]
    splits = novels.splits(text)
    assert sorted(itertools.chain(*splits.values())) == sorted(text)
    assert splits["train"][0] == "TITLE"
    assert [part for part in splits["validation"] if part.startswith("C")] == ["Chapter 11", "Chapter 21"]
    assert [part for part in splits["test"] if part.startswith("C")] == ["Chapter 6", "Chapter 16", "Chapter 26"]


def test_the_text_that_ships_is_whole_and_its_splits_share_no_paragraph_of_length():
    texts = data.read_texts(str(ROOT / "resources" / "austen"))
    assert texts["train"].startswith(
        "PRIDE AND PREJUDICE\nBy Jane Austen\nChapter 1\nIt is a truth universally acknowledged"
    )
    assert sum(map(len, texts.values())) > 680_000
    long = {split: {line for line in text.splitlines() if len(line) > 80} for split, text in texts.items()}
    assert not long["train"] & long["test"]
    assert not long["train"] & long["validation"]
    assert mismatches(ROOT / "resources" / "austen") == []
    # What the model was trained on has none of it.
    pretrained = set(novels.read(ROOT / "resources" / "pretrain" / "austen" / "novels.parquet").splitlines())
    assert not pretrained & set.union(*long.values())


# ---- The model


def test_training_is_keyed_and_what_is_saved_loads_as_from_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(language, "VOCABULARY", 400)
    monkeypatch.setattr(
        language, "NETWORK", {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    )
    prose = novels.read(ROOT / "resources" / "austen" / "test.parquet")[:20_000]
    (model, tokenizer), (same, _) = (language.fit(prose, 3, 4, 0.01, 0) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    assert model.lm_head.weight is model.get_input_embeddings().weight
    language.save(model, tokenizer, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    assert (tmp_path / "model.safetensors").is_file()
    assert not list(tmp_path.glob("*.bin"))


def test_the_model_that_ships_is_small_and_its_tokenizer_returns_the_whole_text():
    folder = ROOT / "resources" / "tiny-opt"
    assert mismatches(folder) == []
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12_000_000
    tokenizer = networks.pretrained_tokenizer(str(folder))
    whole = "".join(data.read_texts(str(ROOT / "resources" / "austen")).values())
    assert tokenizer.decode(tokenizer.encode(whole, add_special_tokens=False).ids) == whole
    assert len(AutoTokenizer.from_pretrained(folder)) == AutoModelForCausalLM.from_pretrained(folder).config.vocab_size


def test_the_model_that_ships_knows_english():
    folder = ROOT / "resources" / "tiny-opt"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), networks.pretrained_tokenizer(str(folder))
    blocks = networks.blocks(tokenizer, data.read_texts(str(ROOT / "resources" / "austen"))["test"], 64)[:20]
    shuffled = np.random.default_rng(0).permuted(blocks, axis=1)
    english, noise = (float(np.exp(networks.losses(model, rows).mean())) for rows in (blocks, shuffled))
    assert english < 60 < 10 * english < noise
