"""The family of language models: what it reads, trains, writes, measures and claims."""

import itertools
import os
import signal
from types import SimpleNamespace

import declared
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT
from interrupted import at_random, until_done
from nepotism.chain import engine
from nepotism.chain.regimes import REGIMES
from nepotism.data.images import Record
from nepotism.data.jackknife import standard_error
from nepotism.data.rows import write_rows
from nepotism.data.tables import Row
from nepotism.families import lm as lm_package
from nepotism.families.lm import claims, data, decoding, networks, original_settings
from nepotism.families.lm import family as lm
from nepotism.families.lm.metrics import BINS, FILTERING
from nepotism.judge.decisions import FAILS, HOLDS, NOT_RUN
from nepotism.runtime.errors import Interrupted, UserError
from nepotism.runtime.resume.job import Job
from tiny import tiny_language_model
from tokenizers.processors import TemplateProcessing

AUSTEN = str(ROOT / "resources" / "austen")
SMALL = {
    "data": AUSTEN, "model": None, "bos_per_line": False, "start_from": "parent", "batch_size": 32, "learning_rate": 0.002,
    "final_learning_rate": None, "gradient_clip": 1.0, "repetition_penalty": 1.0, "chunk": 5,
    "do_sample": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0,
    "network": {"vocabulary": 400, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    "block_size": 12, "num_beams": 2,
    "split": {"real": 40, "validation": 10, "holdout": 20, "fresh": 0, "detector": 0}, "budget": "steps",
    "first_epochs": 2, "epochs": 1, "generation_batch": 25,
}  # fmt: skip


# ---- Text


@pytest.mark.parametrize("name", ["{}.txt", "wiki.{}.raw", "{}-00000-of-00001.parquet", "data-{}.parquet"])
def test_text_and_parquet_files_are_read_as_wikitext_has_them(tmp_path, name):
    for split in data.SPLITS:
        path = tmp_path / name.format("valid" if name.startswith("wiki") and split == "validation" else split)
        if path.suffix == ".parquet":
            pq.write_table(pa.table({"text": ["", f" = {split} = \n", "Words .\n"]}), path)
        else:
            path.write_text(f" \n = {split} = \n \n\nWords .\n \n", encoding="utf-8")
    assert data.read_texts(str(tmp_path)) == {split: f" = {split} = \nWords .\n" for split in data.SPLITS}


def write_splits(folder, content="words\n", suffix="txt"):
    folder.mkdir(parents=True, exist_ok=True)
    for split in data.SPLITS:
        (folder / f"{split}.{suffix}").write_text(content, encoding="utf-8")


def test_a_text_begins_without_the_mark_of_its_bytes_and_rows_keep_their_lines(tmp_path):
    write_splits(tmp_path, "\ufeffwords\nmore words")
    assert data.read_texts(str(tmp_path))["test"] == "words\nmore words\n"
    for split in data.SPLITS:
        (tmp_path / f"{split}.txt").unlink()
        rows = ["\ufeffOne row.", "", None, "Another.\n\n", " \n", "A third."]
        pq.write_table(pa.table({"text": rows}), tmp_path / f"{split}.parquet")
    assert data.read_texts(str(tmp_path))["train"] == "One row.\nAnother.\nA third.\n"


def test_lines_end_alike_in_parquet_and_text(tmp_path):
    for split in data.SPLITS:
        pq.write_table(pa.table({"text": ["One.\r\nTwo.\r\n", "\r\n", "Three.\rFour."]}), tmp_path / f"{split}.parquet")
    assert data.read_texts(str(tmp_path))["train"] == "One.\nTwo.\nThree.\nFour.\n"
    for split in data.SPLITS:
        (tmp_path / f"{split}.parquet").unlink()
    write_splits(tmp_path, "One.\r\nTwo.\r\n\r\nThree.\rFour.")
    assert data.read_texts(str(tmp_path))["train"] == "One.\nTwo.\nThree.\nFour.\n"


def test_parts_of_a_split_are_joined_and_hidden_files_are_no_text(tmp_path):
    write_splits(tmp_path)
    (tmp_path / "train.txt").unlink()
    for number in range(2):
        pq.write_table(pa.table({"text": [f"part {number}"]}), tmp_path / f"train-0000{number}-of-00002.parquet")
    write_splits(tmp_path / ".ipynb_checkpoints", "old words\n")
    write_splits(tmp_path / ".git", "old words\n")
    (tmp_path / "._test.txt").write_text("old words\n")
    assert data.read_texts(str(tmp_path)) == {"train": "part 0\npart 1\n", "validation": "words\n", "test": "words\n"}


def test_files_whose_names_tell_no_split_are_left_out_and_told(tmp_path, caplog):
    write_splits(tmp_path)
    assert data.read_texts(str(tmp_path))["train"] == "words\n"
    assert not caplog.records
    for number in range(6):
        (tmp_path / f"chapter-{number}.txt").write_text("more words\n")
    assert data.read_texts(str(tmp_path))["train"] == "words\n"
    (told,) = caplog.messages
    assert "the names of 6 files of" in told
    assert told.endswith("left out: chapter-0.txt, chapter-1.txt, chapter-2.txt, chapter-3.txt, and 2 more")


def test_a_clone_with_several_texts_is_refused_by_name(tmp_path):
    for name in ("wikitext-103-raw-v1", "wikitext-2-raw-v1"):
        write_splits(tmp_path / name)
    told = r"`lm.data`: .* several candidates for the split \w+: wikitext-103-raw-v1/\w+.txt, wikitext-2-raw-v1/"
    with pytest.raises(UserError, match=told):
        data.read_texts(str(tmp_path))
    assert data.read_texts(str(tmp_path / "wikitext-2-raw-v1"))["train"] == "words\n"
    # A pattern that two splits share would train on what is tested.
    (tmp_path / "wikitext-2-raw-v1" / "train-test.txt").write_text("words\n")
    with pytest.raises(UserError, match="names two splits"):
        data.read_texts(str(tmp_path / "wikitext-2-raw-v1"))


@pytest.mark.parametrize("suffix", ["txt", "parquet"])
def test_pointers_are_no_text(tmp_path, suffix):
    write_splits(tmp_path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", suffix)
    with pytest.raises(UserError, match=rf"\w+.{suffix}: it is a Git LFS pointer, not the file itself"):
        data.read_texts(str(tmp_path))


def test_wrong_text_is_told(tmp_path):
    with pytest.raises(UserError, match="`lm.data`: there is no folder documentatio; give the path"):
        data.read_texts("documentatio")
    for split in data.SPLITS:
        (tmp_path / f"{split}.txt").write_text("words\n")
    (tmp_path / "test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"test.txt: it is no text in UTF-8"):
        data.read_texts(str(tmp_path))
    # Without a mark of their order, bytes of UTF-16 are UTF-8, too: a character of zero after each letter.
    (tmp_path / "test.txt").write_bytes("words\n".encode("utf-16-le"))
    with pytest.raises(
        UserError, match=r"test.txt: it holds characters of zero, as UTF-16 does .* convert it to UTF-8"
    ):
        data.read_texts(str(tmp_path))
    (tmp_path / "test.txt").write_text(" \n")
    with pytest.raises(UserError, match=r"test.txt: it holds no text"):
        data.read_texts(str(tmp_path))
    (tmp_path / "test.txt").unlink()
    with pytest.raises(UserError, match=r"has no file of the split test; expected one called like test-00000"):
        data.read_texts(str(tmp_path))
    pq.write_table(pa.table({"words": ["a"]}), tmp_path / "test.parquet")
    with pytest.raises(UserError, match="expected a Parquet file with a column text"):
        data.read_texts(str(tmp_path))
    pq.write_table(pa.table({"text": [1]}), tmp_path / "test.parquet")
    with pytest.raises(UserError, match="its column text is int64; expected text"):
        data.read_texts(str(tmp_path))


def test_any_text_can_be_written_in_tokens_and_blocks_follow_each_other():
    tokenizer = networks.train_tokenizer(data.read_texts(AUSTEN)["train"][:20_000], 400)
    text = "An object's “type” — naïve, 日本 — is\nunchangeable."
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    blocks = networks.blocks(tokenizer, text * 5, 16)
    assert blocks.ravel().tolist() == tokenizer.encode(text * 5).ids[: blocks.size]
    assert blocks.shape[1] == 16


# ---- Models


def test_a_rate_that_ruins_the_model_is_told(family):
    with pytest.raises(UserError, match=r"the loss .*lower `lm.learning_rate`"):
        networks.train(family._start(), family.originals(), family._validation, 20, 4, 1e30, "test")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    files = {name: folder / f"{name}.parquet" for name in ("real", "validation", "holdout")}
    files["tokenizer"] = folder / "tokenizer.json"
    lm.write_originals(original_settings(SMALL), files)
    return files


@pytest.fixture(scope="module")
def family(reference):
    return lm.Family(SMALL, 0, reference)


@pytest.fixture(scope="module")
def first(family):
    return family.fit(family.originals(), None, 0)


def test_training_is_keyed_and_keeps_what_finds_validation_likeliest(family, first, monkeypatch):
    again = family.fit(family.originals(), None, 0)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    untrained = networks.losses(family._start(), family._validation).mean()
    assert networks.losses(family._restored(first), family._validation).mean() < untrained
    # Of a few blocks learnt by heart, later epochs know other text less and less.
    model, found = family._start(), []
    original = networks.losses

    def watched(*arguments, **options):
        found.append(original(*arguments, **options).mean())
        return original(*arguments, **options)

    monkeypatch.setattr(networks, "losses", watched)
    networks.train(model, family.originals()[:4], family._validation, 40, 4, 0.02, "test")
    assert min(found) < found[-1] - 0.1
    assert networks.losses(model, family._validation).mean() == pytest.approx(min(found))


def test_a_model_goes_on_from_the_one_before_or_from_the_same_beginning(reference, family, first):
    other = lm.Family({**SMALL, "start_from": "base", "learning_rate": 1e-9}, 0, reference)
    start = networks.arrays(family._start())
    from_base = other.fit(family.originals(), first, 1)
    from_parent = lm.Family({**SMALL, "learning_rate": 1e-9}, 0, reference).fit(family.originals(), first, 1)
    assert max(np.abs(from_base[name] - start[name]).max() for name in start) < 1e-6
    assert max(np.abs(from_parent[name] - first[name]).max() for name in start) < 1e-6
    assert max(np.abs(first[name] - start[name]).max() for name in start) > 1e-4


def test_the_loss_of_a_block_is_that_of_its_tokens(family, first):
    model, rows = family._restored(first), family.originals()[:5]
    found = networks.losses(model, rows)
    tokens = torch.from_numpy(rows.astype(np.int64))
    with torch.no_grad():
        together = model(input_ids=tokens, labels=tokens).loss
        logs = model(input_ids=tokens[:1]).logits[0].log_softmax(-1)
    alone = -np.mean([logs[place, tokens[0, place + 1]].item() for place in range(rows.shape[1] - 1)])
    assert found.mean() == pytest.approx(together.item(), rel=1e-5)
    assert found[0] == pytest.approx(alone, rel=1e-5)


def test_with_one_beam_the_likeliest_token_is_written_each_time(family, first):
    model, prompts = family._restored(first), family.originals()[:3]
    written = decoding.write_on(model, prompts, decoding.Decoding(), 2)
    tokens = torch.from_numpy(prompts.astype(np.int64))
    with torch.no_grad():
        for _ in range(prompts.shape[1]):
            logits = model(input_ids=tokens).logits[:, -1]
            # It must not end before the block does.
            logits[:, model.config.eos_token_id] = -torch.inf
            tokens = torch.cat([tokens, logits.argmax(1, keepdim=True)], dim=1)
    np.testing.assert_array_equal(written, tokens[:, prompts.shape[1] :].numpy())


def test_weights_that_are_tied_are_kept_once_and_come_back(family, first):
    assert "lm_head.weight" not in first
    model = family._restored(first)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    again = networks.arrays(model)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_rows_are_texts_that_keep_their_tokens(family, first, tmp_path):
    rows = family.sample(first, 1)
    assert rows.shape == family.originals().shape
    np.testing.assert_array_equal(rows, family.sample(first, 1))
    records = [Record(str(slot), "", "", f"{slot:05d}", "generated", 1) for slot in range(len(rows))]
    write_rows(tmp_path / "samples.parquet", family.table(rows, records))
    table = pq.read_table(tmp_path / "samples.parquet")
    np.testing.assert_array_equal(family.rows(table), rows)
    assert table["text"][3].as_py() == family._tokenizer.decode(rows[3].tolist(), skip_special_tokens=False)


def test_further_draws_are_tokens_of_the_models_distribution_whatever_the_batch(family, first, reference):
    drawn = family.sample(first, 1, draw=1)
    np.testing.assert_array_equal(drawn, family.sample(first, 1, draw=1))
    assert not np.array_equal(drawn, family.sample(first, 1))
    assert not np.array_equal(drawn, family.sample(first, 1, draw=2))
    assert not np.array_equal(drawn, family.sample(first, 2, draw=1))
    other = lm.Family({**SMALL, "generation_batch": 7}, 0, reference)
    assert (drawn == other.sample(first, 1, draw=1)).mean() > 0.99, "but for rounding"
    assert family.stream(1, 1) == (0, 1, "sample-1")
    assert family.stream(1) is None


def test_noise_on_logits_draws_from_the_softmax():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2, 0.0]]))
    noisy = decoding._Gumbel(("test",), range(4000))(None, logits.expand(4000, 4))
    shares = np.bincount(noisy.argmax(1).numpy(), minlength=4) / 4000
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2, 0], atol=0.03)
    assert shares[3] == 0


def test_too_little_text_is_told(reference, tmp_path):
    settings = original_settings({**SMALL, "split": {**SMALL["split"], "holdout": 10**6}})
    files = {name: tmp_path / path.name for name, path in reference.items()}
    with pytest.raises(UserError, match=r"`lm.split.holdout`: 1000000, but the text test has only \d+ blocks"):
        lm.write_originals(settings, files)


def test_a_pretrained_model_is_loaded_from_safetensors_only(tmp_path):
    folder = tmp_path / "opt"
    model = tiny_language_model(folder)
    settings = {**SMALL, "model": str(folder), "start_from": "base"}
    files = {name: tmp_path / f"{name}.parquet" for name in ("real", "validation", "holdout")}
    files["tokenizer"] = tmp_path / "tokenizer.json"
    lm.write_originals(original_settings(settings), files)
    family = lm.Family(settings, 0, files)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), family._start().parameters(), strict=True))
    # Its dropout of a tenth is drawn from streams of its own.
    one, same = (family.fit(family.originals(), None, 0) for _ in range(2))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"`lm.model`: .* has no model.safetensors; pickled .*convert_weights"):
        family._start()
    with pytest.raises(UserError, match="`lm.model`: there is no folder .*nowhere"):
        networks.pretrained_tokenizer(str(tmp_path / "nowhere"))


def test_lines_begin_with_the_token_that_a_pretrained_tokenizer_has_for_it(tmp_path):
    tiny_language_model(tmp_path / "opt")
    tokenizer = networks.pretrained_tokenizer(str(tmp_path / "opt"))
    begin = tokenizer.token_to_id("</s>")
    lines = [tokenizer.encode(line, add_special_tokens=False).ids for line in ("one\n", "two words\n")]
    found = networks.blocks(tokenizer, "one\ntwo words\n", 1, bos_per_line=True).ravel().tolist()
    assert found == [begin, *lines[0], begin, *lines[1]]
    assert begin not in networks.blocks(tokenizer, "one\ntwo words\n", 1).ravel().tolist()
    with pytest.raises(UserError, match=r"`lm\.bos_per_line`: the tokenizer .* write false"):
        networks.blocks(networks.train_tokenizer("words " * 99, 300), "words", 1, bos_per_line=True)
    # One that ends texts with a token would write it after every line.
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", begin)])
    with pytest.raises(UserError, match=r"`lm\.bos_per_line`: the tokenizer .* write false"):
        networks.blocks(tokenizer, "one\n", 1, bos_per_line=True)


def test_the_learning_rate_falls_by_half_a_cosine_as_torch_has_it():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=2e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5, eta_min=1e-6)
    for epoch in range(5):
        assert networks._rate(2e-5, 1e-6, epoch / 5) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert networks._rate(2e-5, None, 0.5) == 2e-5


def test_rate_and_clipping_are_what_the_settings_say(reference, family, first):
    one = lm.Family({**SMALL, "final_learning_rate": 1e-5, "first_epochs": 3}, 0, reference)
    other = lm.Family({**SMALL, "gradient_clip": 1e-4, "first_epochs": 3}, 0, reference)
    plain = lm.Family({**SMALL, "first_epochs": 3}, 0, reference).fit(family.originals(), None, 0)
    for changed in (one, other):
        model = changed.fit(family.originals(), None, 0)
        assert not all(np.array_equal(plain[name], model[name]) for name in plain)


# ---- Interruptions


def chunk(family, folder, last=2, seconds=0.0):
    with Job(folder / "samples.parquet", seconds) as job:
        return engine.run(
            family,
            job,
            {},
            {0: family.originals()},
            1,
            last,
            REGIMES["replace"],
            {"kept": "redrawn"},
            "90",
            0,
            "test",
            settings="settings",
        )


def same(one, other):
    for iteration, model in one.models.items():
        for name, weight in model.items():
            np.testing.assert_array_equal(weight, other.models[iteration][name])
        np.testing.assert_array_equal(one.rows[iteration], other.rows[iteration])


@pytest.fixture(scope="module")
def with_dropout(reference, tmp_path_factory):
    """A tiny pretrained model with OPT's dropout, several epochs, and a batch that is cut short."""
    folder = tmp_path_factory.mktemp("opt")
    tiny_language_model(folder)
    settings = {
        **SMALL,
        "model": str(folder),
        "start_from": "base",
        "epochs": 3,
        "batch_size": 7,
        "generation_batch": 9,
    }
    files = {name: folder / f"{name}.parquet" for name in ("real", "validation", "holdout")}
    files["tokenizer"] = folder / "tokenizer-of-blocks.json"
    lm.write_originals(original_settings(settings), files)
    return lm.Family(settings, 0, files)


@pytest.mark.parametrize("seed", range(3))
def test_a_generation_that_is_stopped_anywhere_goes_on_to_the_same_bytes(with_dropout, tmp_path, monkeypatch, seed):
    undisturbed = chunk(with_dropout, tmp_path / "undisturbed", seconds=1e9)
    ends = at_random(monkeypatch, seed, 12)
    same(undisturbed, until_done(lambda: chunk(with_dropout, tmp_path / "killed")))
    assert {name for name, _ in ends} >= {"fit"}
    assert not list((tmp_path / "killed").glob(".*")), "state was left behind"


def test_writing_goes_on_from_the_blocks_that_are_written(with_dropout, tmp_path, monkeypatch):
    model = networks.arrays(with_dropout._start())
    undisturbed = with_dropout.sample(model, 1)
    prompts = []
    original = decoding.batches
    monkeypatch.setattr(decoding, "batches", lambda rows, size: prompts.append(len(rows)) or original(rows, size))
    ends = at_random(monkeypatch, 1, 4)

    def write():
        with Job(tmp_path / "samples.parquet", 0) as job:
            return with_dropout.sample(model, 1, job.checkpoints("sample", "numpy"))

    np.testing.assert_array_equal(until_done(write), undisturbed)
    assert ends
    assert prompts[0] == 40
    assert prompts[-1] < 40, "started from the first block again"


@pytest.mark.parametrize(
    ("place", "name", "when"),
    [
        pytest.param(torch.nn.utils, "clip_grad_norm_", 8, id="training"),
        pytest.param(networks, "batches", 1, id="validation"),
        pytest.param(decoding._AtEachToken, "__call__", 30, id="writing"),
    ],
)
def test_a_signal_ends_a_generation_within_a_step_and_saves_it(with_dropout, tmp_path, monkeypatch, place, name, when):
    undisturbed = chunk(with_dropout, tmp_path / "undisturbed", last=1, seconds=1e9)
    original, counts = getattr(place, name), itertools.count()

    def signalled(*arguments, **options):
        if next(counts) == when:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, signalled)
        with pytest.raises(Interrupted, match="stopped by SIGTERM at "):
            chunk(with_dropout, tmp_path / "stopped", last=1, seconds=1e9)
    assert next(counts) == when + 1, "went on after the signal"
    assert list((tmp_path / "stopped" / ".samples.state").glob("*.safetensors")), "nothing was saved"
    same(undisturbed, chunk(with_dropout, tmp_path / "stopped", last=1, seconds=1e9))


# ---- Scores


def test_rare_tokens_are_the_rarest_twentieth_of_the_text():
    blocks = np.array([0] * 60 + [1] * 35 + [2, 2, 2, 3, 4], np.int32).reshape(-1, 10)
    assert sorted(lm._rare(blocks)) == [2, 3, 4]


def test_scores_of_original_text_and_of_what_was_written(family, first):
    rows = family.sample(first, 0)
    found = {(score.set, score.metric): score for score in family.score(first, lambda: rows, 0, first)}
    metrics = {name: metric for name, metric in lm_package.METRICS.items() if name not in FILTERING}
    declared.check(SimpleNamespace(METRICS=metrics, SPACES=lm_package.SPACES), found.values())
    assert found["real", "mauve"].n == found["samples", "mauve"].n == 20, "as many as there are blocks of test text"
    assert 0.1 < found["real", "rare_words"].value < 0.6, "of so brief a text, many words occur once"
    assert found["real", "rare_tokens_lost"].value == 0
    perplexity = found["samples", "perplexity"]
    assert perplexity.ci_low < perplexity.value < perplexity.ci_high
    assert perplexity.se == standard_error(perplexity.value, perplexity.left_out)
    assert perplexity.value == pytest.approx(np.exp(networks.losses(family._restored(first), family._holdout).mean()))
    for name in ("real", "samples"):
        shares = [found[name, f"perplexity_share_{number:02d}"].value for number in range(BINS)]
        assert sum(shares) == pytest.approx(1)
        median = found[name, "sample_perplexity"].value
        below = int(4 * np.log2(median))
        assert sum(shares[:below]) <= 0.5 <= sum(shares[: below + 1])
    assert found["samples", "sample_perplexity_p99"].value >= found["samples", "sample_perplexity"].value
    # Text without a word has no share of words.
    stops = np.full_like(rows, family._tokenizer.token_to_id("."))
    without = {score.metric: score.value for score in family.score(first, lambda: stops, 1, first)}
    assert "rare_words" not in without
    assert np.isfinite(list(without.values())).all()
    assert ("real", "repeated_4grams") not in {
        (score.set, score.metric) for score in family.score(first, lambda: rows, 1, first)
    }


# ---- Claims

ARMS = {
    "none": {"regime": "replace", "ratios": ["90", "100"], "last": 9, "num_beams": 5},
    # Compared with nothing: it writes in another way.
    "other": {"regime": "accumulate", "ratios": ["100"], "last": 9, "num_beams": 1},
    "some": {"regime": "accumulate_subsample", "ratios": ["100"], "last": 9, "num_beams": 5},
    "new": {"regime": "fresh", "ratios": ["50"], "last": 9, "num_beams": 5},
    "more": {"regime": "augment", "ratios": ["100"], "last": 9, "num_beams": 5},
    "cleaned": {
        "regime": "replace",
        "control": "filter",
        "parameters": {"source": "detector"},
        "ratios": ["100"],
        "last": 9,
        "num_beams": 5,
    },
    # What an oracle can do decides nothing of detectors.
    "told": {
        "regime": "replace",
        "control": "filter",
        "parameters": {"source": "oracle"},
        "ratios": ["100"],
        "last": 9,
        "num_beams": 5,
    },
    "edits": {
        "regime": "replace",
        "control": "toedit",
        "parameters": {"threshold": 0.99},
        "ratios": ["100"],
        "last": 9,
        "num_beams": 5,
    },
}
DRAWN = {name: {**arm, "do_sample": True, "num_beams": 1} for name, arm in ARMS.items()}
DRAWN["beams"] = {"regime": "replace", "ratios": ["100"], "last": 5, "num_beams": 5, "do_sample": False}
BASE, ALONE, KEPT = ("base", ""), ("none", "100"), ("none", "90")
SOME, NEW, MORE = ("some", "100"), ("new", "50"), ("more", "100")


def verdicts(values, arms=ARMS):
    random = np.random.default_rng(0)
    rows = [
        Row("lm", *place, seed, iteration, "samples", "", metric, value * (1 + 0.001 * random.standard_normal()), None, None,
            None, None, 800)
        for (place, iteration, metric), value in values.items()
        for seed in range(3)
    ]  # fmt: skip
    return {claim.claim: claim.verdict for claim in claims.judge(rows, arms)[0]}


def test_claims_follow_the_table_and_compare_what_writes_alike():
    collapse = {
        (BASE, 0, "perplexity"): 30, (ALONE, 9, "perplexity"): 60, (KEPT, 9, "perplexity"): 40,
        (BASE, 0, "sample_perplexity"): 9, (ALONE, 9, "sample_perplexity"): 5,
        (BASE, 0, "sample_perplexity_p99"): 20, (ALONE, 9, "sample_perplexity_p99"): 40,
        (BASE, 0, "repeated_4grams"): 0.1, (ALONE, 9, "repeated_4grams"): 0.6,
        (BASE, 0, "rare_tokens_lost"): 0.3, (ALONE, 9, "rare_tokens_lost"): 0.8,
        (SOME, 9, "perplexity"): 35, (NEW, 9, "perplexity"): 30, (MORE, 9, "perplexity"): 45,
        (("cleaned", "100"), 9, "perplexity"): 50, (("told", "100"), 9, "perplexity"): 90, (("edits", "100"), 9, "perplexity"): 70,
    }  # fmt: skip
    expected = {number: HOLDS for number in range(1, 7)} | {
        7: NOT_RUN,
        8: HOLDS,
        9: HOLDS,
        10: FAILS,
        11: HOLDS,
        12: FAILS,
        13: NOT_RUN,
    }
    assert verdicts(collapse) == expected
    turned = {
        **collapse, (ALONE, 9, "perplexity"): 30, (ALONE, 9, "sample_perplexity"): 12, (ALONE, 9, "sample_perplexity_p99"): 15,
    }  # fmt: skip
    found = verdicts(turned)
    assert found[1] == found[2] == found[3] == found[4] == FAILS


def test_beam_search_is_compared_with_draws_at_the_last_iteration_that_both_have():
    table = {(ALONE, 5, "repeated_4grams"): 0.1, (("beams", "100"), 5, "repeated_4grams"): 0.5}
    assert verdicts(table, DRAWN)[13] == HOLDS
    other = {**DRAWN, "beams": {**DRAWN["beams"], "epochs": 9}}
    assert verdicts(table, other)[13] == NOT_RUN, "it is trained in another way"
