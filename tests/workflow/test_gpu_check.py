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
    assert {"diffusers", "snakemake", "clean-fid", "jsonschema"} <= wheels.keys()
    assert wheels.items() <= pinned("3.12.0").items()


@pytest.mark.slow
def test_it_runs_and_writes_a_table_and_speeds(tmp_path):
    command = [FOLDER / "check.sh", "--device", "cpu", "--tiny", "--seconds", "1500", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable})
    out = tmp_path / "out"
    assert done.returncode == 0, done.stdout + done.stderr + (out / "check.log").read_text()[-20_000:]
    lines = read_text_csv(out / "check.csv")
    assert {line["ok"] for line in lines} == {"yes", ""}
    assert list(dict.fromkeys(line["part"] for line in lines)) == ["machine", "jobs", "variants", "families", "speed"]
    found = {line["name"]: line["value"] for line in lines}
    killed = {name: value for name, value in found.items() if "killed, resumed" in name}
    assert len(killed) == 2
    assert set(killed.values()) == {"the same bytes"}
    # Other batches than on the other side: not the same numbers twice.
    scores = [float(value) for name, value in found.items() if "iteration-1: fid" in name]
    assert scores
    assert all(value > 0 for value in scores)
    page = (out / "check.md").read_text()
    assert "| retraining, ours | fp32 |" in page
    assert all(f"| {line['name']} |" in page for line in lines)
    rate, *others = read_rates(out / "rates.csv")
    assert {each.training for each in others} <= {"gradient_checkpointing"}
    assert (rate.device, rate.resolution, rate.precision) == ("CPU", 64, "fp32/fp32")
    assert min(rate.train_per_second, rate.passes_per_second, rate.job_seconds) > 0
    assert sorted(path.name for path in out.iterdir()) == [
        "check.csv", "check.log", "check.md", "rates.csv", "speed.csv",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_missing_gpu_is_told_at_once(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    command = [FOLDER / "check.sh", "--device", "cuda", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable})
    assert done.returncode == 1
    assert "device: torch sees no GPU" in done.stdout
