"""The pretraining rules as one command, with a few steps each: what they make is a pipeline and an evaluator that load."""

import re

import pytest
from conftest import PRETRAINING
from diffusers import StableDiffusionPipeline
from transformers import CLIPModel


def test_pretraining_is_planned_by_a_snakefile_of_its_own(project):
    trainings = ("vae_narrow", "vae", "decoder", "sharpen", "unet_first", "unet", "clip")
    planned = {f"pretrain_{name}": 1 for name in ("data", *trainings, "card")}
    assert project.jobs(*PRETRAINING) == planned
    experiment = project.snakemake("--list-rules").stdout.split()
    assert "sample_base" in experiment
    assert not planned.keys() & set(experiment)


@pytest.mark.slow
def test_pretraining_runs_from_data_to_card_and_can_be_promoted(project):
    path = project.folder / "resources" / "pretrain" / "Snakefile"
    rules = path.read_text()
    short = re.sub(r"--steps \d+", "--steps 3", rules).replace("--portraits 12000", "--portraits 700")
    assert short != rules
    path.write_text(short)
    card = project.folder / "resources" / "pretrain" / "pretraining" / "scoring.py"
    card.write_text(card.read_text().replace("PER_GROUP = 10", "PER_GROUP = 2"))
    assert "PER_GROUP = 2" in card.read_text()
    project.snakemake("--cores", "2", *PRETRAINING, timeout=3600)
    results = project.folder / "results" / "pretrain"
    card = (results / "card" / "README.md").read_text()
    assert "license" in card.lower() or "data" in card.lower()
    assert project.jobs(*PRETRAINING) == {}
    result = project.script("promote", folder="resources/pretrain")
    assert result.returncode == 0, result.stderr
    StableDiffusionPipeline.from_pretrained(project.folder / "resources/tiny-diffusion", safety_checker=None)
    CLIPModel.from_pretrained(project.folder / "resources/tiny-clip")
    # The promoted models are what experiments use from now on: their checksums hold.
    jobs = project.jobs("results/faces/base/seed-0/samples.parquet")
    assert jobs == {"reference": 1, "preflight": 1, "sample_base": 1}
