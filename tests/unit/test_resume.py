"""Killed at any moment, a job goes on from its last checkpoint and gives what the undisturbed one would have."""

import errno
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.configuration_utils import FrozenDict
from nepotism.families import fit_state
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion.backbones.stable_diffusion import BACKBONE
from nepotism.families.diffusion.latents import Posteriors
from nepotism.families.diffusion.objectives import Diffusion
from nepotism.families.diffusion.sample import sample
from nepotism.runtime.errors import Interrupted
from nepotism.runtime.resume.job import Job

SETTINGS = fitting.FitSettings(learning_rate=1e-3, epochs=3, batch_size=2, random_flip=True, caption_dropout=0.3)
STEPS = 9
PLAIN = fitting.ExecutionOptions()


def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, block_out_channels=(8, 8), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip


def data():
    random = torch.Generator().manual_seed(1)
    mean, text = torch.randn(5, 2, 4, 4, 4, generator=random), torch.randn(3, 5, 8, generator=random)
    slots = [f"group/{index:03d}" for index in range(5)]
    return fitting.TrainingSet(slots, Posteriors(mean, mean.abs()), 0.2, {"text": text}, [0, 1, 0, 1, 0])


def run(checkpoints=None, execution=PLAIN):
    schedule = DDPMScheduler(prediction_type="v_prediction")
    objective = Diffusion(schedule, BACKBONE.predict)
    return fitting.fit(unet(), objective, data(), SETTINGS, 0, 1, Accelerator(cpu=True), "test", execution, checkpoints)


def train(output, seconds=0.0, **decisive):
    with Job(output, seconds) as job:
        return run(job.checkpoints("finetune", **decisive))


def bits(model):
    return b"".join(parameter.detach().numpy().tobytes() for parameter in model.parameters())


@pytest.fixture(scope="module")
def undisturbed():
    model, losses = run()
    assert len(losses) == STEPS
    return bits(model), losses


def stopped(output, monkeypatch, step, **decisive):
    """Train until the checkpoint of a step is saved; what is then on disk."""

    def saved(job, position):
        if position == step:
            raise Interrupted("stopped", signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "saved", saved)
        with pytest.raises(Interrupted):
            train(output, **decisive)
    return sorted(output.with_name(".model.state").glob("*.safetensors"))


@pytest.mark.parametrize("step", [1, 5, 8])
def test_stopped_after_a_step_training_ends_in_the_same_bytes(tmp_path, monkeypatch, caplog, undisturbed, step):
    caplog.set_level(logging.INFO)
    stopped(tmp_path / "model", monkeypatch, step)
    model, losses = train(tmp_path / "model")
    assert f"resumed at step {step} of {STEPS}" in caplog.text
    assert (bits(model), losses) == undisturbed
    assert list(tmp_path.iterdir()) == [], "nothing is left of a job that ended well"


def test_at_most_two_checkpoints_are_on_disk(tmp_path, monkeypatch):
    assert [path.stem[-3:] for path in stopped(tmp_path / "model", monkeypatch, 7)] == ["006", "007"]


def test_restored_moments_are_laid_out_as_their_weights():
    """Fused AdamW on GPUs takes nothing else."""
    model = unet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 4, 4, 4), 1, torch.zeros(1, 5, 8), return_dict=False)[0].sum().backward()
    optimizer.step()
    fit_state.restore(model, optimizer, fit_state.tensors(model, optimizer))
    layouts = {
        (p.stride(), optimizer.state[p][kind].stride())
        for p in model.parameters()
        for kind in ("exp_avg", "exp_avg_sq")
    }
    assert len(layouts) > 5
    assert all(weight == moment for weight, moment in layouts)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_outside_of_long_work_a_signal_ends_the_job_at_once(tmp_path, number):
    def signalled():
        with Job(tmp_path / "model", 0.0):
            os.kill(os.getpid(), number)
            pytest.fail("not reached")

    with pytest.raises(Interrupted, match=f"stopped by {number.name} at once"):
        signalled()
    assert list(tmp_path.iterdir()) == [], "without a checkpoint there is no state to keep"


def test_a_signal_after_the_last_checkpoint_is_not_forgotten(tmp_path):
    def signalled():
        with Job(tmp_path / "model", 0.0) as job:
            with job.checkpoints("finetune").defer_signals():
                os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("not reached")

    with pytest.raises(Interrupted):
        signalled()


def test_what_a_killed_process_had_half_written_goes(tmp_path):
    (tmp_path / ".model.state").mkdir()
    halves = [
        tmp_path / ".model.state" / ".finetune@0123@000000003.safetensors.0123abcd-77" / ".tmpx",
        tmp_path / ".model.0123abcd-77" / "config.json",
    ]
    for half in halves:
        half.parent.mkdir(exist_ok=True)
        half.write_text("half")
    with Job(tmp_path / "model", 0.0) as job:
        job.checkpoints("finetune")
        assert not any(half.exists() for half in halves)
        assert (tmp_path / ".model.state" / "lease.json").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_taken(
    tmp_path, monkeypatch, caplog, undisturbed, damage
):
    newest = stopped(tmp_path / "model", monkeypatch, 5)[-1]
    content = bytearray(newest.read_bytes())
    if damage == "cut":
        newest.write_bytes(content[:-100])
    elif damage == "flipped":
        content[-100] ^= 1
        newest.write_bytes(content)
    else:
        newest.unlink()
    caplog.set_level(logging.INFO)
    model, losses = train(tmp_path / "model")
    assert "000000005 is damaged" in caplog.text
    assert "resumed at step 4 of 9" in caplog.text
    assert (bits(model), losses) == undisturbed


def test_other_settings_or_inputs_start_anew_and_remove_what_is_useless(tmp_path, monkeypatch, caplog):
    stopped(tmp_path / "model", monkeypatch, 5)
    caplog.set_level(logging.INFO)
    left = stopped(tmp_path / "model", monkeypatch, 1, learning_rate=2)
    assert "resumed" not in caplog.text
    assert len(left) == 1


def test_a_full_disk_costs_a_checkpoint_and_not_the_work(tmp_path, monkeypatch, caplog, undisturbed):
    def full(tensors, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    model, losses = train(tmp_path / "model")
    assert "warning: no checkpoint at 1 ([Errno 28] No space left on device" in caplog.text
    assert (bits(model), losses) == undisturbed


def test_without_time_for_one_there_is_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors.torch, "save_file", None)
    train(tmp_path / "model", seconds=1000)


def train_and_die(output, moment):
    """Train in a process of its own and be killed at a moment: half-way through the n-th checkpoint (``write n``), after
    the n-th file got its name (``rename n``), or x seconds after the first step (``after x``)."""
    kind, _, number = moment.partition(" ")
    save, replace, gradients = safetensors.torch.save_file, os.replace, fitting._gradients
    count = 0

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def half_saved(tensors, path):
        nonlocal count
        save(tensors, path)
        count += 1
        if count == int(number):
            os.truncate(path, path.stat().st_size // 2)
            die()

    def renamed(*names):
        nonlocal count
        replace(*names)
        count += 1
        if count == int(number):
            die()

    def counted(*arguments):
        nonlocal count
        count += 1
        if count == 1:
            threading.Timer(float(number), die).start()
        return gradients(*arguments)

    if kind == "write":
        safetensors.torch.save_file = half_saved
    elif kind == "rename":
        os.replace = renamed
    elif kind == "after":
        fitting._gradients = counted
    model, losses = train(output)
    output.write_bytes(bits(model) + repr(losses).encode())


def in_a_process(*arguments):
    # The server imports everything once and never computes: what it forks starts clean. Before Python 3.13 it does not
    # know this process's sys.path.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_resume"])
    process = context.Process(target=train_and_die, args=arguments)
    process.start()
    process.join(300)
    return process.exitcode


@pytest.mark.slow
def test_killed_at_random_or_while_a_checkpoint_is_written_training_ends_in_the_same_bytes(
    tmp_path, undisturbed, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    chance = random.Random(7)
    moments = ["write 1", "write 2", "rename 1", "rename 2", "rename 4"]
    moments += [f"after {chance.uniform(0, 0.4):.3f}" for _ in range(4)]
    for moment in moments:
        output = tmp_path / moment
        assert in_a_process(output, moment) in (-signal.SIGKILL, 0)
        assert in_a_process(output, "never") == 0
        assert output.read_bytes() == undisturbed[0] + repr(undisturbed[1]).encode(), moment


class StableDiffusionPipeline:
    """Draws what its random stream says; ends the job after some batches."""

    device = torch.device("cpu")
    vae = SimpleNamespace(
        dtype=torch.float32, config=FrozenDict(scaling_factor=1.0), decode=lambda latents, return_dict: (latents, None)
    )
    image_processor = SimpleNamespace(postprocess=lambda images, output_type: images.numpy())

    def __init__(self, batches=None):
        self.left = batches

    def encode_prompt(self, prompts, *_):
        return torch.zeros(len(prompts), 2, 2), None

    def __call__(self, generator, **_):
        if self.left == 0:
            raise KeyboardInterrupt
        if self.left:
            self.left -= 1
        images = torch.stack([torch.rand(4, 4, 3, generator=each) for each in generator])

        class Output:
            pass

        Output.images = images
        return Output


def draw(pipeline, job):
    keys = [("seed", index) for index in range(7)]
    checkpoints = job.checkpoints("samples", keys=keys)
    return sample(pipeline, ["a"] * 7, keys, 1.0, 1, 4, 2, "test", checkpoints=checkpoints)


@pytest.mark.parametrize("batches", [1, 3])
def test_sampling_goes_on_where_it_stopped(tmp_path, caplog, batches):
    caplog.set_level(logging.INFO)
    with Job(tmp_path / "whole.parquet", 1000) as job:
        expected = draw(StableDiffusionPipeline(), job)
    with pytest.raises(KeyboardInterrupt), Job(tmp_path / "samples.parquet", 0) as job:
        draw(StableDiffusionPipeline(batches), job)
    rest = StableDiffusionPipeline(4 - batches)
    with Job(tmp_path / "samples.parquet", 0) as job:
        found = draw(rest, job)
    assert f"resumed at image {2 * batches} of 7" in caplog.text
    np.testing.assert_array_equal(found, expected)
    assert rest.left == 0, "nothing was drawn twice"


def told_to_stop(output, times=1):
    with Job(output, 1000) as job:
        checkpoints = job.checkpoints("work")
        with checkpoints.defer_signals():
            checkpoints.offer(2, lambda: pytest.fail("it is not time"))
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGTERM)
            checkpoints.offer(3, lambda: ({"x": torch.ones(1)}, {}))


@pytest.mark.parametrize("times", [1, 2])
def test_sigterm_saves_at_once_and_the_message_says_how_to_go_on(tmp_path, times):
    """Whoever ends all processes of a job at once tells it twice, directly and through the process that started it."""
    with pytest.raises(Interrupted, match="stopped by SIGTERM at 3; the same command goes on") as caught:
        told_to_stop(tmp_path / "model", times)
    assert caught.value.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with Job(tmp_path / "model", 1000) as job:
        assert job.checkpoints("work").newest().position == 3


@pytest.mark.parametrize(
    "execution",
    [fitting.ExecutionOptions(per_device_batch_size=1), fitting.ExecutionOptions(gradient_checkpointing=True)],
)
def test_how_a_batch_is_computed_changes_losses_by_rounding_only(undisturbed, execution):
    np.testing.assert_allclose(run(execution=execution)[1], undisturbed[1], rtol=1e-4)


@pytest.mark.parametrize("devices", [2, 3])
def test_devices_share_every_batch(devices):
    plans = [fitting.Plan(data(), SETTINGS, 0, 1, 1000, 1, device, devices) for device in range(devices)]
    whole = fitting.Plan(data(), SETTINGS, 0, 1, 1000)
    for step in range(whole.total):
        expected = whole.pieces(step)[0]
        pieces = [piece for plan in plans for piece in plan.pieces(step)]
        counted = [piece for piece in pieces if piece.share]
        assert sorted(row for piece in counted for row in piece.rows) == sorted(expected.rows)
        assert sum(piece.share for piece in pieces) == pytest.approx(1)
        for piece in counted:
            at = list(expected.rows).index(piece.rows[0])
            np.testing.assert_array_equal(piece.noise[0], expected.noise[at])
