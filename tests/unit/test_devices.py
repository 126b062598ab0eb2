"""How torch is set up for GPUs, as far as a machine without one shows it."""

import argparse
import importlib
import logging
from contextlib import contextmanager

import pytest
import torch
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion import preflight
from nepotism.families.diffusion.extrapolation import Extrapolated
from nepotism.families.diffusion.pipeline import load_pipeline
from nepotism.runtime.devices import accelerator, reproducible_gradients
from test_fit import SETTINGS, data, of, scheduler, small_unet, vae  # noqa: F401


@pytest.fixture
def warned_only():
    """As `devices.choose` leaves torch on a GPU."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def strict():
    return torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()


def test_on_a_gpu_gradients_of_attention_are_reproducible_inside_and_nothing_else_is_refused_after(warned_only):
    """Torch's kernels of attention look at this switch: where it only warns, their gradients differ from run to run."""
    with reproducible_gradients(torch.device("cuda")):
        assert strict()
    assert torch.are_deterministic_algorithms_enabled()
    assert not strict()


def test_a_benchmark_that_wants_no_determinism_keeps_what_it_set():
    with reproducible_gradients(torch.device("cuda")):
        assert strict()
    assert not torch.are_deterministic_algorithms_enabled()


def test_retraining_is_done_inside(monkeypatch, data, scheduler):  # noqa: F811
    from accelerate import Accelerator

    seen = []

    @contextmanager
    def entered(device):
        seen.append(device.type)
        yield
        seen.append("left")

    monkeypatch.setattr(fitting, "reproducible_gradients", entered)
    fitting.fit(small_unet(), of(scheduler), data, SETTINGS, 0, 1, Accelerator(cpu=True), "test")
    assert seen == ["cpu", "left"]


UPDATES = '{"ema": null, "lora": {"rank": 2, "alpha": 2.0, "target_modules": ["to_q"]}}'


@pytest.mark.parametrize("scheduler_class", ["PNDMScheduler", "UniPCMultistepScheduler"])
def test_trying_the_memory_of_a_gpu_works_with_any_scheduler(tiny_diffusion, monkeypatch, caplog, scheduler_class):
    """PNDM's first steps are four; only a machine with a GPU would have told."""
    script = importlib.import_module("preflight")

    def peak_bytes(run):
        run()
        return 2.0**30

    monkeypatch.setattr(script, "peak_bytes", peak_bytes)
    monkeypatch.setattr(preflight, "peak_bytes", peak_bytes)
    monkeypatch.setattr(script, "total_bytes", lambda: 80 * 2.0**30)
    device = torch.device("cpu")
    pipeline = load_pipeline(tiny_diffusion, None, scheduler_class, device)
    arguments = argparse.Namespace(
        guidance_scale=3.0, num_inference_steps=50, resolution=64, sample_batch_size=2, base_model=tiny_diffusion,
        gradient_checkpointing=True, batch_size=2, num_processes=1, per_device_batch_size=1, training_precision="fp32",
        precision="fp32", scheduler=scheduler_class, samplings=[],
        trainings=[script.training(text) for text in (UPDATES, '{"ema": null, "lora": null}', '{"ema": 0.9, "lora": null}')],
    )  # fmt: skip
    tried = []
    fit = fitting.fit
    monkeypatch.setattr(fitting, "fit", lambda *given: tried.append(given[3]) or fit(*given))
    with caplog.at_level(logging.INFO):
        script.check_memory(arguments, pipeline, accelerator(device, "fp32"))
        assert "GPU memory: sampling 1 GiB, retraining 1 GiB of 80 GiB" in caplog.text
        pipeline.to(device)
        arguments.trainings = arguments.trainings[:1]
        script.check_memory(arguments, pipeline, accelerator(device, "fp32"))
        pipeline.to(device)
        arguments.samplings = [{"precision": "fp32", "guided": True, "networks": networks} for networks in (1, 2)]
        drew = []
        monkeypatch.setattr(script, "sample", lambda pipeline, *given: drew.append((pipeline.unet, given[2])))
        script.check_memory(arguments, pipeline, accelerator(device, "fp32"))
        assert isinstance(drew[0][0], Extrapolated), "what draws with two networks takes most"
    # What takes most of what any arm trains.
    assert [(each.lora and each.lora.rank, each.ema) for each in tried] == [(None, 0.9), (2, None), (2, None)]


@pytest.mark.parametrize(("count", "rows"), [(1, 2), (2, 3), (3, 3)])
def test_memory_is_tried_with_what_is_there_later_in_a_retraining(tiny_diffusion, monkeypatch, count, rows):
    """In the second step there are moments, and in a step's second piece the gradients of its first: both take as much as weights."""
    from nepotism.families.diffusion.pipeline import encode_prompts
    from nepotism.runtime import memory

    monkeypatch.setattr(preflight, "peak_bytes", lambda run: run() or 1.0)
    seen = []

    def fit(network, objective, images, settings, seed, iteration, hardware, label, execution):
        plan = fitting.Plan(images, settings, seed, iteration, 1000, execution.per_device_batch_size)
        seen.append([[len(piece.rows) for piece in plan.pieces(step)] for step in plan.steps(0)])

    monkeypatch.setattr(fitting, "fit", fit)
    pipeline = load_pipeline(tiny_diffusion, None, "DDIMScheduler", torch.device("cpu"))
    text = encode_prompts(pipeline, ["a face"])
    hardware = accelerator(torch.device("cpu"), "fp32")
    assert preflight.training_peak(tiny_diffusion, (4, 8, 8), text, hardware, False, batch_size=3)(count) == 1.0
    pieces = [count, rows - count] if rows > count else [count]
    assert seen == [[pieces, pieces]]
    assert not memory.is_measured(torch.device("cpu"))


def test_a_process_that_may_take_a_part_of_a_gpu_is_told_that_part(monkeypatch):
    from types import SimpleNamespace

    from nepotism.runtime import memory

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=80))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 0.25)
    assert memory.total_bytes() == 20
