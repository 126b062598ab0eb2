"""The same DAG on real handwritten digits and on folders of real photographs."""

import csv
import re

import numpy as np
import pytest
import skimage.data
import yaml
from conftest import ROOT, copy_project
from nepotism.data.images import read_image_set, read_manifest
from PIL import Image
from skimage.io import imsave

SMALL = {
    "seeds": [0],
    "iterations": 1,
    "arms": [{"name": "none", "ratios": [50]}],
    "initial_images": {"num_inference_steps": 2},
    "finetune": {"epochs": 1},
    "sample": {"num_inference_steps": 2},
    "unseen": {"images_per_prompt": 2},
}


def run(project, **changes):
    path = project.folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return project.snakemake("--cores", "2", "--configfile", str(path), check=False)


def scores(project, experiment):
    with open(project.folder / f"results/{experiment}/tables/metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_real_handwritten_digits_with_an_arm_that_samples_otherwise_and_one_that_drops_images(project):
    guided = {"name": "guided", "ratios": [50], "overrides": {"sample": {"guidance_scale": 2.0}}}
    drop = {"name": "drop", "control": "sifid_cull", "ratios": [100], "parameters": {"replacement": "drop"}}
    result = run(
        project,
        experiment="digits-small",
        arms=[*SMALL["arms"], guided, drop],
        reference={"source": "digits", "images_per_group": 4},
        finetune={"epochs": 1, "random_flip": False},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    rows = scores(project, "digits-small")
    assert all(np.isfinite(float(row["value"])) for row in rows)
    plain = [row for row in rows if row["control"] != "drop"]
    assert {row["n"] for row in plain if row["metric"] == "fid"} == {"40"}
    # Its own iteration 0: other samples, but the same img2img images, whose settings it leaves as they are.
    own, shared = (
        {
            row["set"]: row["value"]
            for row in rows
            if row["control"] == base and (row["metric"], row["features"]) == ("fid", "conv")
        }
        for base in ("base-guided", "base")
    )
    assert own["initial_images"] == shared["initial_images"]
    assert own["samples"] != shared["samples"]
    # What was dropped is not trained on.
    cell = project.folder / "results/digits-small/drop/ratio-100/seed-0/iteration-1"
    kept = [row["kept"] == "True" for row in csv.DictReader((cell / "curated.csv").open())]
    assert 0 < sum(kept) < len(kept) == 40
    assert len(read_manifest(cell / "mix.parquet")) == sum(kept)
    summary = project.script("summary", "results/digits-small").stdout
    assert "guided 50 %" in summary
    assert "base-guided" not in summary


@pytest.mark.slow
def test_a_folder_of_real_faces_and_photographs(project):
    """Two groups: real small faces, and patches of scikit-image's real photographs."""
    images = project.folder / "photographs"
    rng = np.random.default_rng(0)
    for index, face in enumerate(skimage.data.lfw_subset()[:16]):
        path = images / "face" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        imsave(path, (face * 255).astype(np.uint8), check_contrast=False)
    photographs = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]
    for index in range(16):
        photograph = photographs[index % 4]
        y, x = (int(rng.integers(0, size - 120)) for size in photograph.shape[:2])
        path = images / "photograph" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[y : y + 110, x : x + 120]).save(path)
    result = run(
        project,
        experiment="photographs",
        reference={"source": "folder", "images_per_group": 4, "folder": {"path": "photographs"}},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    rows = scores(project, "photographs")
    assert {row["n"] for row in rows if row["metric"] == "fid"} == {"8"}


def test_a_bad_folder_stops_the_run_with_all_its_mistakes_before_any_training(project):
    (project.folder / "photographs" / "face").mkdir(parents=True)
    (project.folder / "photographs" / "face" / "0.png").write_bytes(b"broken")
    result = run(
        project,
        experiment="bad",
        reference={"source": "folder", "images_per_group": 4, "folder": {"path": "photographs"}},
    )
    assert result.returncode
    log = (project.folder / "results/bad/logs/reference.log").read_text()
    for text in (log, result.stderr + result.stdout):
        assert "face/0.png: cannot be read as an image" in text
        assert "group 'face': 0 usable distinct images, but 8 are needed" in text
    assert not list((project.folder / "results/bad").rglob("*.parquet"))


def test_a_ratio_without_any_image_stops_in_the_reference_rule(project):
    arm = {"name": "none", "ratios": [0.1]}
    result = run(project, experiment="few", reference={"images_per_group": 2}, arms=[arm])
    assert result.returncode
    assert "`arms.ratios`: 0.1 % of 60 slots is no image at all" in result.stderr + result.stdout


def test_the_worked_example_of_a_new_source_is_true(tmp_path):
    """The blocks of CONTRIBUTING.md, put where they belong, make a source whose splits are disjoint."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding a source")[1].split("\n## ")[0]
    code = dict(re.findall(r"```\w+\n# ([^\n]+)\n(.*?)```", text, re.DOTALL))
    module = "scripts/nepotism/sources/stripes.py"
    assert code.keys() == {module, "SOURCES", "reference", "defaults"}
    project = copy_project(tmp_path)

    def insert(name, after, new):
        path = project.folder / name
        assert path.read_text().count(after) == 1
        path.write_text(path.read_text().replace(after, after + new))

    (project.folder / module).write_text(code[module])
    # On a line of their own, and before what stands there.
    insert("scripts/nepotism/sources/reference.py", "SOURCES = {", "\n" + code["SOURCES"])
    insert("resources/schemas/config.schema.yaml", "enum: [portraits, ", "stripes, ")
    insert("resources/schemas/config.schema.yaml", "enum: [holdout, develop]\n", code["reference"])
    insert("workflow_config.yaml", "  scoring_split: holdout\n", code["defaults"])
    real = "results/stripes/reference/real.parquet"
    project.snakemake("--cores", "1", real, "--config", "experiment=stripes", "reference={source: stripes}")
    images, others = (read_image_set(tmp_path / real.replace("real", name)) for name in ("real", "holdout"))
    assert [record.group for record in images.records] == ["lying"] * 3 + ["standing"] * 3
    assert len(others.records) == 2 * 2 * 3
    assert not {each.sha256 for each in images.records} & {each.sha256 for each in others.records}
    assert images.records[0].prompt == "lying stripes"
    assert (images.pixels[0] == images.pixels[0][:, :1]).all()
