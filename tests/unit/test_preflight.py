"""What is told before hours are spent, and forecasts."""

import pytest
import tiny
import torch
from conftest import ROOT
from diffusers import DDPMScheduler
from nepotism.families.diffusion import preflight
from nepotism.families.diffusion.backbones import backbone_of, of_pipeline
from nepotism.families.diffusion.backbones.stable_diffusion import BACKBONE
from nepotism.families.diffusion.objectives import Diffusion
from nepotism.families.diffusion.pipeline import load_pipeline
from nepotism.plan.forecast import forecast, groups, groups_of_folder
from nepotism.plan.rates import Rate, read_rates
from nepotism.runtime import gpus, memory
from nepotism.runtime.errors import UserError
from test_config import DEFAULT, grid_of, merged


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return load_pipeline(
        tiny.stable_diffusion(tmp_path_factory.mktemp("sd")), None, "DDIMScheduler", torch.device("cpu")
    )


def test_a_resolution_that_the_model_cannot_draw_is_told_with_the_nearest_one(pipeline):
    assert list(preflight.resolution_problems(pipeline, 64)) == []
    (problem,) = preflight.resolution_problems(pipeline, 72)
    assert problem == "`model.resolution`: 72 is no multiple of 64, as this model needs; 64 is the nearest that is"
    assert of_pipeline(pipeline).usual_resolution(pipeline) == 64


def test_prompts_longer_than_the_text_encoder_reads_are_found(pipeline):
    long = "a" * 76
    assert preflight.truncated(pipeline.tokenizer, ["a photo", long]) == [long]


class Oracle:
    """Predicts exactly noise, or exactly velocity, of given clean latents."""

    def __init__(self, kind, scheduler, latents):
        self.kind, self.scheduler, self.latents = kind, scheduler, latents

    def __call__(self, noisy, time, text, return_dict):
        alpha = self.scheduler.alphas_cumprod[time].sqrt()[:, None, None, None]
        sigma = (1 - self.scheduler.alphas_cumprod[time]).sqrt()[:, None, None, None]
        noise = (noisy - alpha * self.latents) / sigma
        return (noise if self.kind == "epsilon" else alpha * noise - sigma * self.latents,)


@pytest.mark.parametrize("is_kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("says", ["epsilon", "v_prediction"])
def test_a_model_that_is_not_what_its_scheduler_says_is_found_out(is_kind, says):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler = DDPMScheduler(prediction_type=says)
    oracle, said = Oracle(is_kind, scheduler, latents), Diffusion(scheduler, BACKBONE.predict)
    problems = list(preflight.prediction_problems(oracle, said, latents, {"text": torch.zeros(2, 1, 1)}))
    assert bool(problems) == (is_kind != says)
    if problems:
        assert f"its scheduler says {says}, but on real images the model fits {is_kind} better" in problems[0]


def test_the_shipped_model_is_what_it_says(tiny_diffusion):
    from nepotism.families.diffusion.latents import encode_images
    from nepotism.families.diffusion.pipeline import encode_prompts
    from test_fit import pictures

    shipped = load_pipeline(tiny_diffusion, None, "DDIMScheduler", torch.device("cpu"))
    latents = encode_images(shipped.vae, pictures(4)).mean[:, 0] * shipped.vae.config.scaling_factor
    text = encode_prompts(shipped, ["a portrait of a smiling person"] * 4)
    objective = backbone_of(tiny_diffusion).objective(tiny_diffusion)
    assert list(preflight.prediction_problems(shipped.unet, objective, latents, text)) == []
    scheduler = DDPMScheduler.from_config(objective.scheduler.config, prediction_type="epsilon")
    wrong = Diffusion(scheduler, BACKBONE.predict)
    assert len(list(preflight.prediction_problems(shipped.unet, wrong, latents, text))) == 1


# ---- Memory and GPUs


def test_images_that_fit_follow_from_two_measurements():
    assert memory.fitting_batch(total=100, at_one=30, at_two=40) == 7
    assert memory.fitting_batch(total=10, at_one=30, at_two=40) < 1


def test_out_of_memory_names_the_key_and_what_should_fit():
    def probe(count):
        if 20 + 10 * count > 90:
            raise torch.OutOfMemoryError
        return 20 + 10 * count

    assert memory.tried("retraining", 7, "execution.per_device_batch_size", probe, 100) == 90
    with pytest.raises(
        UserError,
        match=r"retraining: 16 images at a time do not fit .*; `execution.per_device_batch_size: 7` should fit",
    ):
        memory.tried("retraining", 16, "execution.per_device_batch_size", probe, 100)

    def only_one(count):
        if count > 1:
            raise torch.OutOfMemoryError
        return 20

    with pytest.raises(UserError, match="`execution.per_device_batch_size: 1` should fit"):
        memory.tried("retraining", 16, "execution.per_device_batch_size", only_one, 100)

    def hopeless(count):
        raise torch.OutOfMemoryError

    with pytest.raises(
        UserError,
        match=r"not even `execution.per_device_batch_size: 1` fits, or `execution.gradient_checkpointing: true`",
    ):
        memory.tried(
            "retraining", 16, "execution.per_device_batch_size", hopeless, 100, memory.training_advice(False, "fp32")
        )


@pytest.fixture
def free_gpus(monkeypatch, tmp_path):
    import os

    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    yield
    for file in gpus._held:
        os.close(file)
    gpus._held.clear()


def test_jobs_side_by_side_take_different_gpus_and_wait_when_none_is_left(free_gpus, monkeypatch, caplog):
    # Locks belong to open files, so that claims of one process stand for those of several.
    import os

    caplog.set_level("INFO")
    assert gpus.claim(1, 3) == [0]
    assert gpus.claim(2, 3) == [1, 2]
    monkeypatch.setattr("time.sleep", lambda seconds: os.close(gpus._held.pop()))
    assert gpus.claim(2, 3) == [1, 2], "once the two are given back"
    assert caplog.text.count("waiting for a GPU; tell Snakemake how many there are: --resources gpu=3") == 1
    with pytest.raises(UserError, match="`execution.num_processes`: 4 GPUs wanted, but torch sees 3"):
        gpus.claim(4, 3)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert gpus.claim(2, 2) == [0, 1], "SLURM shows a job its own GPUs only"


def test_a_gpu_is_known_by_its_name_in_cuda_visible_devices(free_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert gpus.claim(1, 2) == [0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,2")
    assert gpus.claim(1, 2) == [0], "5 is free, whatever its number here"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert gpus._free(gpus.visible(1), 1) == {}, "2 is taken"


# ---- Forecasts


def test_a_forecast_counts_cells_images_and_passes():
    arms = [{"name": "none", "ratios": [0, 100]}]
    steps = {"num_inference_steps": 10}
    made = grid_of(
        arms=arms, iterations=3, seeds=[0, 1], reference={"images_per_group": 6}, finetune={"epochs": 5},
        initial_images={"guidance_scale": 3.0, **steps}, sample={"guidance_scale": 1.0, **steps},
        unseen={"prompts": list("abcde"), "images_per_prompt": 4},
    )  # fmt: skip
    expected = forecast(made, groups(dict(made.config)))
    slots, unseen, steps = 180, 20, 10
    assert (expected.cells, expected.slots, expected.jobs["finetune"]) == (12, slots, 12)
    assert expected.trained == 12 * slots * 5
    base = int(0.8 * 2 * steps) * slots + steps * (slots + unseen)
    # The base model is drawn once more at the last iteration.
    redrawn = 2
    assert expected.passes == (12 + redrawn) * steps * (slots + unseen) + 2 * base
    slow = Rate("a device", 4.2, 64, "fp32", 1.0, 10.0, 3.0, "never")
    jobs = 12 + 12 + 14 + redrawn + 2 + 2 + redrawn
    assert expected.hours(slow) == pytest.approx((expected.trained + expected.passes / 10 + jobs * 3) / 3600)


def test_models_that_go_take_room_only_while_they_are_needed():
    heal = {"name": "heal", "regime": "heal", "ratios": [25], "parameters": {"after": 4, "iterations": 2}}
    arms = [{"name": "none", "ratios": [0, 25]}, heal]
    every, last = (forecast(grid_of(arms=arms, execution={"keep_models": kind}), 30) for kind in ("all", "last"))
    assert every.final_bytes - last.final_bytes == (10 - 2) * every.denoiser.bytes


def test_the_papers_groups_follow_from_its_factors_and_others_need_to_be_told():
    paper = {"source": "ffhq", "ffhq": {"path": "/data"}}
    assert groups(merged(DEFAULT, {"reference": paper})) == 30
    with pytest.raises(ValueError, match="give the number with --groups"):
        groups(merged(DEFAULT, {"reference": {"source": "folder", "folder": {"path": "/nowhere"}}}))


def test_groups_of_a_folder_are_its_visible_folders_unless_metadata_names_them(tmp_path):
    for name in ("cat", "dog", ".git", "__MACOSX"):
        (tmp_path / name).mkdir()
    assert groups_of_folder(tmp_path) == 2
    for name in ("metadata.jsonl", "Metadata.csv"):
        (tmp_path / name).write_text("")
        assert groups_of_folder(tmp_path) is None
        (tmp_path / name).unlink()


def test_the_table_of_rates_is_read():
    rates = read_rates(ROOT / "resources" / "rates.csv")
    assert all(rate.train_per_second > 0 and rate.passes_per_second > 0 for rate in rates)
