"""Moments in 8 bits: what they are, that a checkpoint has all of them, and what is said where there are none.

Each test runs with a stand-in of the same layout and, where it is installed, with the package itself on the CPU.
"""

import argparse
import importlib.util
import sys
from dataclasses import replace

import eight_bit
import pytest
import test_resume
import test_training_knobs
import torch
from diffusers import UNet2DConditionModel
from nepotism.families import fit_state
from nepotism.families.diffusion import optimizers
from nepotism.families.diffusion.low_rank import Lora
from nepotism.runtime.errors import UserError
from nepotism.runtime.resume.job import Job
from test_resume import SETTINGS, STEPS, bits, stopped

CPU = torch.device("cpu")
EIGHT_BIT = replace(SETTINGS, optimizer="adamw_8bit")
WAYS = {
    "all weights": EIGHT_BIT,
    "averaged": replace(EIGHT_BIT, ema=0.8),
    "lora": replace(EIGHT_BIT, lora=Lora(rank=32, alpha=32.0, target_modules=("conv1",))),
}
REAL = importlib.util.find_spec("bitsandbytes") is not None


@pytest.fixture(
    params=["a stand-in", pytest.param("bitsandbytes", marks=pytest.mark.skipif(not REAL, reason="not installed"))],
    autouse=True,
)
def package(request, monkeypatch):
    if request.param == "a stand-in":
        monkeypatch.setattr(optimizers, "PACKAGE", eight_bit.NAME)
        monkeypatch.setitem(sys.modules, eight_bit.NAME, eight_bit.package())


@pytest.fixture(autouse=True)
def larger(monkeypatch):
    """A network with tensors that are large enough for moments in 8 bits."""

    def unet():
        torch.manual_seed(0)
        return UNet2DConditionModel(
            sample_size=4, in_channels=4, out_channels=4, block_out_channels=(32, 32), layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=8, attention_head_dim=4, norm_num_groups=4,
        )  # fmt: skip

    for module in (test_resume, test_training_knobs):
        monkeypatch.setattr(module, "unet", unet)


def stepped(count=1, layout=torch.contiguous_format):
    """A network and its optimiser after some steps."""
    network = test_resume.unet().to(memory_format=layout)
    optimizer = optimizers.made("adamw_8bit", network.parameters(), 1e-3, CPU)
    for step in range(count):
        network(torch.ones(1, 4, 4, 4), step, torch.ones(1, 5, 8), return_dict=False)[0].square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return network, optimizer


def test_moments_of_large_tensors_have_8_bits_and_a_scale_for_each_block():
    network, optimizer = stepped()
    kept = fit_state.tensors(network, optimizer)
    name = "conv_out.weight"
    assert {kind: kept[f"{kind}/{name}"].dtype for kind in ("state1", "state2")} == {
        "state1": torch.float32, "state2": torch.float32,
    }  # fmt: skip
    name, size = "down_blocks.0.resnets.0.conv1.weight", 32 * 32 * 9
    assert {kind: (str(kept[f"{kind}/{name}"].dtype), kept[f"{kind}/{name}"].numel()) for kind in (
        "state1", "state2", "absmax1", "absmax2", "qmap1", "qmap2", "step",
    )} == {
        **dict.fromkeys(("state1", "state2"), ("torch.uint8", size)),
        **dict.fromkeys(("absmax1", "absmax2"), ("torch.float32", size // 256)),
        **dict.fromkeys(("qmap1", "qmap2"), ("torch.float32", 256)),
        "step": ("torch.int64", 1),
    }  # fmt: skip


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_restored_optimiser_is_the_same_and_goes_on_alike(layout):
    network, optimizer = stepped(2, layout)
    kept = fit_state.tensors(network, optimizer)
    again, other = stepped(0, layout)
    fit_state.restore(again, other, kept)
    found = fit_state.tensors(again, other)
    assert found.keys() == kept.keys()
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in kept.items())
    assert {type(state["step"]) for state in other.state.values()} == {int}
    if layout == torch.channels_last:
        # The first step lays weights out anew, so that sums differ up to the next one: `fit` does not begin like this.
        return
    for one, two in ((network, optimizer), (again, other)):
        one(torch.ones(1, 4, 4, 4), 7, torch.ones(1, 5, 8), return_dict=False)[0].square().sum().backward()
        two.step()
    ends = fit_state.tensors(again, other)
    assert all(torch.equal(ends[name], value) for name, value in fit_state.tensors(network, optimizer).items())


def test_a_checkpoint_without_some_of_its_state_is_refused():
    network, optimizer = stepped()
    kept = fit_state.tensors(network, optimizer)
    del kept["absmax1/down_blocks.0.resnets.0.conv1.weight"]
    with pytest.raises(UserError, match="absmax1"):
        fit_state.restore(*stepped(0), kept)
    plain = torch.optim.AdamW(network.parameters())
    with pytest.raises(UserError, match="exp_avg"):
        fit_state.restore(network, plain, fit_state.tensors(network, optimizer))


@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
def test_stopped_after_a_step_training_ends_in_the_same_bytes(tmp_path, monkeypatch, settings):
    monkeypatch.setattr(test_resume, "SETTINGS", settings)
    model, losses = test_resume.run()
    assert len(losses) == STEPS
    with Job(tmp_path / "looked at", 0.0) as job:
        test_resume.run(job.checkpoints("finetune"))
        tensors = job.checkpoints("finetune").newest().tensors
    assert any(value.dtype == torch.uint8 for value in tensors.values())
    stopped(tmp_path / "model", monkeypatch, 5)
    again, its_losses = test_resume.train(tmp_path / "model")
    assert (bits(again), its_losses) == (bits(model), losses)


def test_it_learns_what_the_plain_one_learns():
    plain, eight = (test_training_knobs.run(replace(SETTINGS, optimizer=name)) for name in (None, "adamw_8bit"))
    assert eight[1] == pytest.approx(plain[1], rel=0.05)
    assert eight[1] != plain[1]


def test_a_device_that_can_is_let_by():
    for name in (None, "adamw", "adamw_8bit"):
        optimizers.check(name, CPU)


def test_what_is_missing_is_told_in_one_line(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, optimizers.PACKAGE, None)
        optimizers.check("adamw", CPU)
        with pytest.raises(UserError) as missing:
            optimizers.check("adamw_8bit", CPU)
    assert str(missing.value).startswith(f"`finetune.optimizer`: adamw_8bit needs the package {optimizers.PACKAGE} (")
    assert str(missing.value).endswith(f"); pip install {optimizers.PACKAGE}, or use adamw")

    def without(self):
        raise NotImplementedError("no kernel for this device\nlong explanations")

    monkeypatch.setattr(importlib.import_module(optimizers.PACKAGE).optim.AdamW8bit, "step", without)
    with pytest.raises(UserError) as unable:
        optimizers.check("adamw_8bit", CPU)
    assert str(unable.value) == (
        "`finetune.optimizer`: adamw_8bit cannot work on the device cpu (no kernel for this device long explanations); use an NVIDIA "
        "GPU that the package supports, or adamw"
    )
    assert "\n" not in str(missing.value)


def test_preflight_asks_before_it_loads_anything(monkeypatch):
    script = importlib.import_module("preflight")
    monkeypatch.setitem(sys.modules, optimizers.PACKAGE, None)
    trainings = ['{"ema":null,"lora":null}', '{"ema":null,"lora":null,"optimizer":"adamw_8bit"}']
    arguments = argparse.Namespace(
        device="cpu", threads=torch.get_num_threads(), training_precision="fp32",
        trainings=[script.training(text) for text in trainings],
    )  # fmt: skip
    with pytest.raises(UserError, match="`finetune.optimizer`: adamw_8bit needs the package"):
        script.run(arguments)
