"""Low-rank updates, averaged weights, a number of steps and weights of timesteps: what retraining does with each."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import test_resume
import torch
from accelerate import Accelerator
from conftest import ROOT
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion.low_rank import Lora, adapted, lora_problems
from nepotism.families.diffusion.min_snr import min_snr_weights
from nepotism.families.diffusion.pipeline import save_denoiser
from nepotism.runtime.errors import UserError
from nepotism.runtime.resume.job import Job
from test_fit import of
from test_resume import SETTINGS, STEPS, bits, data, stopped, unet
from torch.nn.utils import parametrize

CPU = torch.device("cpu")
LORA = Lora(rank=2, alpha=6.0, target_modules=("to_q", "to_out.0", "conv1"))
UPDATED = replace(SETTINGS, lora=LORA)
AVERAGED = replace(SETTINGS, ema=0.8)
ALL = replace(UPDATED, ema=0.8, snr_gamma=5.0)


def schedule(prediction_type="v_prediction", **more):
    return DDPMScheduler(prediction_type=prediction_type, **more)


def run(settings, checkpoints=None, execution=test_resume.PLAIN, scheduler=None):
    objective = of(scheduler or schedule())
    return fitting.fit(unet(), objective, data(), settings, 0, 1, Accelerator(cpu=True), "test", execution, checkpoints)


def output(model):
    random = torch.Generator().manual_seed(5)
    noisy, text = torch.randn(2, 4, 4, 4, generator=random), torch.randn(2, 5, 8, generator=random)
    with torch.no_grad():
        return model.eval()(noisy, 7, text).sample


def flat(model):
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def is_target(name):
    return any(f".{name}".endswith(f".{target}") for target in LORA.target_modules)


# ---- Low-rank updates


def test_at_first_an_update_changes_no_byte_of_the_weights():
    merged = adapted(unet(), LORA, 0, 1).merge_and_unload()
    assert merged.state_dict().keys() == unet().state_dict().keys()
    assert bits(merged) == bits(unet())


@pytest.fixture(scope="module")
def trained():
    """The state and the output of a network with its updates, at the end of training, and the network that they were added to."""
    before = {}

    class Watched:
        def __init__(self, *given):
            self.adapter = adapted(*given)

        def merge_and_unload(self):
            network = self.adapter.get_base_model()
            before["state"] = {name: value.clone() for name, value in network.state_dict().items()}
            before["output"] = output(network)
            return self.adapter.merge_and_unload()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "adapted", Watched)
        merged, losses = run(UPDATED)
    return before["state"], before["output"], merged, losses


def test_only_updates_are_trained(trained):
    state, _, merged, _ = trained
    frozen = {name.replace(".base_layer", ""): value for name, value in state.items() if ".lora_" not in name}
    assert frozen.keys() == unet().state_dict().keys()
    for name, value in unet().state_dict().items():
        assert torch.equal(frozen[name], value), name
        same = torch.equal(merged.state_dict()[name], value)
        assert same != (name.endswith(".weight") and is_target(name.removesuffix(".weight"))), name
    fresh = adapted(unet(), LORA, 0, 1).get_base_model().state_dict()
    updates = [name for name in state if ".lora_" in name]
    assert len(updates) > 20
    assert not any(torch.equal(state[name], fresh[name]) for name in updates)


def test_the_saved_weights_are_the_parents_plus_the_scaled_products(trained):
    state, _, merged, _ = trained
    for name, value in unet().state_dict().items():
        layer = name.removesuffix(".weight")
        if is_target(layer) and layer != name:
            a, b = (state[f"{layer}.lora_{part}.default.weight"].flatten(1) for part in "AB")
            torch.testing.assert_close(merged.state_dict()[name], value + 3.0 * (b @ a).view_as(value))


def test_the_merged_network_draws_what_the_adapted_one_does(trained):
    _, before, merged, _ = trained
    torch.testing.assert_close(output(merged), before, rtol=1e-4, atol=1e-5)
    assert float((before - output(unet())).abs().max()) > 1e-2, "it has learned something"


def test_training_updates_equals_a_plain_loop_over_products(trained):
    class Updated(torch.nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.a, self.b = torch.nn.Parameter(a.clone()), torch.nn.Parameter(b.clone())

        def forward(self, weight):
            return weight + 3.0 * (self.b @ self.a).view_as(weight)

    first = adapted(unet(), LORA, 0, 1).get_base_model().state_dict()
    plain = unet().requires_grad_(False).train()
    for name, layer in list(plain.named_modules()):
        if is_target(name):
            factors = (first[f"{name}.lora_{part}.default.weight"].flatten(1) for part in "AB")
            parametrize.register_parametrization(layer, "weight", Updated(*factors))
    factors = [each for each in plain.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(factors, lr=1e-3, weight_decay=1e-2)
    plan, objective = fitting.Plan(data(), UPDATED, 0, 1, 1000), fitting.Loss(of(schedule()), data(), CPU)
    losses = []
    for step in range(plan.total):
        loss = objective(plain, plan.pieces(step)[0])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(factors, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert trained[3] == pytest.approx(losses, rel=1e-4)


def test_first_updates_are_keyed_by_seed_and_iteration_and_leave_torchs_own_numbers_alone():
    drawn = []
    for key in ((0, 1), (0, 1), (1, 1), (0, 2)):
        model = unet()
        before = torch.get_rng_state()
        state = adapted(model, LORA, *key).get_base_model().state_dict()
        assert torch.equal(torch.get_rng_state(), before)
        drawn.append(next(value for name, value in state.items() if ".lora_A." in name))
    assert torch.equal(drawn[0], drawn[1])
    assert not any(torch.equal(drawn[0], other) for other in drawn[2:])


def test_the_files_of_a_model_do_not_tell_how_it_was_trained(trained, tmp_path):
    save_denoiser(trained[2], tmp_path / "updated")
    save_denoiser(unet(), tmp_path / "parent")
    assert [path.name for path in sorted((tmp_path / "updated").iterdir())] == [
        "config.json", "diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("updated", "parent")]
    assert configs[0] == configs[1]
    again = UNet2DConditionModel.from_pretrained(tmp_path / "updated", low_cpu_mem_usage=False)
    assert bits(again) == bits(trained[2])


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        (LORA, []),
        (
            Lora(2, 2.0, ("to_x",)),
            ["`finetune.lora.target_modules`: no layer of the denoiser is called 'to_x'; there are: conv, conv1, conv2, conv_in, "],
        ),
        (
            Lora(2, 2.0, ("attn1",)),
            ["`finetune.lora.target_modules`: 'attn1' is down_blocks.0.attentions.0.transformer_blocks.0.attn1, a Attention; name "],
        ),
        (
            Lora(9, 2.0, ("to_q", "conv1")),
            [
                f"`finetune.lora.rank`: 9, but the weights of down_blocks.0.{name} have rank 8 at most; lower it, or leave '{end}' out"
                for end, name in (("to_q", "attentions.0.transformer_blocks.0.attn1.to_q"), ("conv1", "resnets.0.conv1"))
            ],
        ),
    ],
)  # fmt: skip
def test_updates_that_do_not_fit_the_network_are_told(lora, told):
    problems = list(lora_problems(unet(), lora))
    assert len(problems) == len(told)
    assert all(problem.startswith(expected) for problem, expected in zip(problems, told))
    if told:
        # An arm that is added later meets no preflight.
        with pytest.raises(UserError, match="finetune.lora"):
            run(replace(SETTINGS, lora=lora))


# ---- Averages, steps, and going on


def test_the_average_is_that_of_a_loop_by_hand():
    after = [run(replace(SETTINGS, epochs=None, steps=count))[0] for count in range(1, STEPS + 1)]
    weights = [flat(model) for model in after]
    expected = weights[0].double()
    for later in weights[1:]:
        expected = 0.8 * expected + 0.2 * later.double()
    model, losses = run(AVERAGED)
    found = flat(model)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6)
    assert float((found - weights[-1]).abs().max()) > 1e-4
    assert losses == run(SETTINGS)[1], "the average is only looked at in the end"


@pytest.mark.parametrize("settings", [UPDATED, AVERAGED, ALL], ids=["lora", "ema", "all"])
def test_stopped_after_a_step_training_ends_in_the_same_bytes(tmp_path, monkeypatch, settings):
    monkeypatch.setattr(test_resume, "SETTINGS", settings)
    model, losses = test_resume.run()
    for step in (1, 5, 8):
        files = stopped(tmp_path / "model", monkeypatch, step)
        if settings.lora:
            assert sum(file.stat().st_size for file in files) < 2 * len(bits(unet())), "frozen weights are not kept"
        again, its_losses = test_resume.train(tmp_path / "model")
        assert (bits(again), its_losses) == (bits(model), losses)


def test_low_rank_updates_are_a_small_checkpoint(tmp_path):
    with Job(tmp_path / "model", 0.0) as job:
        run(ALL, job.checkpoints("finetune"))
        names = job.checkpoints("finetune").newest().tensors
        assert all(".lora_" in name for name in names)
        assert {name.split("/")[0] for name in names} == {"weights", "average", "exp_avg", "exp_avg_sq", "step"}


@pytest.mark.parametrize(
    "execution",
    [fitting.ExecutionOptions(per_device_batch_size=1), fitting.ExecutionOptions(gradient_checkpointing=True)],
)
def test_how_a_batch_is_computed_changes_losses_by_rounding_only(execution):
    np.testing.assert_allclose(run(ALL, execution=execution)[1], run(ALL)[1], rtol=1e-4)


def test_steps_are_those_of_as_many_epochs_as_it_takes():
    # Five images in pieces of two: three steps an epoch.
    longer = replace(SETTINGS, epochs=4)
    whole = run(longer)[1]
    for count in (2, 3, 11):
        settings = replace(SETTINGS, epochs=None, steps=count)
        assert run(settings)[1] == whole[:count]
        assert fitting.seen(data(), settings) == fitting.seen(data(), longer)[:count]
    assert fitting.seen(data(), replace(SETTINGS, epochs=None, steps=5))[-2:] == [(7, 1.4), (9, 1.8)]


# ---- Weights of timesteps


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_timesteps_weigh_what_the_paper_says(prediction_type, gamma):
    scheduler = schedule(prediction_type, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    snr = compute_snr(scheduler, torch.arange(1000)).numpy()
    below = snr if prediction_type == "epsilon" else snr + 1
    expected = np.minimum(snr, gamma) / below
    np.testing.assert_allclose(min_snr_weights(scheduler, gamma).numpy(), expected, rtol=1e-3)
    assert expected.max() > 2 * expected.min()


@pytest.mark.parametrize(("prediction_type", "last"), [("epsilon", 1.0), ("v_prediction", 0.0)])
def test_a_schedule_that_ends_in_noise_alone_has_finite_weights(prediction_type, last):
    scheduler = schedule(prediction_type, rescale_betas_zero_snr=True)
    # The library's schedule itself stops just short of zero.
    scheduler.alphas_cumprod[-1] = 0.0
    weights = min_snr_weights(scheduler, 5.0)
    assert torch.isfinite(weights).all()
    assert weights[-1] == last


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_loss_is_the_weighted_mean_over_images(prediction_type):
    scheduler = schedule(prediction_type)
    settings = replace(SETTINGS, epochs=1, batch_size=5)
    (piece,) = fitting.Plan(data(), settings, 0, 1, 1000).pieces(0)
    model = unet().eval()
    errors = []
    for index in range(5):
        names = ("rows", "mirrors", "levels", "prompts", "posterior", "noise")
        one = replace(piece, **{name: getattr(piece, name)[[index]] for name in names})
        errors.append(float(fitting.Loss(of(scheduler), data(), CPU)(model, one).detach()))
    weights = min_snr_weights(scheduler, 2.0)[piece.levels].numpy()
    found = float(fitting.Loss(of(scheduler), data(), CPU, 2.0)(model, piece).detach())
    assert found == pytest.approx(np.mean(weights * errors), rel=1e-4)


# ---- Without the library


@pytest.mark.slow
def test_where_all_weights_are_trained_bytes_do_not_depend_on_the_library_for_updates(tiny_diffusion):
    """Diffusers looks whether it is there."""
    code = (
        "import sys\nif sys.argv[1] == 'without': sys.modules['peft'] = None\n"
        "import hashlib, diffusers, test_resume\nassert diffusers.utils.is_peft_available() == (sys.argv[1] == 'with')\n"
        "model, losses = test_resume.run()\nprint(hashlib.sha256(test_resume.bits(model)).hexdigest(), losses)\n"
        "import test_sample\nfrom pathlib import Path\n"
        "pipeline = test_sample.load_pipeline(Path(sys.argv[2]), None, 'UniPCMultistepScheduler', test_sample.CPU)\n"
        "print(hashlib.sha256(test_sample.draw(pipeline, 6).tobytes()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT / "tests" / "unit")])}
    told = {"env": environment, "check": True, "capture_output": True, "text": True}
    commands = ([sys.executable, "-c", code, how, tiny_diffusion] for how in ("with", "without"))
    one, other = (subprocess.run(command, **told).stdout for command in commands)
    assert len(one.split()[-1]) == 64
    assert one == other
