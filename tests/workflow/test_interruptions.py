"""Retraining from the command line: stopped, killed, shared, out of disk, without the right to write."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import torch
from conftest import ROOT
from nepotism.data.tables import read_text_csv
from safetensors.torch import load_file

pytestmark = pytest.mark.slow
# Opened for writing by root all the same, unless this is given up.
UNPRIVILEGED = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []


class Work:
    """A retraining of a tiny model in the format of Stable Diffusion, as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = tiny.stable_diffusion(folder / "sd")
        real, latents, mix = folder / "real.parquet", folder / "latents.safetensors", folder / "mix.parquet"
        self.inputs = ["--base-model", self.model, "--mix", mix, "--latents", latents]
        self.script(
            "reference", "--source", "portraits", "--images-per-group", 2, "--scoring-split", "holdout",
            "--resolution", 64, "--caption", "a {hair} {face} {expression}", "--real", real, "--holdout", folder / "holdout.parquet",
        )  # fmt: skip
        self.script("encode", "--base-model", self.model, "--real", real, "--output", latents)
        self.script(
            "mix", "--regime", "replace", "--real", real, "--ratio", 0, "--seed", 0, "--iteration", 1, "--output", mix
        )  # fmt: skip

    def script(self, name, *arguments, **options):
        done = subprocess.run(
            self.command(name, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=300, **options
        )
        assert done.returncode == 0, done.stderr
        return done

    def command(self, name, *arguments):
        return [sys.executable, f"scripts/{name}.py", *map(str, arguments)]

    def finetune(self, folder, *more):
        folder.mkdir(exist_ok=True)
        return self.command(
            "finetune", *self.inputs, "--learning-rate", 1e-4, "--epochs", 4, "--batch-size", 8, "--random-flip",
            "--precision", "fp32", "--caption-dropout", 0.1, "--budget", "steps", "--cell", "none/ratio-0/seed-0/iteration-1", "--seed", 0,
            "--iteration", 1, "--checkpoint-seconds", 0, "--model", folder / "model", "--losses", folder / "losses.csv",
            "--log", folder / "log", *more,
        )  # fmt: skip

    def run(self, folder, *more, prefix=()):
        return subprocess.run(
            [*prefix, *self.finetune(folder, *more)], cwd=ROOT, capture_output=True, text=True, timeout=300
        )

    def begin(self, folder, *more):
        """Start retraining and return it when a few checkpoints are written."""
        process = subprocess.Popen(self.finetune(folder, *more), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: (folder / "log").is_file() and "checkpoint at 3" in (folder / "log").read_text())
        return process


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def result(folder):
    return (folder / "model" / "diffusion_pytorch_model.safetensors").read_bytes(), (folder / "losses.csv").read_bytes()


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return Work(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def undisturbed(work):
    folder = work.folder / "undisturbed"
    done = work.run(folder)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["log", "losses.csv", "model"]
    return result(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_or_killed_retraining_goes_on_and_ends_in_the_same_bytes(work, undisturbed, number):
    folder = work.folder / number.name
    process = work.begin(folder)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        assert f"stopped by {number.name} at " in said
    assert not (folder / "model").exists(), "no half a result"
    done = work.run(folder)
    assert done.returncode == 0, done.stderr
    resumed = re.search(r"resumed at step (\d+) of 32", (folder / "log").read_text())
    assert int(resumed[1]) >= 3
    assert result(folder) == undisturbed


def test_updates_by_themselves_are_the_same_bytes_after_a_kill_and_go_with_them(work):
    lora = ("--lora-rank", 2, "--lora-alpha", 4.0, "--lora-target-modules", "to_q", "to_out.0", "--ema", 0.8)
    names = ("adapter_config.json", "adapter_model.safetensors")
    made = []
    for killed in (False, True):
        folder = work.folder / f"lora-{killed}"
        if killed:
            process = work.begin(folder, *lora)
            process.kill()
            process.communicate(timeout=60)
            assert not (folder / "adapter").exists()
        done = work.run(folder, *lora)
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in folder.iterdir()) == ["adapter", "log", "losses.csv", "model"]
        made.append((result(folder), [(folder / "adapter" / name).read_bytes() for name in names]))
    assert "resumed at step" in (folder / "log").read_text()
    assert made[0] == made[1]
    plain = load_file(work.model / "unet" / "diffusion_pytorch_model.safetensors")
    updates = load_file(folder / "adapter" / "adapter_model.safetensors")
    for name, value in load_file(folder / "model" / "diffusion_pytorch_model.safetensors").items():
        a, b = (updates.get(f"base_model.model.{name}".replace(".weight", f".lora_{part}.weight")) for part in "AB")
        torch.testing.assert_close(value, plain[name] if a is None else plain[name] + 2.0 * b @ a)
    # Of a retraining of all weights, nothing stays of one by LoRA.
    assert work.run(folder).returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["log", "losses.csv", "model"]


def test_two_jobs_never_write_the_same_model(work, undisturbed):
    folder = work.folder / "shared"
    process = work.begin(folder)
    process.send_signal(signal.SIGSTOP)
    second = work.run(folder, "--log", folder / "second.log")
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=120)
    assert second.returncode == 2
    assert f"is in use by process {process.pid} on" in second.stderr
    assert process.returncode == 0
    assert result(folder) == undisturbed


def test_several_processes_share_a_retraining(work, undisturbed):
    """Through accelerate launch; the sum of gradients is rounded otherwise."""
    folder = work.folder / "two"
    done = work.run(folder, "--num-processes", 2, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    ours = [float(row["loss"]) for row in read_text_csv(folder / "losses.csv")]
    alone = [float(row["loss"]) for row in read_text_csv(work.folder / "undisturbed" / "losses.csv")]
    assert ours == pytest.approx(alone, rel=1e-3)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root can mount a small disk")
def test_a_full_disk_is_named_and_loses_nothing(work, undisturbed):
    disk = work.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not allow mounting")
    try:
        # Room for one checkpoint of 7 MB, but not for the model beside it.
        full = work.run(disk / "cell", "--log", work.folder / "full.log")
        assert full.returncode == 2, full.stderr
        assert "no checkpoint at 2" in full.stderr
        assert "No space left on device" in full.stderr
        assert "Make room on that disk" in full.stderr
        assert not (disk / "cell" / "model").exists()
        subprocess.run([*mount, "remount,size=100m", "tmpfs", disk], check=True)
        done = work.run(disk / "cell")
        assert done.returncode == 0, done.stderr
        assert "resumed at step 1 of 32" in (disk / "cell" / "log").read_text()
        assert result(disk / "cell") == undisturbed
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(UNPRIVILEGED != [] and not shutil.which("setpriv"), reason="root can write anywhere")
def test_a_folder_that_cannot_be_written_is_named_before_any_work(work, tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    done = work.run(folder, "--log", tmp_path / "log", prefix=UNPRIVILEGED)
    assert done.returncode == 2, done.stderr
    assert re.search(
        r"Permission denied: '.*read-only.*'\. Give yourself the right to read or write there", done.stderr
    )
    assert "step" not in (tmp_path / "log").read_text()
