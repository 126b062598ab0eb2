"""The paper's experiment on tiny models and a miniature FFHQ, all in the exact formats of the large ones."""

import json

import pytest
import tiny
import yaml
from conftest import ROOT
from nepotism.data.images import read_image_set, read_records
from nepotism.data.tables import read_text_csv
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
