"""Knobs of a chain in plans: settings strings, schedules of guidance, forecasts, and mistakes."""

import pytest
from nepotism.experiment.stages import stage_version
from nepotism.plan.forecast import forecast, passes_per_image
from nepotism.plan.grid import Grid
from nepotism.plan.knobs import decisive_training, guided_steps, way_of_training, ways_of_training, weights_kept
from nepotism.plan.needs import Needs
from nepotism.plan.settings import settings
from test_config import NONE, grid_of, mistakes
from test_needs import rate

# A configuration whose strings below are those from before there were knobs.
PLAIN = {
    "finetune": {"learning_rate": 0.001, "epochs": 3, "batch_size": 16, "caption_dropout": 0.1},
    "sample": {"guidance_scale": 4.0, "num_inference_steps": 7},
    "unseen": {"prompts": ["a b"], "images_per_prompt": 2},
}
MODEL = "--base-model resources/tiny-diffusion"
SAMPLED = "--num-inference-steps 7 --precision fp32"
STRINGS = {
    "finetune": f"{MODEL} --batch-size 16 --budget steps --caption-dropout 0.1 --epochs 3 --learning-rate 0.001 "
    "--precision fp32 --random-flip",
    "sample": f"{MODEL} --guidance-scale 4.0 {SAMPLED} --resolution 64 --scheduler UniPCMultistepScheduler",
    "score": f"{MODEL} --clip resources/tiny-clip --features clip conv --guidance-scale 4.0 --images-per-prompt 2 {SAMPLED} "
    "--prompts 'a b' --resolution 64 --scheduler UniPCMultistepScheduler",
    "preflight": f"{MODEL} --batch-size 16 --guidance-scale 4.0 {SAMPLED} --prompts 'a b' --resolution 64 "
    "--scheduler UniPCMultistepScheduler",
}


def arm(name="arm", **overrides):
    return {"name": name, "ratios": [100], "overrides": overrides}


@pytest.mark.parametrize("stage", STRINGS)
def test_at_their_defaults_knobs_are_in_no_settings_string(stage):
    """Else all results from before would be made anew."""
    grid = grid_of(**PLAIN)
    version = f" --stage-version {stage_version(stage)}"
    expected = STRINGS[stage] + version + (" --training-precision fp32" if stage == "preflight" else "")
    assert settings(grid, stage).replace(f"{grid.base_model}", "resources/tiny-diffusion") == expected
    assert settings(grid, stage, grid.arm("none"), 3) == settings(grid, stage)


def test_what_knobs_make_idle_is_in_no_settings_string():
    lora = {"method": "lora", "lora": {"rank": 4, "target_modules": ["to_q", "conv1"]}}
    arms = [
        NONE, arm("lora", finetune=lora), arm("steps", finetune={"steps": 30}), arm("long", finetune={"steps": 30}),
        arm("both", finetune={"ema": 0.9, "snr_gamma": 5}), arm("eight", finetune={"optimizer": "adamw_8bit"}),
        arm("pair", sample={"guidance_interval": [0, 0.5]}),
    ]  # fmt: skip
    grid = grid_of(**PLAIN, arms=arms)
    strings = {each.name: settings(grid, "finetune", each, 1) for each in grid.arms}
    base, alpha = strings["none"], grid.config["finetune"]["lora"]["alpha"]
    updates = f" --lora-alpha {alpha} --lora-rank 4 --lora-target-modules to_q conv1"
    assert strings["lora"] == base.replace(" --precision", f"{updates} --precision")
    assert strings["steps"] == strings["long"] == base.replace(" --epochs 3", "") + " --steps 30"
    assert strings["both"] == base.replace(" --epochs", " --ema 0.9 --epochs").replace(" --stage", " --snr-gamma 5.0 --stage")  # fmt: skip
    assert strings["eight"] == base.replace(" --precision", " --optimizer adamw_8bit --precision")
    assert strings["pair"] == base
    sampled = {each.name: settings(grid, "sample", each, 1) for each in grid.arms}
    assert sampled["pair"] == sampled["none"].replace(" --guidance-scale", " --guidance-interval 0.0 0.5 --guidance-scale")  # fmt: skip
    assert {sampled[name] for name in ("lora", "steps", "both", "eight")} == {sampled["none"]}
    assert grid.bases == ["base", "base-pair"]


def test_the_configuration_of_results_from_before_there_were_knobs_has_a_grid():
    """Of a finished experiment, `status.py` asks where it stands."""
    grid = grid_of(arms=[NONE, arm("strong", sample={"guidance_scale": 9.0})])
    old = {**grid.config, "sample": {key: grid.config["sample"][key] for key in ("guidance_scale", "precision")}}
    assert Grid(old).bases == grid.bases == ["base", "base-strong"]
    before = {key: value for key, value in grid.config["finetune"].items() if key != "optimizer"}
    assert decisive_training(before) == decisive_training(grid.config["finetune"])
    assert weights_kept(before) == weights_kept(grid.config["finetune"]) == 3


# ---- Guidance over iterations


def scale(grid, stage, name, iteration):
    words = settings(grid, stage, name and grid.arm(name), iteration).split()
    return float(words[words.index("--guidance-scale") + 1])


def test_the_scale_of_an_iteration_is_that_of_the_closed_form():
    falling = {"guidance_scale": 4.0, "guidance_end": 1.0}
    arms = [NONE, arm("linear", sample={**falling, "guidance_schedule": "linear"}),
            {**arm("exponential", sample={**falling, "guidance_schedule": "exponential"}), "iterations": 2}]  # fmt: skip
    grid = grid_of(arms=arms, iterations=3, sample={"guidance_scale": 4.0})
    assert [scale(grid, "sample", "linear", i) for i in range(4)] == [4.0, 3.0, 2.0, 1.0]
    assert [scale(grid, "sample", "exponential", i) for i in range(3)] == [4.0, 2.0, 1.0]
    assert [scale(grid, "sample", "none", i) for i in range(4)] == [4.0] * 4
    # Iteration 0 is drawn with the scale that schedules begin with, so that it is shared.
    assert grid.bases == ["base"]


def test_every_stage_that_draws_takes_the_scale_of_the_model_that_it_draws_from():
    heal = {"name": "heal", "regime": "heal", "ratios": [25], "parameters": {"after": 1, "iterations": 3}}
    cull = {"name": "cull", "control": "sifid_cull", "ratios": [100]}
    grid = grid_of(
        arms=[NONE, heal, cull], iterations=2, initial_images={"guidance_scale": 7.0},
        sample={"guidance_scale": 3.0, "guidance_end": 5.0, "guidance_schedule": "linear"},
    )  # fmt: skip
    for stage in ("sample", "score"):
        assert [scale(grid, stage, "none", i) for i in (1, 2)] == [4.0, 5.0]
        # A chain that branches off is as long as it is with its branch: 4 iterations.
        assert [scale(grid, stage, "heal", i) for i in (2, 3, 4)] == [4.0, 4.5, 5.0]
        # The base model: its own iteration 0, and once more as the cells of an iteration that it is compared with.
        assert [scale(grid, stage, None, i) for i in (0, 1, 2, 4)] == [3.0, 4.0, 5.0, 5.0]
    assert scale(grid, "initial_images", None, 0) == 7.0
    # Culling draws again what the model before has drawn.
    assert [scale(grid, "sifid_cull", "cull", i) for i in (1, 2)] == [7.0, 4.0]
    assert scale(grid, "preflight", None, 0) == 5.0, "what takes most"
    assert "3" in settings(grid, "choose_guidance")


def test_scales_are_rounded_so_that_machines_agree():
    arms = [arm("a", sample={"guidance_schedule": "exponential", "guidance_end": 2.0, "guidance_scale": 7.3})]
    assert scale(grid_of(arms=arms, iterations=7), "sample", "a", 3) == round(7.3 ** (4 / 7) * 2 ** (3 / 7), 6)


# ---- Forecasts


def test_steps_and_guidance_count_in_forecasts():
    changes = {"finetune": {"epochs": 5, "batch_size": 16}, "sample": {"guidance_scale": 3.0, "num_inference_steps": 10},
               "reference": {"images_per_group": 3}, "iterations": 2}  # fmt: skip
    plain = forecast(grid_of(arms=[arm("a")], **changes), 30)

    def other(**overrides):
        return forecast(grid_of(arms=[arm("a", **overrides)], **changes), 30)

    # 90 images are six steps; eight steps are those and two pieces of 16.
    assert plain.trained == 2 * 5 * 90
    assert other(finetune={"steps": 8}).trained == 2 * (90 + 32)
    images = 90 + 2 * 5
    falling = other(sample={"guidance_schedule": "linear", "guidance_end": 1.0})
    assert plain.passes - falling.passes == 10 * images, "the last of two iterations is not guided"
    changes["sample"]["guidance_interval"] = [0, 0.5]
    half = other()
    assert plain.passes - half.passes == 3 * 5 * images, "of two iterations and iteration 0"


def test_steps_are_guided_by_their_middles():
    assert [guided_steps(7, interval) for interval in (None, [0, 1], [0, 0.5], [0.2, 0.8], [0.5, 0.55])] == [7, 7, 3, 5, 1]  # fmt: skip
    block = {"num_inference_steps": 7, "guidance_scale": 1.0, "guidance_interval": [0.2, 0.8]}
    assert passes_per_image(block) == 7
    assert passes_per_image({**block, "guidance_scale": 2.0}) == 12


def test_needs_follow_what_is_trained(tmp_path):
    (tmp_path / "unet").mkdir()
    with open(tmp_path / "unet" / "model.safetensors", "wb") as file:
        file.truncate(3_000_000_000)
    lora, ema = {"method": "lora"}, {"ema": 0.9}
    arms = [
        arm("lora", finetune=lora), arm("ema", finetune=ema), arm("short", finetune={"steps": 60}),
        arm("eight", finetune={"optimizer": "adamw_8bit"}),
    ]  # fmt: skip
    model = {"path": str(tmp_path)}
    grid = grid_of(arms=arms, model=model, finetune={"epochs": 100})
    needs = Needs(grid, [rate(parameters=750.0)], 30)
    of = {each.name: needs.memory_mb("finetune", each) // 3000 for each in grid.arms}
    assert of == {"lora": 2, "ema": 9, "short": 7, "eight": 4}
    assert needs.memory_mb("preflight") == needs.memory_mb("finetune", grid.arm("ema"))
    assert needs.minutes("finetune", grid.arm("lora")) > 5 * needs.minutes("finetune", grid.arm("short"))
    # Two checkpoints of a running job.
    room = {
        name: forecast(grid_of(arms=[each], model=model), 30)
        for name, each in zip(("lora", "ema", "full", "eight"), arms)
    }
    running = {name: (each.peak_bytes - each.final_bytes) // 3_000_000_000 for name, each in room.items()}
    assert running == {"lora": 0, "ema": 8, "full": 6, "eight": 3}


def test_preflight_is_told_every_way_of_training_once():
    lora = {"method": "lora", "lora": {"rank": 2, "target_modules": ["to_q"]}}
    arms = [
        NONE,
        arm("a", finetune=lora),
        arm("b", finetune={**lora, "ema": 0.9}),
        arm("c", finetune={**lora, "steps": 3}),
        arm("d", finetune={"optimizer": "adamw_8bit"}),
    ]
    grid = grid_of(arms=arms)
    updates = '{"alpha":8.0,"rank":2,"target_modules":["to_q"]}'
    assert ways_of_training(grid.block("finetune", each) for each in grid.arms) == [
        f'{{"ema":0.9,"lora":{updates}}}',
        '{"ema":null,"lora":null,"optimizer":"adamw_8bit"}',
        '{"ema":null,"lora":null}',
        f'{{"ema":null,"lora":{updates}}}',
    ]


def test_speeds_are_of_one_way_of_training():
    block = grid_of().config["finetune"]
    execution = {"gradient_checkpointing": False}
    assert way_of_training(block, execution) == ""
    other = {**block, "method": "lora", "optimizer": "adamw_8bit", "ema": 0.9}
    assert way_of_training(other, {"gradient_checkpointing": True}) == "lora+gradient_checkpointing+adamw_8bit+ema"
    measured = [rate(train_per_second=1e-3), rate(train_per_second=1e-2, training="gradient_checkpointing")]
    saving = grid_of(execution={"gradient_checkpointing": True})
    minutes = [Needs(each, measured, 30).minutes("finetune", None) for each in (grid_of(), saving)]
    assert minutes[0] > 5 * minutes[1]
    # Where only the plain way was measured, jobs ask for what that takes.
    assert Needs(saving, measured[:1], 30).minutes("finetune", None) == minutes[0]


# ---- Mistakes


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"guidance_schedule": "linear"},
         "guidance_end`: missing, but `guidance_schedule` is linear; give the scale of the last iteration"),
        ({"guidance_end": 2}, "guidance_end`: 2, but `guidance_schedule` is constant; write linear or exponential, or guidance_end: null"),
        ({"guidance_interval": [0.8, 0.2]}, "guidance_interval`: ends at 0.2, where it begins at 0.8; write [0.2, 0.8]"),
        ({"guidance_interval": [0.5, 0.5]}, "guidance_interval`: ends at 0.5, where it begins at 0.5"),
        ({"guidance_interval": [0.51, 0.6]}, "guidance_interval`: the middle of none of the 7 steps lies between 0.51 and 0.6"),
    ],
)  # fmt: skip
def test_guidance_that_contradicts_itself_is_told(block, told):
    for key, changes in (
        ("sample", {"sample": block}),
        ("arms[1].overrides.sample", {"arms": [NONE, arm(sample=block)]}),
    ):
        message = mistakes(**changes)
        assert message.startswith("1 mistake in the configuration:\n")
        assert f"`{key}.{told}" in message


def test_overrides_that_would_change_nothing_are_told():
    assert (
        "`arms[1].overrides.finetune.lora`: of no use, as `method` is full; add method: lora, or leave it out"
        in mistakes(arms=[NONE, arm(finetune={"lora": {"rank": 4}})])
    )
    assert (
        "`arms[1].overrides.finetune.epochs`: of no use, as `steps` is 9; add steps: null, or leave it out"
        in mistakes(arms=[NONE, arm(finetune={"epochs": 4})], finetune={"steps": 9})
    )
    grid_of(arms=[NONE, arm(finetune={"epochs": 4, "steps": None})], finetune={"steps": 9})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"finetune": {"ema": 1.0}}, "`finetune.ema`: 1.0 is out of range; allowed: 0 (exclusive) to 1 (exclusive)"),
        ({"finetune": {"steps": 0}}, "`finetune.steps`: 0 is out of range"),
        ({"finetune": {"method": "LoRA"}}, "`finetune.method`: 'LoRA' is none of full, lora"),
        ({"finetune": {"lora": {"target_modules": "to_q"}}},
         "`finetune.lora.target_modules`: 'to_q' is of the wrong type; expected array; write [to_q]"),
        ({"finetune": {"lora": {"rang": 3}}}, "`finetune.lora.rang`: unknown key; did you mean `rank`?"),
        ({"sample": {"guidance_interval": [0.1]}}, "`sample.guidance_interval`: [0.1] is too short"),
        ({"sample": {"guidance_interval": [0.1, 2]}}, "`sample.guidance_interval[1]`: 2 is out of range; allowed: 0 to 1"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_told(changes, told):
    assert told in mistakes(**changes)


def test_an_arm_that_names_a_part_of_a_block_inside_keeps_the_rest():
    changes = {"finetune": {"lora": {"rank": 16, "alpha": 3.0, "target_modules": ["to_q"]}}}
    grid = grid_of(arms=[NONE, arm(finetune={"method": "lora", "lora": {"rank": 2}})], **changes)
    assert grid.block("finetune", grid.arm("arm"))["lora"] == {"rank": 2, "alpha": 3.0, "target_modules": ["to_q"]}
    assert grid.block("finetune", grid.arm("none"))["lora"] == changes["finetune"]["lora"]
