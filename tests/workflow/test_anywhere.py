"""What makes results anew, and what does not; where Snakemake may be started. Heavy scripts are replaced: only files count here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

LATENTS, FEATURES = "results/faces/reference/latents.safetensors", "results/faces/reference/embeddings.npz"
# Writes what its options name as outputs.
STUB = """
import sys
from pathlib import Path

for option, path in zip(sys.argv, sys.argv[1:]):
    if option in ("--output", "--real", "--holdout") and not Path(path).exists():
        Path(path).write_text(option)
"""


@pytest.fixture
def mine(project):
    """A project with a model and a CLIP of the user's, whose first results are made. Returns it, with options and folders."""
    models = {name: project.folder / "models" / name for name in ("diffusion", "clip")}
    for name, folder in models.items():
        shutil.copytree(project.folder / "resources" / f"tiny-{name}", folder)
        (folder / "SHA256SUMS").unlink()
    for name in ("reference", "preflight", "encode", "embed_reference"):
        (project.folder / "scripts" / f"{name}.py").write_text(STUB)
    changes = project.folder / "mine.yaml"
    changes.write_text(yaml.safe_dump({"model": {"path": "models/diffusion"}, "score": {"clip": str(models["clip"])}}))
    options = (LATENTS, FEATURES, "--configfile", str(changes))
    project.snakemake("--cores", "2", *options)
    return project, options, models


def test_replaced_weights_make_anew_what_depends_on_them_and_touched_ones_nothing(mine):
    project, options, models = mine
    assert project.jobs(*options) == {}
    for folder in models.values():
        for file in folder.rglob("*.*"):
            os.utime(file)
    assert project.jobs(*options) == {}
    weights = models["clip"] / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert project.jobs(*options) == {"embed_reference": 1}
    # A dry run has seen them, and the run still makes anew what they change.
    project.snakemake("--cores", "2", *options)
    assert project.jobs(*options) == {}
    unet = models["diffusion"] / "unet" / "diffusion_pytorch_model.safetensors"
    times = unet.stat()
    content = bytearray(unet.read_bytes())
    content[-1] ^= 1
    unet.write_bytes(content)
    # As a copy that keeps the time of what it is a copy of.
    os.utime(unet, ns=(times.st_atime_ns, times.st_mtime_ns))
    jobs = project.jobs(*options)
    assert jobs["encode"] == jobs["preflight"] == 1
    assert "reference" not in jobs


def test_other_ways_to_work_make_no_generation_anew(project):
    (project.folder / "scripts" / "family_reference.py").write_text(
        STUB.replace(
            "for option", "for path in sys.argv[sys.argv.index('--output') + 1 :]:\n    Path(path).touch()\nfor option"
        )
    )
    target = ("results/lm/reference/real.parquet", "--configfile", "resources/experiments/lm.yaml")
    project.snakemake("--cores", "1", *target)
    assert project.jobs(*target, "--config", "lm={generation_batch: 7}") == {}
    assert project.jobs(*target, "--config", "lm={block_size: 32}") == {"family_reference": 1}


def elsewhere(project, folder, *arguments):
    command = [Path(sys.executable).parent / "snakemake", "-s", project.folder / "Snakefile", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("way", ["started there", "--directory"])
def test_snakemake_may_work_in_another_folder(mine, tmp_path, way):
    project, options, _ = mine
    there = tmp_path / "else where"
    there.mkdir()
    words, start = ((), there) if way == "started there" else (("--directory", str(there)), project.folder)
    here = set((project.folder / "results").rglob("*"))
    elsewhere(project, start, *words, "--cores", "2", *options)
    assert (there / LATENTS).is_file()
    assert set((project.folder / "results").rglob("*")) == here, "results are where Snakemake works"
    # A relative path of the config is relative to the project.
    assert json.loads((there / "results/faces/config.json").read_text())["model"]["path"] == "models/diffusion"
    assert "Nothing to be done" in elsewhere(project, start, *words, "-n", *options)
    # The default experiment, with its shipped models, is planned from there too.
    assert "finetune" in elsewhere(project, start, *words, "-n", "--quiet", "host")


def test_a_forecast_does_not_guess_how_long_a_language_model_takes(project):
    told = project.script("forecast", "resources/experiments/lm-wikitext.yaml")
    assert told.returncode == 0, told.stderr
    # Five conditions of nine generations, three seeds; another first training or another penalty is another generation 0.
    assert "135 generations of the family lm, after 12 generations 0" in told.stdout
    assert "time and disk: not known" in told.stdout
    assert "seconds" not in told.stdout


def test_a_forecast_counts_the_jobs_of_generations_that_snakemake_plans(project):
    file = "resources/experiments/gmm.yaml"
    (line,) = [each for each in project.script("forecast", file).stdout.splitlines() if each.startswith("jobs: ")]
    told = {rule: int(count) for count, rule in map(str.split, line.removeprefix("jobs: ").split(", "))}
    planned = project.jobs("--configfile", file)
    assert told == {
        rule: count for rule, count in planned.items() if "generation" in rule or rule == "family_reference"
    }


def test_a_key_given_twice_is_told_before_anything_runs(project):
    changes = project.folder / "twice.yaml"
    changes.write_text("seeds: [1]\nfinetune:\n  epochs: 1\nseeds: [0]\n")
    result = project.snakemake("-n", "--configfile", str(changes), check=False)
    assert result.returncode
    told = f"{changes}: `seeds` is given twice, on lines 1 and 4; keep one"
    assert told in result.stdout + result.stderr
    default = project.folder / "workflow_config.yaml"
    default.write_text(default.read_text() + "\nfinetune: {epochs: 1}\n")
    result = project.snakemake("-n", check=False)
    assert "workflow_config.yaml: `finetune` is given twice, on lines " in result.stdout + result.stderr
    forecast = project.script("forecast", changes)
    assert forecast.returncode == 2
    assert "workflow_config.yaml: `finetune` is given twice" in forecast.stderr


def test_lists_and_nested_values_may_be_given_on_the_command_line(project):
    jobs = project.jobs("--config", "seeds=[0,1]", "iterations=2", "arms=[{name: none, ratios: [0, 100]}]")
    assert jobs["finetune"] == 2 * 2 * 2
    result = project.snakemake("-n", "--config", "iterations=010", check=False)
    assert result.returncode
    assert "YAML reads 010 as 8; write 10 if that is the number" in result.stdout + result.stderr
