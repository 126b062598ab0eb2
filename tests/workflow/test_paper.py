"""The paper's experiment on tiny models and a miniature FFHQ, all in the exact formats of the large ones."""

import json
import re

import pytest
import tiny
import yaml
from conftest import ROOT
from nepotism.data.images import read_image_set, read_records
from nepotism.data.tables import read_text_csv
from nepotism.plan import configfiles
from nepotism.plan.config import checked
from nepotism.plan.denoisers import KNOWN, denoiser
from nepotism.plan.grid import Grid
from nepotism.plan.needs import Needs
from nepotism.runtime.files import sha256

PAPER = ROOT / "resources" / "experiments" / "paper.yaml"
CELLS = {
    "stage_weights": 4,
    "stage_deepface": 1,
    "classify_faces": 70,
    "select_images": 1,
    "reference": 1,
    "finetune": 50,
    "sample": 50,
    "score": 50,
    "sifid_threshold": 2,
    "sifid_cull": 10,
}


def test_the_papers_grid_is_planned_without_data_or_weights(project):
    """50 retrainings for one seed: six ratios and three controls times five, and five of healing; 45 are the paper's."""
    jobs = project.jobs("--configfile", "resources/experiments/paper.yaml")
    assert {rule: jobs[rule] for rule in CELLS} == CELLS


def small(project, folder, prediction_type, scheduler):
    """paper.yaml with everything at its smallest; returns the options that use it."""
    config = yaml.safe_load(PAPER.read_text())
    inception, stem = tiny.clean_fid(folder), tiny.torchvision_inception(folder / "inception_v3.safetensors")
    config["iterations"] = 1
    config["arms"][0]["ratios"] = [25, 100]
    (healing,) = (arm for arm in config["arms"] if arm.get("regime") == "heal")
    healing["parameters"] = {"after": 1, "iterations": 1}
    for culling, pair in zip(config["arms"][2:4], ["group_mean", "nearest_in_group"], strict=True):
        culling["parameters"] |= {"inception": str(stem), "inception_sha256": sha256(stem), "tries": 1, "pair": pair}
    config["reference"]["images_per_group"] = 4
    config["reference"]["ffhq"] |= {
        "path": str(tiny.ffhq(folder / "ffhq")), "images": 100, "shard_size": 60,
        "weights": str(tiny.deepface(folder / "deepface")), "detector": "skip", "factors": ["gender"],
        "caption": "a photo of a {gender}.",
    }  # fmt: skip
    config["model"] |= {"path": str(tiny.stable_diffusion(folder / "model", prediction_type)), "resolution": 64}
    config["initial_images"] |= {"num_inference_steps": 2, "precision": "fp32", "scheduler": scheduler}
    config["sample"] |= {"num_inference_steps": 2, "precision": "fp32", "scheduler": scheduler}
    config["finetune"] |= {"epochs": 2, "batch_size": 4}
    config["unseen"]["images_per_prompt"] = 1
    config["score"] |= {
        "clip": "resources/tiny-clip",
        "inception": str(inception),
        "inception_sha256": sha256(inception),
        "dinov2": str(tiny.dinov2(folder / "dinov2")),
    }
    config["diagnostics"]["vae_round_trips"] = [1]
    config["execution"] |= {"device": "cpu", "threads": 1, "per_device_batch_size": 2, "gradient_checkpointing": True}
    path = project.folder / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    return ("--configfile", str(path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prediction_type", "scheduler"), [("epsilon", "PNDMScheduler"), ("v_prediction", "DDIMScheduler")]
)
def test_every_rule_of_the_paper_runs_on_tiny_models_of_its_formats(
    project, tmp_path_factory, prediction_type, scheduler
):
    """Those of Stable Diffusion 2.1 base, and of the 768 pixel model."""
    options = small(project, tmp_path_factory.mktemp("weights"), prediction_type, scheduler)
    project.snakemake("--cores", "2", *options)
    results = project.folder / "results" / "paper"
    rows = read_text_csv(results / "tables" / "metrics.csv")
    assert {row["features"] for row in rows if row["metric"] == "fid"} == {"inception", "clip", "dinov2"}
    assert {row["control"] for row in rows} == {
        "base", "none", "histogram_match", "sifid_cull", "sifid_cull_nearest", "heal",
    }  # fmt: skip
    # Models at the ends of chains stay: of 100 %, the three controls and healing.
    ends = results.glob("*/ratio-*/*/*/model/diffusion_pytorch_model.safetensors")
    assert sorted(path.relative_to(results).parts[0] for path in ends) == [
        "heal",
        "histogram_match",
        "none",
        "sifid_cull",
        "sifid_cull_nearest",
    ]
    assert json.loads((results / "preflight.json").read_text())["prediction_type"] == prediction_type
    chosen = read_text_csv(results / "reference" / "selection.csv")
    assert {row["text"] for row in chosen} <= {"a photo of a man.", "a photo of a woman."}
    real = read_records(results / "reference" / "real.parquet")
    assert {f"real/{row['file_name']}" for row in chosen} >= {record.id for record in real}
    assert read_image_set(results / "reference" / "real.parquet").pixels.shape[1:] == (64, 64, 3)
    assert project.jobs(*options) == {}, "a second run has nothing to do"


@pytest.mark.slow
def test_models_in_the_middle_of_a_chain_go_and_nothing_is_made_again_for_them(project):
    config = {
        "experiment": "last", "seeds": [0], "iterations": 2, "arms": [{"name": "none", "ratios": [100]}],
        "reference": {"images_per_group": 2}, "initial_images": {"num_inference_steps": 2},
        "finetune": {"epochs": 1}, "sample": {"num_inference_steps": 2}, "unseen": {"images_per_prompt": 1},
        "execution": {"keep_models": "last"},
    }  # fmt: skip
    path = project.folder / "last.yaml"
    path.write_text(yaml.safe_dump(config))
    options = ("--configfile", str(path))
    project.snakemake("--cores", "2", *options)
    models = project.folder.glob("results/last/none/ratio-100/seed-0/*/model/*.safetensors")
    assert [path.parents[1].name for path in models] == ["iteration-2"]
    assert project.jobs(*options) == {}


# ---- The same on models of today

# What each of them says for itself: the rest is the paper's.
OWN = {
    "": {"experiment"},
    "model": {"path", "resolution"},
    "initial_images": {"guidance_scale", "num_inference_steps", "scheduler", "precision"},
    "finetune": {"learning_rate", "precision", "lora"},
    "sample": {"guidance_scale", "num_inference_steps", "scheduler", "precision"},
    "execution": {"sample_batch_size", "checkpoint_seconds", "per_device_batch_size", "gradient_checkpointing"},
}
TODAY = pytest.mark.parametrize("name", ["paper-sdxl", "paper-sd35", "paper-prx"])


def resolved(name):
    config = configfiles.read(ROOT / "workflow_config.yaml")
    return checked(configfiles.laid_over(config, configfiles.read(ROOT / "resources" / "experiments" / f"{name}.yaml")))


def differences(one, other):
    """Keys of blocks whose values differ, by block."""
    found = {}
    for key in one:
        if isinstance(one[key], dict) and key in OWN:
            found[key] = {inner for inner in one[key] if one[key][inner] != other[key][inner]}
        elif one[key] != other[key]:
            found.setdefault("", set()).add(key)
    return found


@TODAY
def test_a_model_of_today_differs_from_the_paper_in_what_its_file_explains(name):
    config, paper = resolved(name), resolved("paper")
    assert config.keys() == paper.keys()
    assert all(keys <= OWN[block] for block, keys in differences(config, paper).items())
    assert config["initial_images"]["strength"] == paper["initial_images"]["strength"]
    # Of a revision that cannot move, and a model whose size is known before it is there.
    assert re.fullmatch(r"[0-9a-f]{40}", config["model"]["path"].rpartition("@")[2])
    assert denoiser(config["model"]["path"]) in KNOWN.values()


@TODAY
def test_the_papers_grid_is_planned_on_a_model_of_today(project, name):
    """As many jobs of every rule, without data or weights."""
    jobs = project.jobs("--configfile", f"resources/experiments/{name}.yaml")
    assert {rule: jobs[rule] for rule in CELLS} == CELLS
    assert jobs == project.jobs("--configfile", "resources/experiments/paper.yaml")


@TODAY
def test_the_forecast_of_a_model_of_today_is_told(project, name):
    done = project.script("forecast", f"resources/experiments/{name}.yaml", "--budgets")
    assert done.returncode == 0, done.stderr
    paper = project.script("forecast", "resources/experiments/paper.yaml").stdout.splitlines()
    lines = done.stdout.splitlines()
    size = resolved(name)["model"]["resolution"]
    assert lines[0] == f"experiment {name}: 50 cells of 900 images at {size} x {size}"
    assert lines[1] == paper[1]
    assert lines[2].startswith("retraining: 2,250,000 images in all; ")
    million = round(denoiser(resolved(name)["model"]["path"]).parameters / 1e6)
    assert f"no speed was measured for a denoiser of {million} million parameters at {size} pixels in bf16/" in lines[4]
    assert done.stdout.count("unmeasured") == 8
    assert "not known" not in done.stdout


@TODAY
def test_jobs_of_a_model_of_today_ask_a_cluster_for_memory_time_and_a_gpu(name):
    grid, paper = (Grid(resolved(each)) for each in (name, "paper"))
    needs, least = Needs(grid, [], 30), Needs(paper, [], 30)
    network = denoiser(grid.config["model"]["path"])
    arm = grid.arm("none")
    # Weights, gradients, two moments, and a checkpoint of all but the gradients.
    assert needs.memory_mb("finetune", arm) > 7 * network.bytes / 1e6
    assert needs.memory_mb("sample", arm) > 2 * network.bytes / 1e6
    for stage in ("finetune", "sample"):
        assert needs.memory_mb(stage, arm) > least.memory_mb(stage, paper.arm("none"))
    assert needs.minutes("finetune", arm) > least.minutes("finetune", paper.arm("none")) > 60
    assert grid.config["execution"]["device"] == "cuda", "each takes a GPU"
