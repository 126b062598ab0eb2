"""The pretraining rules as one command, with a few steps each: what they make are pipelines and an evaluator that load."""

import re

import pytest
from conftest import PRETRAINING
from diffusers import PRXPipeline, StableDiffusionPipeline
from nepotism.runtime.files import mismatches
from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPModel


def test_pretraining_is_planned_by_a_snakefile_of_its_own(project):
    trainings = ("vae_narrow", "vae", "decoder", "sharpen", "unet_first", "unet", "flow_first", "flow", "clip", "lm")
    planned = {f"pretrain_{name}": 1 for name in ("data", *trainings, "card", "flow_card", "lm_card")}
    assert project.jobs(*PRETRAINING) == planned
    experiment = project.snakemake("--list-rules").stdout.split()
    assert "sample_base" in experiment
    assert not planned.keys() & set(experiment)


@pytest.mark.slow
def test_pretraining_runs_from_data_to_card_and_can_be_promoted(project):
    path = project.folder / "resources" / "pretrain" / "Snakefile"
    rules = path.read_text()
    short = re.sub(r"--steps \d+", "--steps 3", rules).replace("--portraits 12000", "--portraits 700")
    # Three steps are not worth a compilation.
    short = short.replace("--compile ", "")
    assert short != rules
    path.write_text(short)
    library = project.folder / "resources" / "pretrain" / "pretraining"
    for name, long, quick in (
        ("scoring", "PER_GROUP = 10", "PER_GROUP = 2"),
        ("flow_card", "STEPS = (6, 8, 10, 14)", "STEPS = (10,)"),
    ):
        text = (library / f"{name}.py").read_text()
        assert long in text
        (library / f"{name}.py").write_text(text.replace(long, quick))
    project.snakemake("--cores", "2", *PRETRAINING, timeout=3600)
    results = project.folder / "results" / "pretrain"
    for card in ("card", "flow-card"):
        text = (results / card / "README.md").read_text()
        assert "portraits are drawings of nobody" in text
        assert (results / card / "samples.png").is_file()
    assert project.jobs(*PRETRAINING) == {}
    result = project.script("promote", folder="resources/pretrain")
    assert result.returncode == 0, result.stderr
    StableDiffusionPipeline.from_pretrained(project.folder / "resources/tiny-diffusion", safety_checker=None)
    CLIPModel.from_pretrained(project.folder / "resources/tiny-clip")
    flow = project.folder / "resources/tiny-flow"
    drawn = PRXPipeline.from_pretrained(flow)(
        "a handwritten digit two", height=64, width=64, num_inference_steps=2, use_resolution_binning=False
    )
    assert drawn.images[0].size == (64, 64)
    # One autoencoder, once on the disk.
    weights = flow / "vae/diffusion_pytorch_model.safetensors"
    assert weights.is_symlink()
    assert not weights.readlink().is_absolute()
    assert mismatches(flow) == []
    model = AutoModelForCausalLM.from_pretrained(project.folder / "resources/tiny-opt")
    tokenizer = AutoTokenizer.from_pretrained(project.folder / "resources/tiny-opt")
    assert len(tokenizer) == model.config.vocab_size
    assert "It is a truth universally acknowledged" in (results / "lm-card" / "README.md").read_text()
    # The promoted models are what experiments use from now on: their checksums hold.
    jobs = project.jobs("results/faces/base/seed-0/samples.parquet")
    assert jobs == {"reference": 1, "preflight": 1, "sample_base": 1}
