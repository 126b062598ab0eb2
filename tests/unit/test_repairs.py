"""Repairs: what branches off a finished cell, what it trains on, and what becomes of its model or of its sampling."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import DDIMScheduler
from nepotism.chain.regimes import REGIMES
from nepotism.chain.slots import Slots
from nepotism.experiment.cells import Cell
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion import sampling
from nepotism.families.diffusion.extrapolation import Extrapolated, extrapolated_weights
from nepotism.families.diffusion.pipeline import (
    denoiser_digest,
    encode_prompts,
    load_denoiser,
    load_pipeline,
    save_denoiser,
)
from nepotism.families.diffusion.sample import sample
from nepotism.families.diffusion.training_set import filled_up
from nepotism.plan.forecast import forecast
from nepotism.plan.lines import lines
from nepotism.plan.needs import Needs
from nepotism.plan.remedies import described
from nepotism.plan.settings import checks_of_reference, settings
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from safetensors.numpy import load_file
from test_config import NONE, grid_of, mistakes
from test_fit import SETTINGS, data, of, scheduler, small_unet, vae  # noqa: F401
from test_mix import PAPER, mixed, names, of_models, records
from test_needs import rate

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"


def arm(regime, after=2, name=None, ratios=(100,), overrides=None, **parameters):
    entry = {"name": name or regime, "regime": regime, "ratios": list(ratios)}
    entry["parameters"] = {"after": after, **({"iterations": 1} if regime == "heal" else {}), **parameters}
    return entry | ({"overrides": overrides} if overrides else {})


# ---- What is trained on


@pytest.mark.parametrize("regime", ["neon", "sims"])
@pytest.mark.parametrize("ratio", ["0", "25", "100"])
def test_a_repair_trains_on_what_its_model_drew_whatever_the_ratio_of_the_branch(regime, ratio):
    chosen, files = mixed(regime, records("real"), of_models(4)[3:], ratio, iteration=4)
    assert [record.id for record in chosen] == [f"3/{record.slot}" for record in records("real")]
    assert set(files) == {"made-0.parquet"}
    half, _ = mixed(regime, records("real"), of_models(4)[3:], ratio, iteration=4, share=50)
    assert Counter(record.group for record in half) == {"a": 2, "b": 2}


def test_doses_of_healing_are_nested_balanced_and_real():
    def healed(share):
        (source,) = REGIMES["heal"].plan(Slots(PAPER, 0), "100", 4, {"share": share})
        assert source.origin == "real"
        return {names(PAPER)[slot] for slot in source.slots}

    for share, count in ((3.3, 30), (10, 90), (30, 270), (100, 900)):
        per_group = Counter(slot.split("/")[0] for slot in healed(share))
        assert set(per_group.values()) == {count // 30}
    assert healed(3.3) < healed(10) < healed(30) < healed(100) == set(names(PAPER))
    generated, _ = Slots(PAPER, 0).split("10")
    assert healed(10) == {names(PAPER)[slot] for slot in generated}, "those that a mixture of 10 % had given up"
    with pytest.raises(UserError, match=r"`arms.parameters.share`: 0.01 % of 900 slots is no row at all"):
        healed(0.01)


def test_a_share_is_repeated_until_it_has_as_many_steps_as_all(data, scheduler):  # noqa: F811
    two = fitting.TrainingSet(
        data.rows[:2], fitting.TrainingSet and type(data.posteriors)(data.posteriors.mean[:2], data.posteriors.deviation[:2]),
        data.scaling_factor, data.text, data.prompt_of[:2], slots=5,
    )  # fmt: skip
    full = filled_up(two, 5)
    assert (len(full.rows), len(set(full.rows)), full.repeats) == (6, 6, 3)
    assert full.rows[:2] == data.rows[:2], "the first of each has the numbers that it has in a larger set"
    assert torch.equal(full.posteriors.mean[4:], two.posteriors.mean)
    assert full.prompt_of == two.prompt_of * 3
    plans = [fitting.Plan(each, SETTINGS, 0, 1, 1000) for each in (data, full, two)]
    assert [plan.total for plan in plans] == [6, 6, 2]
    # Five of six repeats an epoch, of two images: 2 epochs of 5 images are 5 times both.
    assert fitting.seen(full, SETTINGS)[-1] == (10, 5.0)
    assert fitting.seen(data, SETTINGS)[-1] == (10, 2.0)
    pieces = [piece for step in range(6) for piece in plans[1].pieces(step)]
    drawn = [noise.tobytes() for piece in pieces for noise in piece.noise]
    assert len(set(drawn)) == len(drawn) == 10, "no image is trained on twice with the same noise"
    losses = fitting.fit(small_unet(), of(scheduler), full, SETTINGS, 0, 1, Accelerator(cpu=True), "test")[1]
    assert len(losses) == 6
    same = filled_up(data, 5)
    assert (same.rows, same.repeats) == (data.rows, 1)


# ---- Weights


def perturbed(unet, seed, size=0.02):
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter += size * torch.randn(parameter.shape, generator=random)
    return unet


@pytest.fixture(scope="module")
def models(tiny_diffusion, tmp_path_factory):
    """Folders of a model and of a copy that was trained on."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("parent", "copy")):
        save_denoiser(perturbed(load_denoiser(tiny_diffusion, None), seed), folder / name)
    return folder / "parent", folder / "copy"


@pytest.mark.parametrize("weight", [-0.5, 0.75, 2.0])
def test_weights_are_combined_tensor_by_tensor(tiny_diffusion, models, tmp_path, weight):
    parent, copy = (load_denoiser(tiny_diffusion, folder) for folder in models)
    save_denoiser(extrapolated_weights(parent, copy, weight), tmp_path / "merged")
    before, after, made = (load_file(folder / WEIGHTS) for folder in (*models, tmp_path / "merged"))
    assert before.keys() == made.keys()
    for name in made:
        expected = (1 + weight) * before[name].astype(np.float64) - weight * after[name].astype(np.float64)
        np.testing.assert_allclose(made[name], expected, rtol=1e-5, atol=1e-6)
        assert made[name].dtype == before[name].dtype


def test_weight_0_is_the_parent_to_the_byte_and_minus_1_the_copy(tiny_diffusion, models, tmp_path):
    odd = load_denoiser(tiny_diffusion, models[0])
    with torch.no_grad():
        # A sum of numbers would lose the sign.
        next(odd.parameters()).fill_(-0.0)
    save_denoiser(odd, tmp_path / "odd")
    for weight, expected in ((0.0, tmp_path / "odd"), (-1.0, models[1])):
        merged = extrapolated_weights(
            load_denoiser(tiny_diffusion, tmp_path / "odd"), load_denoiser(tiny_diffusion, models[1]), weight
        )
        save_denoiser(merged, tmp_path / f"{weight}")
        assert (tmp_path / f"{weight}" / WEIGHTS).read_bytes() == (expected / WEIGHTS).read_bytes()


# ---- Scores

PROMPTS = ["a handwritten digit one", "a handwritten digit two"] * 2
KEYS = [(0, 5, "sample", f"g/{index:03d}") for index in range(4)]


def steered(tiny_diffusion, models, weight, name="DDIMScheduler"):
    return load_pipeline(tiny_diffusion, models[0], name, CPU, copy=models[1], negative_weight=weight)


def drawn(pipeline, scale=4.0):
    return sample(pipeline, PROMPTS, KEYS, scale, 4, 64, 4, "test")


@pytest.mark.parametrize("name", ["DDIMScheduler", "UniPCMultistepScheduler"])
def test_weight_0_draws_the_very_images_of_the_model_and_minus_1_those_of_the_copy(tiny_diffusion, models, name):
    parent, copy = (drawn(load_pipeline(tiny_diffusion, folder, name, CPU)) for folder in models)
    assert drawn(steered(tiny_diffusion, models, 0.0, name)).tobytes() == parent.tobytes()
    assert drawn(steered(tiny_diffusion, models, -1.0, name)).tobytes() == copy.tobytes()
    assert not np.array_equal(drawn(steered(tiny_diffusion, models, 1.0, name)), parent)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_sampling_is_that_of_a_loop_that_combines_guided_scores(tiny_diffusion, models, scale):
    """Classifier-free guidance for each network first, then the two together: by linearity it is the same."""
    omega, steps = 1.5, 4
    pipeline = steered(tiny_diffusion, models, omega)
    parent, copy = (load_denoiser(tiny_diffusion, folder) for folder in models)
    text = encode_prompts(pipeline, PROMPTS)["text"]
    empty = encode_prompts(pipeline, [""])["text"].expand(len(PROMPTS), -1, -1)
    schedule = DDIMScheduler.from_config(pipeline.scheduler.config)
    schedule.set_timesteps(steps)
    latents = torch.cat(
        [
            torch.randn(
                (1, parent.config.in_channels, 8, 8),
                generator=torch.Generator().manual_seed(streams.integer_seed(*key)),
            )
            for key in KEYS
        ]
    )

    @torch.no_grad()
    def guided(network, time):
        with_text, without = network(latents, time, text).sample, network(latents, time, empty).sample
        return without + scale * (with_text - without)

    for time in schedule.timesteps:
        score = (1 + omega) * guided(parent, time) - omega * guided(copy, time)
        latents = schedule.step(score, time, latents).prev_sample
    with torch.no_grad():
        images = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    expected = ((images.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    difference = np.abs(drawn(pipeline, scale).astype(int) - expected)
    assert (difference > 1).mean() <= 0.001


def test_two_networks_answer_as_one(tiny_diffusion, models):
    parent, copy = (load_denoiser(tiny_diffusion, folder) for folder in models)
    both = Extrapolated(parent, copy, 1.0)
    assert (both.config, both.dtype, both.device) == (parent.config, torch.float32, CPU)
    latents, text = (
        torch.randn(2, parent.config.in_channels, 8, 8),
        torch.randn(2, 5, parent.config.cross_attention_dim),
    )
    with torch.no_grad():
        expected = 2 * parent(latents, 7, text).sample - copy(latents, 7, text).sample
        torch.testing.assert_close(both(latents, 7, encoder_hidden_states=text).sample, expected)
        torch.testing.assert_close(both(latents, 7, text, return_dict=False)[0], expected)
        half = both.half()(latents.half(), 7, text.half()).sample
    assert half.dtype == torch.float16


def test_images_name_both_models_that_drew_them(tiny_diffusion, models):
    chosen = SimpleNamespace(
        base_model=tiny_diffusion, model=models[1], parent_model=models[0], negative_weight=None, watermark=None
    )
    alone = sampling.Drawer(chosen, CPU, None)._digest
    assert alone == denoiser_digest(tiny_diffusion, models[1])
    chosen.negative_weight = 1.0
    both = sampling.Drawer(chosen, CPU, None)._digest
    chosen.parent_model = None
    assert len({alone, both, sampling.Drawer(chosen, CPU, None)._digest}) == 3


# ---- Settings


def test_settings_of_healing_and_of_all_else_are_what_they_were():
    grid = grid_of(arms=[NONE, arm("heal", iterations=2), arm("heal", name="some", share=10)])
    before = """--regime heal --regime-parameters '{"after":2,"iterations":2}' --stage-version 1"""
    assert settings(grid, "mix", grid.arm("heal")) == before
    assert settings(grid, "finetune", grid.arm("heal")) == settings(grid, "finetune")
    assert '"share":10.0' in settings(grid, "mix", grid.arm("some"))
    assert settings(grid, "sample", grid.arm("some")) == settings(grid, "sample")


def test_a_weight_is_a_setting_of_what_it_changes_and_of_nothing_before():
    arms = [arm(regime, name=f"{regime}-{int(2 * w)}", weight=w) for regime in ("neon", "sims") for w in (0.5, 2)]
    grid = grid_of(arms=[NONE, *arms])

    def told(stage):
        return [settings(grid, stage, each) for each in grid.arms[1:]]

    for stage, plain in (("mix", ()), ("finetune", (2, 3)), ("sample", (0, 1)), ("score", (0, 1))):
        words = told(stage)
        assert len(set(words[:2])) == (1 if stage == "mix" or 0 in plain else 2)
        assert len(set(words[2:])) == (1 if stage == "mix" or 2 in plain else 2)
        for number in plain:
            assert words[number] == settings(grid, stage)
    assert told("mix")[0] == "--regime neon --regime-parameters '{}' --stage-version 1"
    assert "--negative-weight 0.5" in told("finetune")[0]
    assert "--negative-weight 2.0" in told("sample")[3]


def test_at_equal_steps_a_share_is_filled_up_and_at_equal_epochs_not():
    by_epochs = {"finetune": {"budget": "epochs"}}
    grid = grid_of(
        arms=[NONE, arm("heal", share=10), arm("neon", share=10), arm("heal", name="e", share=10, overrides=by_epochs)]
    )
    filled = ["--fill-up" in settings(grid, "finetune", each) for each in grid.arms]
    assert filled == [False, True, True, False]
    assert "--shares 10.0" in checks_of_reference(grid)
    culled = [
        {"name": name, "control": "sifid_cull", "ratios": [100], "parameters": {"replacement": name}}
        for name in ("drop", "regenerate")
    ]
    grid = grid_of(arms=culled)
    assert ["--fill-up" in settings(grid, "finetune", each) for each in grid.arms] == [True, False]


def test_retraining_of_a_repair_is_overridden_like_any_other():
    slower = {"finetune": {"learning_rate": 1e-5, "epochs": 1}}
    grid = grid_of(arms=[NONE, arm("heal", overrides=slower), arm("neon", overrides=slower)])
    for name in ("heal", "neon"):
        assert "--learning-rate 1e-05" in settings(grid, "finetune", grid.arm(name))
        assert grid.parent_model(Cell(name, "100", 0, 3))
    assert grid.judged_arm("heal") is None
    assert lines(grid, "figure_3") == ["none:mixture", "heal:heal", "neon:repair"]


# ---- The grid


def test_a_repair_goes_on_from_its_branch_and_then_from_itself():
    grid = grid_of(arms=[NONE, arm("neon", iterations=2, ratios=[0, 25]), arm("sims", ratios=[100])])
    folder = "results/faces/none/ratio-{}/seed-0/iteration-2".format
    for ratio in ("0", "25"):
        cell = Cell("neon", ratio, 0, 3)
        assert grid.parent(cell) == Cell("none", ratio, 0, 2)
        assert grid.mixed_images(cell) == [f"{folder(ratio)}/samples.parquet"], "generated ones, also at ratio 0"
        assert grid.parent_model(cell)[0].startswith(folder(ratio))
        assert grid.extrapolated_model(cell) == []
    second = Cell("neon", "25", 0, 4)
    assert grid.mixed_images(second) == ["results/faces/neon/ratio-25/seed-0/iteration-3/samples.parquet"]
    assert grid.parent_model(second)[1] == f"results/faces/neon/ratio-25/seed-0/iteration-3/model/{WEIGHTS}"
    steered = Cell("sims", "100", 0, 3)
    assert grid.extrapolated_model(steered) == grid.parent_model(steered)
    assert grid.extrapolated_model(steered)[1] == f"{folder('100')}/model/{WEIGHTS}"
    with pytest.raises(ValueError, match="no iteration 4; those of arm 'sims' are 3 to 3"):
        grid.parent(Cell("sims", "100", 0, 4))
    # A step of neon is retrained and drawn from; so its branch must be drawn from too.
    assert [grid.urgency(Cell("neon", "25", 0, iteration)) for iteration in (3, 4)] == [4, 2]
    late = grid_of(arms=[NONE, arm("neon", after=4, iterations=2)])
    assert late.urgency(Cell("none", "100", 0, 4)) == 2 + 4


def test_a_repair_may_be_followed_by_another():
    followed = arm("heal", name="then", **{"from": "neon"}, after=4, iterations=2, share=10)
    grid = grid_of(arms=[NONE, arm("neon", iterations=2), followed, arm("heal")])
    cell = Cell("then", "100", 0, 5)
    assert grid.parent(cell) == Cell("neon", "100", 0, 4)
    assert grid.parent_model(cell)[1] == f"results/faces/neon/ratio-100/seed-0/iteration-4/model/{WEIGHTS}"
    assert Cell("neon", "100", 0, 4) not in grid.last_cells(), "its model is kept until then"
    # Two steps of neon are drawn from, two of healing not.
    assert grid.urgency(Cell("neon", "100", 0, 3)) == 4 + 2
    assert grid.judged_arm("heal").name == "heal", "claims on healing are about the collapsed model"
    assert lines(grid, "figure_3")[2] == "then:heal:neon"
    plain = grid_of(arms=[NONE, arm("heal", name="then", after=4, iterations=2, share=10)])
    assert settings(grid, "mix", grid.arm("then"), 5) == settings(plain, "mix", plain.arm("then"), 5)
    neon, then = (described(grid, grid.arm(name)) for name in ("neon", "then"))
    before, after = (each["costs"][0] for each in (neon, then))
    assert (before["drawn"], after["drawn"]) == (2, 4)
    assert after["passes"] == 2 * before["passes"]
    assert after["real"] == 0.1
    assert then["after"] == 2, "compared with the collapsed model"
    assert "after" not in neon


def test_the_base_model_is_drawn_with_the_noise_that_repairs_are_compared_in():
    assert grid_of(arms=[NONE, arm("neon", iterations=3)]).redrawn() == [2, 4, 5]
    assert grid_of(arms=[NONE, arm("neon", share=50)]).redrawn() == [4]


def test_claims_on_healing_are_about_all_real_images():
    grid = grid_of(arms=[NONE, arm("heal", name="some", share=10), arm("heal", name="all"), arm("neon")])
    assert grid.judged_arm("heal").name == "all"
    assert "--heal all" in settings(grid, "claims")
    assert grid_of(arms=[NONE, arm("heal", share=10)]).judged_arm("heal") is None
    assert lines(grid, "figure_7") == ["none:mixture"]


def test_two_networks_take_twice_the_passes_and_the_memory():
    one, two = (grid_of(arms=[NONE, arm(regime)]) for regime in ("neon", "sims"))
    per_image = two.config["sample"]["num_inference_steps"] * 2
    more = forecast(two, 30).passes - forecast(one, 30).passes
    unseen = len(two.config["unseen"]["prompts"]) * two.config["unseen"]["images_per_prompt"]
    assert more == per_image * (90 + unseen)
    for stage in ("sample", "score"):
        fast, slow = (Needs(grid, [rate()], 3000).minutes(stage, grid.arms[1]) for grid in (one, two))
        # The few images for unseen captions take hardly more than is given at least.
        assert slow == pytest.approx(2 * fast, rel=0.2) if stage == "sample" else slow > fast
        assert Needs(two, [], 30).memory_mb(stage, two.arms[1]) > Needs(two, [], 30).memory_mb(stage, two.arms[0])
    assert Needs(two, [], 30).memory_mb("finetune", two.arms[1]) == Needs(two, [], 30).memory_mb(
        "finetune", two.arms[0]
    )


# ---- Mistakes


@pytest.mark.parametrize("regime", ["neon", "sims"])
def test_a_repair_that_cannot_be_is_told_before_anything_runs(regime):
    told = mistakes(arms=[NONE, arm(regime, after=9, ratios=[50])])
    assert f"`arms[1].ratios`: {regime} goes on from the arm 'none', which has no ratio 50" in told
    assert "`arms[1].parameters.after`: 9, but those of the arm 'none' are 1 to 4" in told
    told = mistakes(arms=[NONE, arm(regime)], finetune={"start_from": "base"})
    assert f"`arms[1]`: {regime} goes on from retrained weights, but `finetune.start_from` is base" in told
    told = mistakes(arms=[NONE, {**arm(regime), "control": "histogram_match"}])
    assert f"`arms[1].control`: {regime} trains on rows as they were drawn; leave histogram_match out" in told
    assert f"`arms[1].iterations`: {regime} counts its own" in mistakes(arms=[NONE, {**arm(regime), "iterations": 3}])
    assert "`arms[1].parameters.after`: missing" in mistakes(arms=[NONE, {**arm(regime), "parameters": {}}])
    assert "`arms[1].parameters.weight`: -2 is out of range" in mistakes(arms=[NONE, arm(regime, weight=-2)])
    assert "`arms[1].parameters.share`: 0 is out of range" in mistakes(arms=[NONE, arm(regime, share=0)])
    told = mistakes(arms=[NONE, arm(regime, **{"from": "neither"})])
    assert (
        f"`arms[1].parameters.from`: {regime} goes on from the arm 'neither', which is not there; there are: none"
        in told
    )
    told = mistakes(arms=[NONE, arm("sims", name="first"), arm(regime, **{"from": "first"}, after=3)])
    assert "`arms[2].parameters.from`: a cell of sims draws with two models" in told
    told = mistakes(arms=[NONE, arm("neon", name="first"), arm(regime, **{"from": "first"}, after=2)])
    assert "`arms[2].parameters.after`: 2, but those of the arm 'first' are 3 to 3" in told
    circle = [arm("neon", name="one", **{"from": "two"}), arm(regime, name="two", **{"from": "one"})]
    assert "two goes on from one: a circle; name an arm that begins before" in mistakes(arms=[NONE, *circle])


def test_nothing_is_retrained_from_what_two_models_drew():
    told = mistakes(arms=[NONE, arm("sims", iterations=2)])
    assert (
        "`arms[1].parameters.iterations`: 2, but a cell of sims draws with two models, and no further one can" in told
    )
    grid_of(arms=[NONE, arm("sims", iterations=1), arm("neon", iterations=2)])


def test_a_family_that_cannot_be_repaired_so_says_so():
    import yaml
    from conftest import ROOT

    experiment = yaml.safe_load((ROOT / "resources" / "experiments" / "gmm-regimes.yaml").read_text())
    experiment["arms"] = [{"name": "none", "ratios": [100]}, arm("neon")]
    told = mistakes(**experiment)
    assert "`arms[1].regime`: neon is for models of the family diffusion, and not of gmm; choose another regime" in told
    experiment["arms"][1] = arm("heal", share=10)
    assert "`arms[1].parameters.share`: only for models of the family diffusion; leave it out" in mistakes(**experiment)
