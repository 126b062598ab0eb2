"""Other language models by changing a path, how they write, and what is done to the text they are trained on."""

import itertools
import json
import os
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_language
import torch
from conftest import ROOT
from interrupted import at_random, until_done
from nepotism.chain import engine
from nepotism.chain.manifest import write_plans
from nepotism.chain.regimes import REGIMES
from nepotism.chain.slots import Source
from nepotism.controls import CONTROLS
from nepotism.families.lm import control_contradictions, networks, original_settings
from nepotism.families.lm import family as lm
from nepotism.families.lm.decoding import CANDIDATES, FLATTER, Decoding, edited, write_on
from nepotism.families.treatment import Treatment, manifest_rows
from nepotism.measure.curation import filtering
from nepotism.measure.evaluation import RowKey
from nepotism.runtime.errors import Interrupted, UserError
from nepotism.runtime.resume.checkpoints import NOWHERE
from nepotism.runtime.resume.job import Job
from tokenizers import Tokenizer, models
from transformers import BloomConfig, BloomForCausalLM, GenerationConfig

SMALL = {
    "data": str(ROOT / "resources" / "austen"), "model": None, "bos_per_line": False, "start_from": "base", "batch_size": 16,
    "network": {"vocabulary": 300, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    "learning_rate": 0.002, "final_learning_rate": None, "gradient_clip": 1.0, "chunk": 3, "budget": "steps",
    "do_sample": True, "num_beams": 1, "temperature": 1.0, "top_k": 0, "top_p": 0.9, "repetition_penalty": 1.0,
    "block_size": 12, "split": {"real": 30, "validation": 10, "holdout": 20, "fresh": 90, "detector": 60},
    "first_epochs": 1, "epochs": 1, "generation_batch": 20,
}  # fmt: skip
MODELS = {"gpt2": tiny_language.gpt2, "smollm2": tiny_language.smollm2}


def family_of(folder, **changed):
    settings = {**SMALL, **changed}
    files = {name: folder / f"{name}.parquet" for name in ("real", "validation", "holdout")}
    files["tokenizer"] = folder / "tokenizer-of-blocks.json"
    if not files["tokenizer"].exists():
        lm.write_originals(original_settings(settings), files)
    return lm.Family(settings, 0, files)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return family_of(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def first(family):
    return family.fit(family.originals(), None, 0)


# ---- Other models


@pytest.mark.parametrize("name", MODELS)
def test_other_models_of_the_hub_are_fine_tuned_and_write_by_changing_the_path(tmp_path, name):
    model = MODELS[name](tmp_path / name).float()
    family = family_of(tmp_path, model=str(tmp_path / name))
    begun = family._start()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), begun.parameters(), strict=True))
    assert {weight.dtype for weight in begun.parameters()} == {torch.float32}
    rows = torch.from_numpy(family.originals()[:2].astype(np.int64))
    with torch.no_grad():
        torch.testing.assert_close(begun(rows).logits, model(rows).logits)
    weights = family.fit(family.originals(), None, 0)
    restored = family._restored(weights)
    assert restored.get_output_embeddings().weight is restored.get_input_embeddings().weight
    assert len(family.sample(weights, 0)) == 30
    found = {score.metric: score.value for score in family.score(weights, lambda: family.originals(), 0, weights)}
    assert found["perplexity"] < np.exp(networks.losses(begun, family._holdout).mean())


def test_what_a_folder_says_of_writing_is_left_apart(tmp_path, family):
    """The keys of the config say how a model writes: generation_config.json may have more, and a list of ends."""
    prompts = np.random.default_rng(0).integers(257, size=(3, 12)).astype(np.int32)
    settings = {"model": str(tmp_path), "block_size": 12}
    tiny_language.gpt2(tmp_path)
    wanted = write_on(networks.start(settings, 257), prompts, Decoding(), 3)
    held = json.loads((tmp_path / "generation_config.json").read_text())
    chosen = {"do_sample": True, "top_p": 0.5, "no_repeat_ngram_size": 2, "length_penalty": 2.0}
    (tmp_path / "generation_config.json").write_text(json.dumps({**held, **chosen}))
    np.testing.assert_array_equal(write_on(networks.start(settings, 257), prompts, Decoding(), 3), wanted)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "eos_token_id": [256, 3]}))
    (tmp_path / "generation_config.json").unlink()
    for decoding in (Decoding(), Decoding(num_beams=2)):
        written = write_on(networks.start(settings, 257), prompts, decoding, 2)
        assert written.shape == prompts.shape
        assert not np.isin(written, [256, 3]).any(), "it ended before the block did"


def test_a_model_without_a_reach_is_no_mistake_and_tokens_that_it_lacks_are(tmp_path):
    model = BloomForCausalLM(BloomConfig(vocab_size=257, hidden_size=16, n_layer=1, n_head=2))
    model.save_pretrained(tmp_path)
    settings = {"model": str(tmp_path), "block_size": 500}
    prompts = np.random.default_rng(0).integers(257, size=(2, 12)).astype(np.int32)
    assert write_on(networks.start(settings, 257), prompts, Decoding(), 2).shape == (2, 12)
    with pytest.raises(UserError, match="`lm.model`: the tokenizer has 258 tokens, the model 257"):
        networks.start(settings, 258)
    # Of two words, one has a number far beyond.
    assert networks.vocabulary_of(Tokenizer(models.WordLevel({"a": 0, "b": 299}, "a"))) == 300


# ---- How it writes

STRATEGIES = {
    "greedy": {},
    "beam search": {"num_beams": 3},
    "penalty": {"repetition_penalty": 2.0},
    "temperature": {"do_sample": True, "temperature": 0.7},
    "top-k": {"do_sample": True, "top_k": 5},
    "nucleus": {"do_sample": True, "top_p": 0.6},
    "all": {"do_sample": True, "temperature": 1.3, "top_k": 40, "top_p": 0.8, "repetition_penalty": 1.2},
}


@pytest.mark.parametrize("name", [name for name, chosen in STRATEGIES.items() if not chosen.get("do_sample")])
def test_the_likeliest_continuation_is_that_of_transformers(family, first, name):
    model, prompts = family._restored(first), family.originals()[:5]
    tokens = torch.from_numpy(prompts.astype(np.int64))
    settings = GenerationConfig(
        do_sample=False, min_new_tokens=12, max_new_tokens=12, pad_token_id=0, eos_token_id=0, bos_token_id=0,
        **{"num_beams": 1, **STRATEGIES[name]},
    )  # fmt: skip
    wanted = model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=settings)
    np.testing.assert_array_equal(write_on(model, prompts, Decoding(**STRATEGIES[name]), 2), wanted[:, 12:].numpy())


@pytest.mark.parametrize("name", [name for name, chosen in STRATEGIES.items() if chosen.get("do_sample")])
def test_draws_are_from_the_distribution_that_transformers_draws_from(family, first, name, monkeypatch):
    model, prompts = family._restored(first), family.originals()[:4]
    tokens = torch.from_numpy(prompts.astype(np.int64))
    settings = GenerationConfig(
        **{"do_sample": True, "top_k": 0, **STRATEGIES[name]}, min_new_tokens=1, max_new_tokens=1, pad_token_id=0,
        eos_token_id=0, bos_token_id=0, output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    wanted = model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=settings).scores[0]
    seen = []
    # What is drawn from is what the noise is added to.
    monkeypatch.setattr(
        "nepotism.families.lm.decoding._Gumbel.__call__", lambda self, ids, scores: seen.append(scores) or scores
    )
    write_on(model, prompts, Decoding(**STRATEGIES[name]), 4, stream=("test",))
    torch.testing.assert_close(seen[0].softmax(-1), wanted.softmax(-1))
    assert (wanted.softmax(-1) > 0).sum() < wanted.numel() or name == "temperature"


def test_draws_are_keyed_by_block_and_generation_whatever_the_batch(family, first, tmp_path):
    rows = family.sample(first, 1)
    np.testing.assert_array_equal(rows, family.sample(first, 1))
    assert not np.array_equal(rows, family.sample(first, 2))
    assert not np.array_equal(rows, family.sample(first, 1, draw=1))
    assert family.stream(1) == (0, 1, "sample")
    one_by_one = family_of(tmp_path, generation_batch=1)
    assert (rows == one_by_one.sample(first, 1)).mean() > 0.97, "but for rounding"


@pytest.mark.parametrize("seed", range(2))
def test_drawing_that_is_killed_goes_on_to_the_same_bytes(first, tmp_path, monkeypatch, seed):
    family = family_of(tmp_path, generation_batch=3)
    undisturbed = family.sample(first, 1)
    ends = at_random(monkeypatch, seed, 4)

    def write():
        with Job(tmp_path / "samples.parquet", 0) as job:
            return family.sample(first, 1, job.checkpoints("sample", "numpy"))

    np.testing.assert_array_equal(until_done(write), undisturbed)
    assert ends


def test_what_is_rare_is_of_the_text_that_is_trained_on_whatever_is_reserved(family, tmp_path):
    alone = family_of(tmp_path, split={**SMALL["split"], "fresh": 0, "detector": 0})
    np.testing.assert_array_equal(alone.originals(), family.originals())
    assert alone._rare_words == family._rare_words
    np.testing.assert_array_equal(alone._rare, family._rare)


# ---- Original text that is edited


def test_tokens_are_drawn_anew_where_the_model_is_sure_of_them_and_nowhere_else(family, first):
    model, rows = family._restored(first), family.originals()
    tokens = torch.from_numpy(rows.astype(np.int64))
    with torch.no_grad():
        shares = model(tokens).logits[:, :-1].softmax(-1).gather(2, tokens[:, 1:, None])[:, :, 0].numpy()
    threshold = float(np.quantile(shares, 0.7))
    changed = edited(model, rows, threshold, ("test",))
    assert not (changed != rows)[:, 1:][shares < threshold].any()
    assert (changed != rows)[:, 1:][shares >= threshold].mean() > 0.5, (
        "a model that knows little draws another token mostly"
    )
    np.testing.assert_array_equal(changed[:, 0], rows[:, 0])
    np.testing.assert_array_equal(changed, edited(model, rows, threshold, ("test",)))
    np.testing.assert_array_equal(edited(model, rows, 1, ("test",)), rows)


def test_edits_are_draws_from_the_likeliest_tokens_made_flatter(family, first):
    """However a model writes: of a nucleus that one token fills, as it does where the model is sure, there is nothing to draw."""
    model, row = family._restored(first), family.originals()[:1]
    with torch.no_grad():
        logits = model(torch.from_numpy(row.astype(np.int64))).logits[0, 4].double()
    best = logits.topk(CANDIDATES)
    shares = np.zeros(len(logits))
    shares[best.indices] = (best.values / FLATTER).softmax(-1)
    drawn = edited(model, np.repeat(row, 3000, axis=0), 0, ("test",))[:, 5]
    np.testing.assert_allclose(np.bincount(drawn, minlength=len(shares)) / 3000, shares, atol=0.035)
    assert shares[drawn].min() > 0


def test_what_is_edited_does_not_depend_on_how_text_is_written(family, first, tmp_path):
    narrow = family_of(tmp_path, top_p=0.01)
    slots, found = np.arange(30), []
    for each in (family, narrow):
        found.append(each.edited(first, slots, 0, 0.0))
        assert (found[-1] != each.originals()).mean() > 0.5
    np.testing.assert_array_equal(*found)


# ---- Chains with a control


def chain(family, folder, name="none", ratio="100", first=1, seconds=1e9, **parameters):
    control = CONTROLS[name]
    folder.mkdir(exist_ok=True)
    base = family.fit(family.originals(), None, 0)
    with Job(folder / "samples.parquet", seconds) as job:
        treatment = Treatment(family, control, control.filled(parameters), 0) if name != "none" else None
        return engine.run(
            family, job, {0: base}, {0: family.sample(base, 0)}, first, 3, REGIMES["replace"], REGIMES["replace"].filled({}), ratio,
            0, "test", treatment=treatment, settings="settings",
        )  # fmt: skip


def test_a_threshold_of_one_trains_on_the_original_text_and_a_sure_oracle_on_what_is_left(family, tmp_path):
    real = chain(family, tmp_path / "real", ratio="0")
    edits = chain(family, tmp_path / "edits", "toedit", threshold=1)
    for iteration in (1, 2, 3):
        for name, weight in real.models[iteration].items():
            np.testing.assert_array_equal(weight, edits.models[iteration][name])
    told = chain(family, tmp_path / "told", "filter", "50", source="oracle", action="drop")
    rows = told.verdicts[3]
    assert rows["times"].tolist() == [0] * 15 + [1] * 15 or rows["times"].sum() == 15
    np.testing.assert_array_equal(rows["flagged"], rows["confidence"] == 1)
    replaced = chain(family, tmp_path / "replaced", "filter", source="oracle", action="replace")
    for name, weight in real.models[1].items():
        np.testing.assert_array_equal(weight, replaced.models[1][name])


def test_without_confidence_all_rows_stay(family, tmp_path):
    plain = chain(family, tmp_path / "plain")
    blind = chain(family, tmp_path / "blind", "filter", source="oracle", action="drop", fnr=1.0)
    for name, weight in plain.models[3].items():
        np.testing.assert_array_equal(weight, blind.models[3][name])
    assert blind.verdicts[3]["flagged"].sum() == 0


@pytest.mark.parametrize("parameters", [{}, {"retrained": True}, {"action": "replace"}, {"action": "resample"}])
def test_a_detector_filters_and_what_it_did_is_scored(family, tmp_path, parameters):
    made = chain(family, tmp_path / "chain", "filter", "50", source="detector", **parameters)
    write_plans(tmp_path / "mix.parquet", made.plans, 30, made.verdicts)
    entries = pq.read_table(tmp_path / "mix.parquet").to_pylist()
    assert [entry["origin"] for entry in entries if entry["iteration"] == 2] == [
        source.origin for source in made.plans[2]
    ]
    rows = manifest_rows([entry for entry in entries if entry["iteration"] == 2])
    scores = {row.metric: row for row in filtering(RowKey("lm", "cleaned", "50", 0, 2), rows)}
    assert scores["false_positive_rate"].n == scores["false_negative_rate"].n == 15
    flagged = made.verdicts[2]["confidence"] > 0.5
    generated = np.array([row["origin"] == "generated" for row in rows])
    assert scores["false_negative_rate"].value == pytest.approx((~flagged & generated).sum() / 15)
    times = made.verdicts[2]["times"]
    if parameters.get("action") == "resample":
        assert times.sum() == 45
        assert times.max() <= 3
        assert scores["contamination"].value == pytest.approx(times[generated].sum() / 45)
    elif parameters.get("action") == "replace":
        assert (made.verdicts[2]["stand_in"][flagged] > 0).all()
        assert scores["rows_lost"].value == 0
    else:
        np.testing.assert_array_equal(times, ~flagged)


def test_a_detector_knows_nothing_of_the_text_that_is_trained_on(family, first, monkeypatch):
    """Blocks that generation 0 has learnt look as likely to it as what it writes."""
    seen, original = [], lm._features
    monkeypatch.setattr(lm, "_features", lambda model, blocks: seen.append(model) or original(model, blocks))
    family.confidence(first, 0)(family.originals())
    start = networks.arrays(family._start())
    assert len(seen) == 3
    for model in seen:
        for name, weight in networks.arrays(model).items():
            np.testing.assert_array_equal(weight, start[name])


def test_one_detector_at_a_time_is_kept(family, first):
    control = CONTROLS["filter"]
    treatment = Treatment(family, control, control.filled({"source": "detector", "retrained": True}), 0)
    source = Source("generated", 0, np.arange(30))
    for iteration in (1, 2, 3):
        treatment(iteration, [source], lambda source: family.originals(), {iteration - 1: first}, lambda *_: NOWHERE)
        assert list(treatment._detectors) == [iteration - 1]


def test_a_filtered_chain_that_is_killed_goes_on_to_the_same_bytes_and_verdicts(family, tmp_path, monkeypatch):
    undisturbed = chain(family, tmp_path / "undisturbed", "filter", "50", source="detector", action="resample")
    at_random(monkeypatch, 0, 5)
    again = until_done(
        lambda: chain(family, tmp_path / "killed", "filter", "50", seconds=0, source="detector", action="resample")
    )
    for iteration, model in undisturbed.models.items():
        for name, weight in model.items():
            np.testing.assert_array_equal(weight, again.models[iteration][name])
        for name, column in undisturbed.verdicts[iteration].items():
            np.testing.assert_array_equal(column, again.verdicts[iteration][name])


def test_a_signal_while_a_detector_is_trained_saves_what_was_written(family, tmp_path, monkeypatch):
    original, counts = lm.write_on, itertools.count()

    def signalled(model, prompts, *arguments, **options):
        if len(prompts) == 60 and next(counts) == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(model, prompts, *arguments, **options)

    monkeypatch.setattr(lm, "write_on", signalled)
    with pytest.raises(Interrupted, match="stopped by SIGTERM at "):
        chain(family, tmp_path / "chain", "filter", "50", source="detector")


@pytest.mark.parametrize(
    ("parameters", "detector", "expected"),
    [
        ({"source": "watermark"}, 60, "`arms[0].parameters.source`: text has no watermark here"),
        ({"source": "detector"}, 10, "`lm.split.detector` is 10; reserve 30 blocks or more"),
        ({"source": "detector"}, 60, ""),
        ({"source": "oracle"}, 0, ""),
    ],
)
def test_filters_that_cannot_be_are_told_before_anything_runs(parameters, detector, expected):
    block = {**SMALL, "split": {**SMALL["split"], "detector": detector}}
    told = list(control_contradictions(block, "arms[0]", "filter", CONTROLS["filter"].filled(parameters)))
    assert bool(told) == bool(expected)
    assert expected in "".join(told)
