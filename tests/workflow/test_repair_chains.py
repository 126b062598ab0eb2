"""Repairs in the DAG: what their jobs read, and a small experiment of them from end to end."""

import re

import numpy as np
import pytest
from nepotism.data.images import read_image_set, read_manifest, read_records
from nepotism.data.tables import read_text_csv
from safetensors.numpy import load_file
from test_dag import arms, config

CELL = "results/faces/{}/ratio-100/seed-0/iteration-{}".format
WEIGHTS = "model/diffusion_pytorch_model.safetensors"


def repair(name, regime, **parameters):
    return {"name": name, "regime": regime, "ratios": [100], "parameters": {"after": 1, **parameters}}


def planned(project, *arguments):
    """The inputs of every file that a dry run would make."""
    said = project.snakemake("-n", *arguments).stdout
    inputs = {}
    for block in re.findall(r"^(?:local)?rule \w+:\n((?:    .+\n)+)", said, re.MULTILINE):
        read, made = (re.search(rf"^    {kind}: (.+)$", block, re.MULTILINE) for kind in ("input", "output"))
        for file in made[1].split(", ") if made else []:
            inputs[file] = read[1].split(", ") if read else []
    return inputs


def ancestors(inputs, file):
    found = set()
    front = {file}
    while front:
        found |= front
        front = {each for name in front for each in inputs.get(name, [])} - found
    return found


def test_repairs_read_their_branch_and_nothing_of_the_holdout(project):
    repairs = [
        repair("neon", "neon", iterations=2),
        repair("sims", "sims"),
        repair("dose", "heal", iterations=1, share=10),
    ]
    options = config(project, iterations=1, arms=[*arms(100), *repairs])
    inputs = planned(project, *options)
    branch, neon, sims = CELL("none", 1), CELL("neon", 2), CELL("sims", 2)
    assert f"{branch}/samples.parquet" in inputs[f"{neon}/mix.parquet"]
    assert f"{branch}/{WEIGHTS}" in inputs[f"{neon}/{WEIGHTS}"]
    assert f"{neon}/samples.parquet" in inputs[f"{CELL('neon', 3)}/mix.parquet"]
    for made in ("samples.parquet", "metrics.json"):
        assert {f"{branch}/{WEIGHTS}", f"{sims}/{WEIGHTS}"} <= set(inputs[f"{sims}/{made}"])
        assert f"{branch}/{WEIGHTS}" not in inputs[f"{neon}/{made}"]
    held_out = {"results/faces/reference/holdout.parquet", "results/faces/reference/embeddings.npz"}
    for cell in (CELL("neon", 3), sims, CELL("dose", 2)):
        read = ancestors(inputs, f"{cell}/samples.parquet")
        assert "results/faces/reference/real.parquet" in read
        assert not read & held_out, cell
        assert not [file for file in read if file.endswith(("metrics.json", "metrics.csv"))]
        assert held_out <= ancestors(inputs, f"{cell}/metrics.json"), "only scores look at it"
    assert not [
        file for file in ancestors(inputs, f"{CELL('dose', 2)}/{WEIGHTS}") if "none" in file and "samples" in file
    ]


def test_a_repair_of_a_cell_that_is_not_there_stops_before_anything_runs(project):
    options = config(project, iterations=1, arms=[*arms(25), repair("neon", "neon")])
    result = project.snakemake("-n", *options, check=False)
    assert "neon goes on from the arm 'none', which has no ratio 100" in result.stdout + result.stderr


@pytest.fixture(scope="module")
def repaired(tmp_path_factory):
    """A small experiment of every repair, on digits."""
    from conftest import copy_project

    project = copy_project(tmp_path_factory.mktemp("repaired"))
    small = {
        "iterations": 1,
        "arms": [
            *arms(100), repair("neon0", "neon", weight=0), repair("neon", "neon", weight=1.5),
            repair("sims0", "sims", weight=0), repair("sims", "sims"),
            repair("dose", "heal", iterations=1, share=10) | {"overrides": {"finetune": {"learning_rate": 1.0e-5}}},
        ],
        "reference": {"source": "digits", "images_per_group": 2},
        "initial_images": {"num_inference_steps": 3},
        "sample": {"num_inference_steps": 3},
        "finetune": {"epochs": 2, "batch_size": 8},
        "unseen": {"prompts": ["a portrait"], "images_per_prompt": 2},
    }  # fmt: skip
    cells = [CELL(arm["name"], 2) for arm in small["arms"][1:]]
    options = ["--cores", "2", *(f"{cell}/metrics.json" for cell in cells), *config(project, **small)]
    project.snakemake(*options)
    return project, options


def test_every_repair_is_made_drawn_and_scored(repaired):
    project, options = repaired
    assert project.jobs(*options) == {}

    def of(name, iteration=2):
        return project.folder / CELL(name, iteration)

    before, after = (load_file(of(*cell) / WEIGHTS) for cell in (("none", 1), ("sims", 2)))
    merged = load_file(of("neon") / WEIGHTS)
    for name, tensor in merged.items():
        # The copy of sims and that of neon are one retraining.
        np.testing.assert_allclose(tensor, 2.5 * before[name] - 1.5 * after[name], rtol=1e-4, atol=1e-6)
    assert (of("neon0") / WEIGHTS).read_bytes() == (of("none", 1) / WEIGHTS).read_bytes()
    assert (of("sims0") / WEIGHTS).read_bytes() == (of("sims") / WEIGHTS).read_bytes()

    for images in ("samples", "unseen"):
        neon, sims, steered = (
            read_image_set(of(name) / f"{images}.parquet").pixels for name in ("neon0", "sims0", "sims")
        )
        # The branch's model with the noise of the next iteration, either way.
        assert neon.tobytes() == sims.tobytes()
        assert not np.array_equal(sims, steered)
    assert len({read_records(of(name) / "samples.parquet")[0].model for name in ("neon0", "sims0", "sims")}) == 2

    rows = [record for record, _ in read_manifest(of("neon") / "mix.parquet")]
    assert {record.id for record in rows} == {record.id for record in read_records(of("none", 1) / "samples.parquet")}
    dose = [record for record, _ in read_manifest(of("dose") / "mix.parquet")]
    assert [record.origin for record in dose] == ["real"] * 2
    spent = {name: read_text_csv(of(name) / "losses.csv")[-1] for name in ("neon", "dose")}
    assert [(row["step"], row["images"]) for row in spent.values()] == [("6", "40")] * 2
    assert [float(row["epochs"]) for row in spent.values()] == [2, 20]
