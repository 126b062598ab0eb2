"""Two base models of different architectures in one experiment, each retrained on its own images and on the other's, on few digits."""

import csv
import json

import pytest
import tiny
import yaml
from ancestry import check_provenance
from conftest import copy_project
from nepotism.data.images import read_manifest, read_records
from nepotism.data.tables import read_text_csv
from nepotism.runtime.files import sha256
from safetensors.torch import load_file

OTHER = {
    "model": {"path": "models/other"},
    "initial_images": {"guidance_scale": 1.0, "scheduler": "FlowMatchEulerDiscreteScheduler"},
    "sample": {"guidance_scale": 1.0, "scheduler": "FlowMatchEulerDiscreteScheduler"},
}
ARMS = [
    {"name": "none", "ratios": [100]},
    {"name": "other", "ratios": [0, 100], "overrides": OTHER},
    {"name": "other-fed", "regime": "feed", "ratios": [100], "parameters": {"other": "none", "share": 100}, "overrides": OTHER},
    {"name": "fed", "regime": "feed", "ratios": [100], "parameters": {"other": "other", "share": 100}},
    {"name": "other-culled", "control": "sifid_cull", "ratios": [100], "iterations": 1, "parameters": {"tries": 1}, "overrides": OTHER},
]  # fmt: skip
SMALL = {
    "experiment": "two",
    "seeds": [0],
    "iterations": 2,
    "arms": ARMS,
    "reference": {"source": "digits", "images_per_group": 2},
    "initial_images": {"num_inference_steps": 2},
    "sample": {"num_inference_steps": 2},
    "finetune": {"epochs": 1},
    "unseen": {"prompts": ["a face"], "images_per_prompt": 1},
}
OPTIONS = ("--configfile", "two.yaml")
UNET, TRANSFORMER = "resources/tiny-diffusion/unet", "models/other/transformer"
WEIGHTS = "diffusion_pytorch_model.safetensors"
RESULTS = "results/two"


def with_models(folder):
    """A project with another model than the shipped one: a flow, with a transformer, autoencoder, tokenizer and text of its own."""
    made = copy_project(folder)
    tiny.prx(made.folder / "models" / "other")
    (made.folder / "two.yaml").write_text(yaml.safe_dump(SMALL))
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = with_models(tmp_path_factory.mktemp("two"))
    made.planned = made.jobs("metrics", *OPTIONS)
    made.only_other = made.jobs(f"{RESULTS}/other/ratio-0/seed-0/iteration-1/metrics.json", *OPTIONS)
    made.only_own = made.jobs(f"{RESULTS}/none/ratio-100/seed-0/iteration-1/metrics.json", *OPTIONS)
    made.snakemake(
        "--cores", "2", "metrics", f"{RESULTS}/tables/claims.csv", f"{RESULTS}/figures/figure-3.csv", *OPTIONS
    )
    return made


def rows(project, table):
    with open(project.folder / RESULTS / "tables" / f"{table}.csv", newline="") as file:
        return list(csv.DictReader(file))


def cell(project, arm, iteration, ratio=100):
    return project.folder / RESULTS / arm / f"ratio-{ratio}/seed-0/iteration-{iteration}"


def test_what_is_made_once_for_a_model_is_made_for_each_and_asked_for_by_its_cells_only(project):
    for rule in ("preflight", "encode", "initial_images", "sample_base", "score_base"):
        assert project.planned[rule] == 2, rule
    assert (project.planned["finetune"], project.planned["reference"], project.planned["embed_reference"]) == (11, 1, 1)
    for jobs in (project.only_other, project.only_own):
        assert (jobs["encode"], jobs["finetune"]) == (1, 1)
    # Trained on real images only, it needs no image of iteration 0; and the rules that measure are the experiment's own model's.
    assert "initial_images" not in project.only_other
    assert (project.only_own["initial_images"], project.only_own["preflight"]) == (1, 1)
    for name, denoiser in (("", UNET), ("-other", TRANSFORMER)):
        told = json.loads((project.folder / RESULTS / f"preflight{name}.json").read_text())
        tensors = load_file(project.folder / denoiser / WEIGHTS).values()
        assert told["parameters"] == sum(tensor.numel() for tensor in tensors)
    shapes = [
        load_file(project.folder / RESULTS / "reference" / f"latents{name}.safetensors")["mean"].shape
        for name in ("", "-other")
    ]
    assert shapes[0] != shapes[1], "of two autoencoders"


def test_each_chain_retrains_its_own_model_and_draws_with_it(project):
    folders = {"base": UNET, "base-other": TRANSFORMER}
    digests = {base: sha256(project.folder / folder / WEIGHTS) for base, folder in folders.items()}
    assert len(set(digests.values())) == 2
    for base, digest in digests.items():
        for name in ("initial_images", "samples"):
            assert {
                record.model for record in read_records(project.folder / RESULTS / base / "seed-0" / f"{name}.parquet")
            } == {digest}
    for arm, base in (("none", "base"), ("fed", "base"), ("other", "base-other"), ("other-fed", "base-other")):
        config = json.loads((project.folder / folders[base] / "config.json").read_text())
        for iteration in (1, 2):
            model = cell(project, arm, iteration) / "model"
            assert json.loads((model / "config.json").read_text())["_class_name"] == config["_class_name"]
            drawn_by = {record.model for record in read_records(cell(project, arm, iteration) / "samples.parquet")}
            assert drawn_by == {sha256(model / WEIGHTS)}


@pytest.mark.parametrize(("arm", "other", "base"), [("fed", "other", "base-other"), ("other-fed", "none", "base")])
def test_a_chain_that_is_fed_is_trained_on_the_other_models_images(project, arm, other, base):
    sources = (
        f"{RESULTS}/{base}/seed-0/initial_images.parquet",
        f"{RESULTS}/{other}/ratio-100/seed-0/iteration-1/samples.parquet",
    )
    for iteration, source in enumerate(sources, 1):
        manifest = read_manifest(cell(project, arm, iteration) / "mix.parquet")
        assert (len(manifest), {file for _, file in manifest}) == (20, {source})
        assert {record.origin for record, _ in manifest} == {"generated"}


def test_single_images_of_all_arms_are_compared_in_one_models_features(project):
    commands = project.snakemake(
        "-n",
        "-p",
        "--quiet",
        "host",
        "-F",
        str(cell(project, "other-culled", 1).relative_to(project.folder) / "curated.csv"),
        *OPTIONS,
    ).stdout
    (threshold,) = (line for line in commands.splitlines() if "sifid_threshold.py" in line)
    (culling,) = (line for line in commands.splitlines() if "sifid_cull.py" in line)
    assert "--base-model resources/tiny-diffusion " in threshold
    assert "--base-model models/other " in culling
    assert "--features-model resources/tiny-diffusion " in culling
    assert read_text_csv(cell(project, "other-culled", 1) / "curated.csv")


def test_arms_of_another_model_are_compared_with_its_own_0_percent(project):
    told = {row["statistic"] for row in rows(project, "diagnostics") if row["features"] == "clip"}
    assert told == {f"F({arm},100,I) - F(other,0,I)" for arm in ("other", "other-fed", "other-culled")}
    values = {
        (row["control"], row["ratio"]): float(row["value"])
        for row in rows(project, "metrics")
        if (row["metric"], row["features"], row["set"], row["iteration"]) == ("clip_score", "clip", "samples", "2")
    }
    spread = next(
        float(row["value"])
        for row in rows(project, "metrics")
        if (row["control"], row["metric"], row["set"], row["iteration"])
        == ("base-other", "clip_score_within_group_sd", "samples", "0")
    )
    (captions,) = (
        row for row in rows(project, "diagnostics") if row["statistic"] == "(C(other,0,I) - C(other-fed,100,I)) / s"
    )
    assert float(captions["value"]) == pytest.approx(
        (values["other", "0"] - values["other-fed", "100"]) / spread, rel=1e-6
    )
    # Two seeds too few to decide, and no 0 % of the experiment's own model, which is not compared with another's.
    lacking = "no plain mixture of tiny-diffusion has 0 % at its settings, and another model's does not stand in for it"
    assert [(row["statement"], row["verdict"], row["note"]) for row in rows(project, "claims")[12:]] == [
        ("other collapses on its own images", "undecided", ""),
        ("other collapses on images of tiny-diffusion (other-fed)", "undecided", ""),
        ("images of tiny-diffusion do other less harm than its own (other-fed)", "undecided", ""),
        ("tiny-diffusion collapses on its own images", "not run", lacking),
        ("tiny-diffusion collapses on images of other (fed)", "not run", lacking),
        ("images of other do tiny-diffusion less harm than its own (fed)", "undecided", ""),
    ]


def test_lines_of_figure_3_begin_at_their_own_model(project):
    with open(project.folder / RESULTS / "figures/figure-3.csv", newline="") as file:
        begun = {
            (row["control"], row["ratio"]): float(row["value"])
            for row in csv.DictReader(file)
            if (row["iteration"], row["metric"]) == ("0", "clip_score") and row["kind"] != "floor"
        }
    assert begun["none", "100"] == begun["fed", "100"]
    assert begun["other", "0"] == begun["other-fed", "100"] != begun["none", "100"]


def test_every_image_is_known_and_a_second_run_does_nothing(project):
    sets = [path for path in (project.folder / RESULTS).rglob("*.parquet") if path.name != "mix.parquet"]
    known = set(check_provenance(sets).values())
    assert {
        record for path in (project.folder / RESULTS).rglob("mix.parquet") for record, _ in read_manifest(path)
    } <= known
    assert project.jobs("metrics", *OPTIONS) == {}


def test_another_path_of_the_other_model_reruns_its_arms_and_what_its_images_feed(project):
    tiny.prx(project.folder / "models" / "another", seed=1)
    arms = [
        {**arm, "overrides": {**OTHER, "model": {"path": "models/another"}}} if "overrides" in arm else arm for arm in ARMS
    ]  # fmt: skip
    (project.folder / "another.yaml").write_text(yaml.safe_dump({"arms": arms}))
    jobs = project.jobs("metrics", *OPTIONS, "another.yaml")
    for rule in ("preflight", "encode", "initial_images", "sample_base"):
        assert jobs[rule] == 1, rule
    # Of 11, the two of `none` stay.
    assert jobs["finetune"] == 9
    assert not {"reference", "embed_reference"} & jobs.keys()
