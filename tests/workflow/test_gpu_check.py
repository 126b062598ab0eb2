"""The command for a machine with a GPU, at tiny shapes on a processor: it runs, and writes what it promises."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from nepotism.data.tables import read_text_csv
from nepotism.plan.rates import read_rates
from pin_packages import pinned

FOLDER = ROOT / "tests" / "gpu"


def test_the_wheels_are_of_the_pinned_versions():
    """Another version of diffusers or Snakemake than the one that is tested would be measured."""
    wheels = dict(re.findall(r"^(\S+)==(\S+)$", (FOLDER / "wheels.txt").read_text(), re.MULTILINE))
    assert {"diffusers", "snakemake", "clean-fid", "jsonschema", "peft", "ftfy"} <= wheels.keys()
    assert wheels.items() <= pinned("3.12.0").items()


@pytest.mark.slow
def test_it_runs_and_writes_a_table_and_speeds(tmp_path):
    command = [FOLDER / "check.sh", "--device", "cpu", "--tiny", "--seconds", "4000", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable})
    out = tmp_path / "out"
    assert done.returncode in (0, 3), done.stdout + done.stderr + (out / "check.log").read_text()[-20_000:]
    lines = read_text_csv(out / "check.csv")
    # An architecture that is not there yet is left out, and nothing else.
    left_out = [line for line in lines if line["ok"] == "skipped"]
    assert all("cannot be retrained yet" in line["value"] for line in left_out)
    assert done.returncode == (3 if left_out else 0)
    assert {line["ok"] for line in lines} <= {"yes", "", "skipped"}
    assert list(dict.fromkeys(line["part"] for line in lines)) == [
        "machine", "jobs", "variants", "families", "memory", "speed", "wanted",
    ]  # fmt: skip
    found = {line["name"]: line["value"] for line in lines}
    killed = {name: value for name, value in found.items() if "killed, resumed" in name}
    assert len(killed) == 2
    assert set(killed.values()) == {"the same bytes"}
    # Other batches than on the other side: not the same numbers twice.
    scores = [float(value) for name, value in found.items() if "iteration-1: fid" in name]
    assert scores
    assert all(value > 0 for value in scores)
    assert {
        "retraining bf16: losses against fp32", "retraining fp32 compiled: losses against fp32", "sampling bf16: mean picture against fp32",
        "retraining LoRA: losses against fp32", "retraining LoRA: weights that changed",
        "sampling what LoRA was merged into: deviation of pixels", "preflight, both as advised", "retraining, as advised",
        "sampling, as advised",
    } <= found.keys()  # fmt: skip
    skipped = {line["name"].split(":")[0] for line in left_out}
    for model in {"stable_diffusion", "stable_diffusion_xl", "prx"} - skipped:
        assert {
            f"{model}: retraining, ours, fp32", f"{model}: retraining, encoding at every step, fp32", f"{model}: sampling, ours, fp32",
            f"{model}: sampling, a plain pipeline call, fp32", f"{model}: retraining at equal precision, fp32",
            f"{model}: retraining, best against the script's default", f"{model}: sampling, best against a plain call",
        } <= found.keys()  # fmt: skip
    page = (out / "check.md").read_text()
    assert "| stable_diffusion | retraining, ours | fp32 |" in page
    assert all(f"| {line['name']} |" in page for line in lines)
    rates = read_rates(out / "rates.csv")
    assert len([rate for rate in rates if not rate.training]) == 3 - len(skipped)
    assert {rate.training for rate in rates} <= {"", "gradient_checkpointing"}
    assert {(rate.device, rate.resolution, rate.precision) for rate in rates} == {("CPU", 64, "fp32/fp32")}
    assert min(min(rate.train_per_second, rate.passes_per_second, rate.job_seconds) for rate in rates) > 0
    assert sorted(path.name for path in out.iterdir()) == [
        "check.csv", "check.log", "check.md", "rates.csv", "speed.csv",
    ]  # fmt: skip


def test_wanted_ratios_are_judged_and_those_that_were_not_measured_are_named():
    sys.path.insert(0, str(FOLDER))
    from verdicts import verdicts

    def row(what, precision, speed, model="m"):
        return {"model": model, "what": what, "precision": precision, "per_second": speed}

    rows = [
        row("retraining, ours", "fp32", "10"),
        row("retraining, ours", "bf16", "30"),
        row("retraining, ours, compiled", "bf16", "45"),
        row("retraining, encoding at every step", "fp32", "10"),
        row("retraining, encoding at every step", "bf16", ""),
        row("sampling, ours", "fp16", "4"),
        row("sampling, a plain pipeline call", "fp32", "2"),
        row("all", "", "", model="unknown"),
    ]
    found = {each.name: (each.ratio, each.least, each.between) for each in verdicts(rows)}
    assert found == {
        "m: retraining at equal precision, fp32": (1.0, 1.3, "to encoding at every step"),
        "m: retraining at equal precision, bf16": (None, 1.3, "to encoding at every step"),
        "m: retraining, best against the script's default": (4.5, 3.0, "retraining, ours, compiled, bf16"),
        "m: sampling, best against a plain call": (2.0, 1.5, "sampling, ours, fp16"),
    }


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("stable_diffusion", {"unet": 865.9, "vae": 83.7, "text_encoder": 340.4}),
        ("stable_diffusion_xl", {"unet": 2567.5, "vae": 83.7, "text_encoder": 123.1, "text_encoder_2": 694.7}),
        ("prx", {"transformer": 1170.7, "vae": 83.8, "text_encoder": 156.9}),
    ],
)
def test_true_shapes_have_as_many_parameters_as_the_published_models(name, millions):
    """PRX's text encoder apart, of which there are few layers and words."""
    import torch

    sys.path.insert(0, str(ROOT / "tests" / "benchmark"))
    import true_shapes

    with torch.device("meta"):
        parts = true_shapes.SHAPES[name].parts()
    assert {
        part: round(sum(each.numel() for each in network.parameters()) / 1e6, 1) for part, network in parts.items()
    } == millions


@pytest.mark.slow
def test_a_missing_gpu_is_told_at_once(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    command = [FOLDER / "check.sh", "--device", "cuda", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable})
    assert done.returncode == 1
    assert "device: torch sees no GPU" in done.stdout
