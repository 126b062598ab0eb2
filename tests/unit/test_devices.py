"""How torch is set up for GPUs, as far as a machine without one shows it."""

from contextlib import contextmanager

import pytest
import torch
from nepotism.devices import reproducible_gradients
from nepotism.families.diffusion import fit as fitting
from test_fit import SETTINGS, data, scheduler, small_unet, vae  # noqa: F401


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
    fitting.fit(small_unet(), scheduler, data, SETTINGS, 0, 1, Accelerator(cpu=True), "test")
    assert seen == ["cpu", "left"]
