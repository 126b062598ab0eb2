"""Every architecture through every rule: encoding, retraining, killed and gone on with, sampling, images from images, preflight."""

import json
import shlex
import signal
import subprocess
import sys
import time

import pytest
import tiny
import yaml
from conftest import copy_project
from nepotism.data.images import read_image_set, read_manifest
from nepotism.plan.grid import Grid
from nepotism.plan.settings import settings

pytestmark = pytest.mark.slow
CELL = "none/ratio-50/seed-0/iteration-1"
WEIGHTS = "model/diffusion_pytorch_model.safetensors"


def experiment(model, scheduler):
    drawing = {"num_inference_steps": 3, "scheduler": scheduler, "guidance_scale": 2.0}
    return {
        "experiment": "small",
        "model": {"path": str(model)},
        "seeds": [0],
        "iterations": 1,
        "arms": [{"name": "none", "ratios": [50]}],
        "reference": {"images_per_group": 2},
        "initial_images": {**drawing, "num_inference_steps": 4},
        "sample": {**drawing, "guidance_interval": [0.0, 0.7]},
        "finetune": {"epochs": 2, "caption_dropout": 0.2},
        "unseen": {"prompts": ["a face"], "images_per_prompt": 1},
        "diagnostics": {"vae_round_trips": []},
    }


# The first one is what test_smoke and test_interruptions are about.
@pytest.fixture(scope="module", params=sorted(set(tiny.PIPELINES) - {"stable_diffusion"}))
def project(request, tmp_path_factory):
    """One cell, by Snakemake, from a model of random weights."""
    made = copy_project(tmp_path_factory.mktemp(request.param))
    model = tiny.PIPELINES[request.param](made.folder / "model")
    flow = (model / "transformer").is_dir()
    scheduler = "FlowMatchEulerDiscreteScheduler" if flow else "DDIMScheduler"
    (made.folder / "small.yaml").write_text(yaml.safe_dump(experiment(model, scheduler)))
    target = f"results/small/{CELL}/metrics.json"
    made.snakemake("--cores", "2", target, "--configfile", "small.yaml")
    assert made.jobs(target, "--configfile", "small.yaml") == {}
    return made


def test_a_cell_is_made_from_a_model_of_the_architecture(project):
    results = project.folder / "results" / "small"
    found = json.loads((results / "preflight.json").read_text())
    flow = (project.folder / "model" / "transformer").is_dir()
    assert (found["prediction_type"] == "flow") == flow
    first = read_image_set(results / "base/seed-0/initial_images.parquet")
    drawn = read_image_set(results / CELL / "samples.parquet")
    real = read_image_set(results / "reference/real.parquet")
    assert first.pixels.shape == drawn.pixels.shape == real.pixels.shape
    assert drawn.pixels.std() > 1
    manifest = read_manifest(results / CELL / "mix.parquet")
    assert sum(record.origin == "generated" for record, _ in manifest) == len(manifest) // 2
    assert {record.parents[0] for record in first.records} == {record.id for record in real.records}


def test_killed_in_mid_training_it_ends_in_the_same_bytes(project):
    results = project.folder / "results" / "small"
    grid = Grid(json.loads((results / "config.json").read_text()))
    again = project.folder / "again"
    again.mkdir()
    command = [
        sys.executable, "scripts/finetune.py", *shlex.split(settings(grid, "finetune", grid.arm("none"), 1)),
        "--mix", results / CELL / "mix.parquet", "--latents", results / "reference/latents.safetensors",
        "--cell", CELL, "--seed", 0, "--iteration", 1, "--threads", 1, "--device", "cpu", "--checkpoint-seconds", 0,
        "--model", again / "model", "--losses", again / "losses.csv", "--log", again / "log",
    ]  # fmt: skip
    command = [str(each) for each in command]
    process = subprocess.Popen(command, cwd=project.folder, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not ((again / "log").is_file() and "checkpoint at 2" in (again / "log").read_text()):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (again / WEIGHTS).exists()
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in (again / "log").read_text()
    assert (again / WEIGHTS).read_bytes() == (results / CELL / WEIGHTS).read_bytes()
    assert (again / "losses.csv").read_bytes() == (results / CELL / "losses.csv").read_bytes()
