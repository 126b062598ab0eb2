"""The control that draws several images for each slot and keeps one: its rules, its table, what it asks of jobs."""

import argparse
import csv
import dataclasses
from collections import Counter
from types import SimpleNamespace

import interrupted
import numpy as np
import pytest
import select_draws
from ancestry import check_provenance
from hypothesis import given, settings
from hypothesis import strategies as st
from nepotism.controls.select_draws import CONTROL, choosing, curated
from nepotism.data.images import ImageSet, Record, digest, read_image_set, read_records, write_image_set
from nepotism.data.tables import read_text_csv
from nepotism.experiment.cells import Cell
from nepotism.families.diffusion import sampling
from nepotism.measure.metrics import METRICS
from nepotism.measure.selection import selection
from nepotism.plan.forecast import forecast
from nepotism.plan.grid import Grid
from nepotism.plan.needs import Needs
from nepotism.plan.settings import settings as settings_of
from nepotism.runtime import streams
from test_ancestry import JOB, SETTINGS, pictures_of, world
from test_config import NONE, grid_of, mistakes
from test_needs import rate

RULES = CONTROL.parameters["rule"]["enum"]


def random_candidates(groups, draws, seed, dimensions=3, copies=False):
    random = np.random.default_rng(seed)
    shape = (len(groups), draws)
    features = random.normal(size=(*shape, dimensions))
    if copies:
        features = np.round(features)
    return choosing.Candidates(groups, np.round(random.normal(size=shape), 1), features, random.gumbel(size=shape))


worlds = st.builds(
    lambda sizes, draws, seed, copies: random_candidates(
        [f"g{group}" for group, size in enumerate(sizes) for _ in range(size)], draws, seed, copies=copies
    ),
    st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 5), st.integers(0, 2**20), st.booleans(),
)  # fmt: skip


# ---- Rules, against the plainest way to say the same


def test_k_choice_is_the_choice_of_bradley_and_terry():
    """Shares of 10,000 choices, against exp(score) over its sum."""
    scores = np.array([0.0, 1.0, 2.5, -1.0])
    noise = choosing.noise([f"g/{slot}" for slot in range(10_000)], 4, 0, 1)
    shares = np.bincount(choosing.k_choice(np.broadcast_to(scores, noise.shape), noise), minlength=4) / len(noise)
    expected = np.exp(scores) / np.exp(scores).sum()
    error = np.sqrt(expected * (1 - expected) / len(noise))
    assert (np.abs(shares - expected) < 4 * error).all()


@given(worlds)
def test_random_is_k_choice_of_equal_scores(candidates):
    found = choosing.choose("random", candidates, 5.0)
    np.testing.assert_array_equal(found, choosing.choose("k_choice", candidates, 0.0))
    draws = candidates.noise.shape[1]
    assert [position // draws for position in found] == list(range(len(found))), "each slot keeps a draw of its own"


def test_random_keeps_every_draw_as_often():
    noise = choosing.noise([f"g/{slot}" for slot in range(5_000)], 4, 3, 2)
    zero = np.zeros((5_000, 4))
    found = choosing.choose("random", choosing.Candidates(["g"] * 5_000, zero, zero[..., None], noise), 1.0)
    assert np.abs(np.bincount(found % 4) / 5_000 - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 5_000)


def best(features, scores, noise, count):
    return {name for name, _ in sorted(enumerate(scores), key=lambda each: -each[1])[:count]}


def spread(features, scores, noise, count):
    left = sorted(range(len(features)), key=lambda each: -noise[each])
    kept = [left.pop(0)]
    while len(kept) < count:
        far = max(left, key=lambda each: min(np.linalg.norm(features[each] - features[other]) for other in kept))
        left.remove(far)
        kept.append(far)
    return set(kept)


def filtered(features, scores, noise, count):
    """Whole passes over all that are left, until enough were accepted."""
    left = sorted(range(len(features)), key=lambda each: -noise[each])
    kept = [left.pop(0)]

    def distance(each):
        return min(np.linalg.norm(features[each] - features[other]) for other in kept)

    threshold = max(map(distance, left), default=0)
    while len(kept) < count:
        before = len(kept)
        for each in list(left):
            if len(kept) < count and distance(each) > threshold:
                kept.append(each)
                left.remove(each)
        if len(kept) == before:
            if max(map(distance, left)) == 0:
                kept += left[: count - len(kept)]
            threshold *= 0.95
    return set(kept)


@pytest.mark.parametrize(
    ("rule", "plain"), [("top_quantile", best), ("farthest_point", spread), ("threshold_decay", filtered)]
)
@given(candidates=worlds)
@settings(deadline=None)
def test_rules_of_groups_keep_what_the_plainest_implementation_keeps(rule, plain, candidates):
    found = choosing.choose(rule, candidates, 1.0)
    draws = candidates.noise.shape[1]
    for group in set(candidates.groups):
        slots = [slot for slot, name in enumerate(candidates.groups) if name == group]
        pool = [(slot, draw) for slot in slots for draw in range(draws)]
        of = [
            [values[place] for place in pool] for values in (candidates.features, candidates.scores, candidates.noise)
        ]
        expected = {pool[place] for place in plain(*map(np.array, of), len(slots))}
        assert {divmod(int(found[slot]), draws) for slot in slots} == expected


@given(candidates=worlds, rule=st.sampled_from(RULES))
@settings(deadline=None)
def test_every_slot_is_filled_by_another_image_of_its_group_and_by_its_own_where_one_was_kept(candidates, rule):
    found = choosing.choose(rule, candidates, 1.0)
    draws = candidates.noise.shape[1]
    assert len(set(found.tolist())) == len(candidates.groups)
    homes = [int(position) // draws for position in found]
    assert [candidates.groups[home] for home in homes] == list(candidates.groups)
    assert all(homes[slot] == slot for slot in homes)


@given(rule=st.sampled_from(RULES), seed=st.integers(0, 2**20))
def test_of_one_draw_per_slot_the_plain_images_are_left(rule, seed):
    groups = ["a", "a", "b", "a", "b"]
    found = choosing.choose(rule, random_candidates(groups, 1, seed), 1.0)
    np.testing.assert_array_equal(found, range(5))
    records = [Record(f"x/{slot}", "p", group, f"{group}/{slot}", "generated") for slot, group in enumerate(groups)]
    plain = ImageSet(np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8), records)
    left = curated.selected([plain], found, "cell")
    np.testing.assert_array_equal(left.pixels, plain.pixels)
    assert left.records == records


def test_noise_is_keyed_by_seed_iteration_and_slot_and_more_draws_leave_it():
    one = choosing.noise(["a/0", "a/1"], 3, 0, 1)
    np.testing.assert_array_equal(one, choosing.noise(["a/1", "a/0"], 3, 0, 1)[::-1])
    np.testing.assert_array_equal(one, choosing.noise(["a/0", "a/1"], 8, 0, 1)[:, :3])
    others = [choosing.noise(["a/0"], 3, seed, iteration) for seed, iteration in ((1, 1), (0, 2))]
    assert len({values[0].tobytes() for values in (one, one[1:], *others)}) == 4


@pytest.mark.parametrize("rule", ["farthest_point", "threshold_decay"])
def test_copies_are_kept_last(rule):
    features = np.array([[[0.0], [0.0]], [[0.0], [1.0]], [[5.0], [0.0]]])
    kept = choosing.choose(rule, choosing.Candidates(["a"] * 3, np.zeros((3, 2)), features, np.zeros((3, 2))), 1.0)
    assert {float(features.ravel()[position]) for position in kept} == {0.0, 1.0, 5.0}
    same = choosing.Candidates(
        ["a"] * 3, np.zeros((3, 2)), np.zeros((3, 2, 1)), np.random.default_rng(0).random((3, 2))
    )
    assert len(set(choosing.choose(rule, same, 1.0).tolist())) == 3


# ---- Groups that images look like, and the scores of a selection


def test_an_image_is_seen_as_the_group_whose_caption_fits_best():
    texts = np.eye(3)
    captions = [("cat", "cats"), ("dog", "dogs"), ("pug", "dogs")]
    records = [Record(str(i), prompt, group, "", "generated") for i, (prompt, group) in enumerate([captions[0]] * 4)]
    images = np.array([[3.0, 1, 1], [1, 3, 1], [1, 1, 3], [2, 2, 0]])
    assert curated.seen_as(images, records, texts, captions) == ["cats", "dogs", "dogs", "cats"]
    # Captions that tell no groups apart leave each image in its own.
    same = [("it", "a"), ("it", "b")]
    records = [Record("x", "it", "b", "", "generated")]
    assert curated.seen_as(images[:1], records, np.ones((2, 3)), same) == ["b"]


def test_scores_of_a_selection_are_those_of_its_table():
    random = np.random.default_rng(0)
    groups = ["a"] * 4 + ["b"] * 3
    pool = random.normal(size=(7, 3))
    chosen = pool.max(1)
    seen, plain = ["a", "a", "b", "c", "c", "c", "c"], ["a", "b"] * 3 + ["a"]
    rows = [
        {"group": groups[i], "score": repr(float(chosen[i])), "scores": " ".join(map(repr, pool[i].tolist())),
         "seen_as": seen[i], "plain_seen_as": plain[i]}
        for i in range(7)
    ]  # fmt: skip
    found = selection(rows)
    assert set(found) == {name for name in METRICS if name.startswith("selection_")}
    for name, values in (("pool", pool), ("chosen", chosen)):
        score = found[f"selection_score_{name}"]
        assert (score.value, score.n) == (pytest.approx(values.mean()), values.size)
        assert score.sd == pytest.approx(values.std(ddof=1))
        # Blocks are the places in a group, as of any image set.
        assert score.left_out.values[3] == pytest.approx(np.delete(values, 3, axis=0).mean())
        assert found[f"selection_tail_{name}_low"].value == pytest.approx(np.quantile(values, 0.05))
        assert found[f"selection_tail_{name}_high"].value == pytest.approx(np.quantile(values, 0.95))
        between = abs(values[:4].mean() - values[4:].mean()) / np.sqrt(2)
        assert found[f"selection_group_sd_{name}"].value == pytest.approx(between)
    for name, column in (("chosen", seen), ("plain", plain)):
        shares = [count / 7 for count in Counter(column).values()]
        assert found[f"selection_groups_{name}"].value == pytest.approx(np.prod([p**-p for p in shares]))


# ---- The script


def fake(monkeypatch, salt=0):
    """What stands for drawing and for CLIP: pictures and features that follow from stream and picture."""
    monkeypatch.setattr(sampling, "sample", pictures_of)
    monkeypatch.setattr(sampling, "load_pipeline", lambda *settings: None)
    monkeypatch.setattr(sampling, "identity", lambda base: "base")
    monkeypatch.setattr(sampling, "denoiser_digest", lambda base, model: "digest")
    for name in ("start", "load_clip"):
        monkeypatch.setattr(select_draws, name, lambda *settings: None)
    monkeypatch.setattr(select_draws, "clip_text_features", lambda clip, prompts: np.eye(4)[: len(prompts)])

    def embed(evaluator, images):
        made = [streams.generator(salt, digest(image)) for image in images.pixels]
        features = np.stack([random.normal(size=4) for random in made])
        return SimpleNamespace(spaces={"clip": features}, values={"contrast": np.array([r.random() for r in made])})

    monkeypatch.setattr(select_draws, "embed", embed)


def arguments_in(folder, iteration, **changes):
    return argparse.Namespace(
        **{**SETTINGS, "cell": f"select/iteration-{iteration}", "iteration": iteration, "ratio": "100", "draws": 3,
           "rule": "top_quantile", "score": "contrast", "reward_scale": 1.0, "clip": None, "embed_batch_size": 1,
           "strength": 0.8 if iteration == 1 else None, "generated": folder / "generated.parquet",
           "real": folder / "real.parquet", "output": folder / "curated.parquet", "table": folder / "curated.csv",
           **changes}
    )  # fmt: skip


@given(
    groups=st.lists(st.integers(1, 4), min_size=1, max_size=4), draws=st.integers(1, 4), rule=st.sampled_from(RULES),
    iteration=st.sampled_from([1, 2]), salt=st.integers(0, 2**20),
)  # fmt: skip
@settings(deadline=None, max_examples=30)
def test_whatever_is_selected_an_id_is_one_picture_and_ancestry_ends(
    tmp_path_factory, groups, draws, rule, iteration, salt
):
    folder = tmp_path_factory.mktemp("selected")
    arguments = arguments_in(folder, iteration, draws=max(2, draws), rule=rule)
    with pytest.MonkeyPatch.context() as monkeypatch:
        fake(monkeypatch, salt)
        world(folder, groups, arguments, iteration)
        select_draws.draw_and_select(arguments, JOB)
    check_provenance([arguments.real, arguments.generated, arguments.output])
    before, after = (read_records(path) for path in (arguments.generated, arguments.output))
    # One image per slot: neither the set's size nor its groups change.
    assert [(record.slot, record.group) for record in after] == [(record.slot, record.group) for record in before]
    assert len({record.sha256 for record in after}) == len(after)
    plain = {record.slot: record for record in before}
    for record, row in zip(after, read_text_csv(arguments.table), strict=True):
        assert (row["slot"], row["image"]) == (record.slot, record.id)
        scores = [float(score) for score in row["scores"].split()]
        assert len(scores) == arguments.draws
        assert float(row["mean_score"]) == pytest.approx(np.mean(scores))
        home = row["drawn_for"] == row["slot"]
        if row["draw"] == "1":
            source = plain[row["drawn_for"]]
            assert record == source if home else (record.parents, record.rng) == ((source.id,), source.rng)
        else:
            assert record.rng == f"0/{iteration - 1}/select/{row['drawn_for']}/{row['draw']}"
        if home:
            assert float(row["score"]) == scores[int(row["draw"]) - 1]
            assert record.id.endswith(record.slot)


def test_draws_are_the_same_whatever_the_arm_the_ratio_and_the_number_of_draws(tmp_path, monkeypatch):
    fake(monkeypatch)
    world(tmp_path, [4, 4], arguments_in(tmp_path, 2), 2)
    drawn = {}
    for name, ratio, draws in (("one", "100", 3), ("two", "50", 6)):
        arguments = arguments_in(tmp_path, 2, cell=name, ratio=ratio, draws=draws)
        drawer = sampling.Drawer(arguments, None, JOB)
        treated = select_draws.read_treated(arguments.generated, read_records(arguments.real), ratio, 0)
        sets = select_draws.drawn(arguments, drawer, treated, read_image_set(arguments.real))
        assert len(sets) == draws - 1
        drawn[name] = {r.rng: image for each in sets for r, image in zip(each.records, each.pixels)}
        assert {r.id.split("/")[1] for each in sets for r in each.records} == {
            f"drawn-{n}" for n in range(2, draws + 1)
        }
    shared = drawn["one"].keys() & drawn["two"].keys()
    assert len(shared) == 4 * 2, "half of the slots, draws 2 and 3"
    for key in shared:
        np.testing.assert_array_equal(drawn["one"][key], drawn["two"][key])


def test_killed_at_any_checkpoint_it_ends_in_the_same_bytes(tmp_path, monkeypatch, tiny_diffusion, tiny_clip):
    """With the tiny model itself: two groups, three draws for each of four slots."""
    records = [
        Record(f"real/{group}/{index}", f"a handwritten digit {group}", group, f"{group}/{index:03d}", "real")
        for group in ("one", "two")
        for index in range(2)
    ]
    random = np.random.default_rng(0)
    for name, kind in (("real", "real"), ("generated", "samples")):
        made = [dataclasses.replace(each, id=f"{kind}/{each.slot}") for each in records]
        write_image_set(tmp_path / f"{name}.parquet", random.integers(0, 256, (4, 64, 64, 3)).astype(np.uint8), made)

    def run(folder):
        folder.mkdir(exist_ok=True)
        arguments = arguments_in(
            tmp_path, 1, base_model=tiny_diffusion, clip=tiny_clip, scheduler="UniPCMultistepScheduler", resolution=64,
            num_inference_steps=3, sample_batch_size=2, embed_batch_size=3, rule="farthest_point", score="clip_score",
            checkpoint_seconds=0, output=folder / "curated.parquet", table=folder / "curated.csv",
        )  # fmt: skip
        select_draws.run(arguments)
        assert sorted(path.name for path in folder.iterdir()) == ["curated.csv", "curated.parquet"]
        return arguments.output.read_bytes(), arguments.table.read_bytes()

    undisturbed = run(tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        ends = interrupted.at_random(patch, 1, 4)
        assert interrupted.until_done(lambda: run(tmp_path / "killed")) == undisturbed
    assert ends
    assert {name for name, _ in ends} == {"drawn"}
    rows = read_text_csv(tmp_path / "undisturbed" / "curated.csv")
    assert all(-100 <= float(row["score"]) <= 100 for row in rows)
    assert {row["seen_as"] for row in rows} <= {"one", "two"}


# ---- Configuration, settings, needs


SELECT = {"name": "select", "control": "select_draws", "ratios": [100]}


def with_parameters(**parameters):
    return {**SELECT, "parameters": parameters}


def test_mistakes_are_told_before_anything_runs():
    told = mistakes(arms=[NONE, with_parameters(draws=1)])
    assert (
        "`arms[1].parameters.draws`: 1 is out of range; allowed: 2 to 64; of one image per slot there is nothing to select"
        in told
    )
    assert "`arms[1].parameters.draws`: 65 is out of range" in mistakes(arms=[NONE, with_parameters(draws=65)])
    assert "'best' is none of k_choice, top_quantile, farthest_point, threshold_decay, random" in mistakes(
        arms=[NONE, with_parameters(rule="best")]
    )
    assert "did you mean clip_score?" in mistakes(arms=[NONE, with_parameters(score="clip_scores")])
    assert "at ratio 0 there are no generated images for select_draws to treat" in mistakes(
        arms=[NONE, {**SELECT, "ratios": [0, 100]}]
    )


def test_what_an_arm_leaves_out_is_four_draws_by_caption():
    arm = grid_of(arms=[NONE, SELECT]).arm("select")
    assert arm.of_control() == {"draws": 4, "rule": "k_choice", "score": "clip_score", "reward_scale": 1.0}


def test_its_settings_say_how_images_are_drawn_and_by_which_clip_they_are_judged():
    grid = grid_of(arms=[NONE, SELECT])
    first, later = (settings_of(grid, "select_draws", grid.arm("select"), iteration) for iteration in (1, 2))
    assert "--strength 0.8" in first
    assert "--strength" not in later
    for part in ("--clip resources/tiny-clip", "--draws 4", "--rule k_choice", "--score clip_score", "--reward-scale 1.0",
                 "--guidance-scale 4.0", "--base-model resources/tiny-diffusion", "--stage-version 1"):  # fmt: skip
        assert part in first
        assert part in later
    other = grid_of(arms=[NONE, SELECT], execution={"sample_batch_size": 1, "embed_batch_size": 1})
    assert settings_of(other, "select_draws", other.arm("select"), 2) == later


def test_an_arm_that_selects_changes_no_other_stage():
    grid, with_arm = grid_of(), grid_of(arms=[*grid_of().config["arms"], SELECT])
    for stage in ("reference", "initial_images", "finetune", "sample", "score", "embed_reference", "mix"):
        assert settings_of(grid, stage) == settings_of(with_arm, stage)
    assert with_arm.bases == ["base"]


def test_every_regime_takes_what_was_selected():
    arms = [NONE, {"name": "all", "regime": "accumulate", "control": "select_draws", "ratios": [100]}]
    grid = grid_of(arms=arms)
    assert grid.mixed_images(Cell("all", "100", 0, 2)) == [
        f"results/faces/all/ratio-100/seed-0/iteration-{iteration}/curated.parquet" for iteration in (1, 2)
    ]


def test_jobs_ask_for_memory_and_time_of_their_draws():
    few, many = (Needs(grid_of(arms=[NONE, with_parameters(draws=draws)]), [rate()], 30) for draws in (2, 5))
    arms = [grid_of(arms=[NONE, with_parameters(draws=draws)]).arm("select") for draws in (2, 5)]
    seconds = 3 * 90 * 14 / 1.0 / 60  # A draw of 90 slots, at two passes a step and one pass a second.
    assert few.minutes("select_draws", arms[0]) == pytest.approx(seconds + 3, abs=1)
    assert many.minutes("select_draws", arms[1]) == pytest.approx(4 * seconds + 3, abs=1)
    image_set = 90 * 64 * 64 * 3 / 1e6
    added = many.memory_mb("select_draws", arms[1]) - few.memory_mb("select_draws", arms[0])
    assert added == pytest.approx(3 * 3 * image_set, abs=1)


def test_the_forecast_counts_what_selection_draws():
    plain, selecting = {**SELECT, "name": "plain", "control": "none", "ratios": [50]}, {**SELECT, "ratios": [50]}
    before, after = (
        forecast(grid_of(arms=[NONE, arm], iterations=3, sample={"num_inference_steps": 5, "guidance_scale": 1.0}), 30)
        for arm in (plain, selecting)
    )
    # 45 slots of 90, three draws each; img2img has 0.8 of 14 passes, and two iterations are sampled.
    assert after.passes - before.passes == 45 * 3 * (11 + 2 * 5)
    assert after.jobs.pop("select_draws") == 3
    assert after.jobs == before.jobs


def test_a_forecast_names_each_control_once():
    controls = [{**SELECT, "name": name, "control": name} for name in ("histogram_match", "sifid_cull", "select_draws")]
    jobs = forecast(Grid(grid_of(arms=[NONE, *controls]).config), 30).jobs
    assert {name: jobs[name] for name in ("histogram_match", "sifid_cull", "select_draws")} == dict.fromkeys(
        ("histogram_match", "sifid_cull", "select_draws"), 4
    )


def test_a_table_has_its_columns(tmp_path, monkeypatch):
    fake(monkeypatch)
    arguments = arguments_in(tmp_path, 2)
    world(tmp_path, [2, 2], arguments, 2)
    select_draws.draw_and_select(arguments, JOB)
    with open(arguments.table, newline="") as file:
        assert next(csv.reader(file)) == [
            "slot", "group", "image", "drawn_for", "draw", "score", "mean_score", "scores", "seen_as", "plain_seen_as",
        ]  # fmt: skip
