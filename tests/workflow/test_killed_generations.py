"""Generations of a language model from the command line: killed at random moments, and told to stop."""

import json
import random
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT
from nepotism.families.lm import original_settings

pytestmark = pytest.mark.slow
LM = yaml.safe_load((ROOT / "resources" / "experiments" / "lm.yaml").read_text())["lm"]
SMALL = {
    **LM, "model": None, "network": {"vocabulary": 500, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "block_size": 32,
    "split": {"real": 200, "validation": 40, "holdout": 20, "fresh": 0}, "budget": "steps",
    "first_epochs": 6, "epochs": 4, "generation_batch": 10,
}  # fmt: skip


class Work:
    """Generations of one small language model, as often as wanted."""

    def __init__(self, folder, settings=SMALL):
        self.folder, self.settings = folder, settings
        self.reference = [
            folder / name for name in ("real.parquet", "validation.parquet", "holdout.parquet", "tokenizer.json")
        ]
        done = subprocess.run(
            [*self.script("family_reference", original_settings(settings)), "--output", *self.reference],
            cwd=ROOT,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr

    def script(self, name, settings):
        return [sys.executable, f"scripts/{name}.py", "--family", "lm", "--settings", json.dumps(settings)]

    def command(self, folder):
        folder.mkdir(exist_ok=True)
        return list(
            map(
                str,
                [
                    *self.script("generations", self.settings), "--checkpoint-seconds", 0, "--ratio", 90, "--cell", "base/seed-0",
                    "--seed", 0, "--first", 0, "--last", 2, "--reference", *self.reference, "--mix", folder / "mix.parquet",
                    "--model", folder / "generations.safetensors", "--samples", folder / "samples.parquet", "--log", folder / "log",
                ],
            )
        )  # fmt: skip

    def begin(self, folder):
        return subprocess.Popen(self.command(folder), cwd=ROOT, stderr=subprocess.PIPE, text=True)


def result(folder):
    return [(folder / name).read_bytes() for name in ("generations.safetensors", "samples.parquet", "mix.parquet")]


def checkpoints(folder):
    return {path.name.split("@")[0] for path in folder.glob(".samples.state/*.json")} - {"lease.json"}


def said(folder):
    """How many checkpoints were written, by the log."""
    return (folder / "log").read_text().count("checkpoint at") if (folder / "log").is_file() else 0


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return Work(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def undisturbed(work):
    process = work.begin(work.folder / "undisturbed")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return result(work.folder / "undisturbed")


def test_a_language_model_killed_at_random_moments_ends_in_the_same_bytes(work, undisturbed):
    folder, draws, within = work.folder / "killed", random.Random(0), set()
    # Of some 170 checkpoints.
    for wanted in draws.sample(range(5, 36), 4):
        process = work.begin(folder)
        written = said(folder)
        while process.poll() is None and said(folder) < written + wanted:
            time.sleep(0.01)
        time.sleep(draws.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it was done before it was killed"
        assert not (folder / "samples.parquet").exists(), "half a result"
        within |= checkpoints(folder)
    assert within & {"fit", "sample"}, "never killed within a generation"
    process = work.begin(folder)
    process.communicate(timeout=300)
    assert process.returncode == 0, (folder / "log").read_text()
    assert (folder / "log").read_text().count("resumed") >= 4
    assert result(folder) == undisturbed
    assert not list(folder.glob(".*")), "state was left behind"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stage", ["fit", "sample"])
def test_a_signal_ends_it_at_once_and_it_goes_on(work, undisturbed, stage, number):
    folder = work.folder / f"{stage}-{number.name}"
    process = work.begin(folder)
    end = time.monotonic() + 120
    while stage not in checkpoints(folder):
        assert time.monotonic() < end
        time.sleep(0.02)
    told = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - told < 5
    assert process.returncode == 128 + number, said
    assert f"stopped by {number.name} at " in said
    again = work.begin(folder)
    again.communicate(timeout=300)
    assert "resumed" in (folder / "log").read_text()
    assert result(folder) == undisturbed


def test_generations_name_the_random_stream_that_they_were_drawn_from(work, undisturbed):
    table = pq.read_table(work.folder / "undisturbed" / "samples.parquet").to_pydict()
    assert len(table["rng"]) == 3 * SMALL["split"]["real"]
    assert set(zip(table["iteration"], table["rng"], strict=True)) == {(i, f"0/{i}/sample") for i in range(3)}


def test_beam_search_names_no_random_stream(tmp_path):
    beam = Work(tmp_path, SMALL | {"do_sample": False, "num_beams": 2, "top_p": 1.0})
    process = beam.begin(tmp_path / "beam")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    table = pq.read_table(tmp_path / "beam" / "samples.parquet")
    assert len(table) == 3 * SMALL["split"]["real"]
    assert set(table["rng"].to_pylist()) == {""}
