"""Chains that feed each other, and ratios above 100, end to end on few digits."""

import csv

import numpy as np
import pytest
import yaml
from ancestry import check_provenance
from conftest import copy_project
from nepotism.data.images import read_manifest, read_records
from nepotism.measure.embeddings import read_embedded

SMALL = {
    "experiment": "small",
    "seeds": [0],
    "iterations": 2,
    "arms": [
        {"name": "left", "regime": "feed", "ratios": [50], "parameters": {"other": "right"}},
        {"name": "right", "regime": "feed", "ratios": [50], "parameters": {"other": "left"},
         "overrides": {"sample": {"guidance_scale": 1.0}}},
        {"name": "more", "regime": "augment", "ratios": [150]},
    ],
    "reference": {"source": "digits", "images_per_group": 2},
    "initial_images": {"num_inference_steps": 2},
    "sample": {"num_inference_steps": 2},
    "finetune": {"epochs": 1},
    "unseen": {"prompts": ["a face"], "images_per_prompt": 1},
}  # fmt: skip
OPTIONS = ("--configfile", "small.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = copy_project(tmp_path_factory.mktemp("feed"))
    (made.folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    made.snakemake("--cores", "2", "metrics", *OPTIONS)
    return made


def folder(project, arm, iteration, ratio=50):
    return project.folder / f"results/small/{arm}/ratio-{ratio}/seed-0/iteration-{iteration}"


def frechet(one, other):
    """By eigenvalues of the product of covariances (Heusel et al.), which the project does not use."""
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (one, other)]
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0)).sum()
    return np.sum((one.mean(0) - other.mean(0)) ** 2) + sum(map(np.trace, covariances)) - 2 * roots


def test_half_of_the_generated_images_are_the_other_chains(project):
    for mine, other in (("left", "right"), ("right", "left")):
        for iteration in (1, 2):
            manifest = read_manifest(folder(project, mine, iteration) / "mix.parquet")
            assert len(manifest) == 20
            own, theirs = (
                {record.slot for record, _ in manifest if record.id.startswith(f"{name}/")} for name in (mine, other)
            )
            if iteration == 2:
                assert (len(own), len(theirs)) == (5, 5)
                assert {record.iteration for record, _ in manifest if record.origin == "generated"} == {1}
                files = {file for record, file in manifest if record.slot in theirs}
                assert files == {f"results/small/{other}/ratio-50/seed-0/iteration-1/samples.parquet"}
    # Guidance decides iteration 0: the other chain begins with images of its own.
    first = {record.id.split("/")[0] for record, _ in read_manifest(folder(project, "left", 1) / "mix.parquet")}
    assert first == {"real", "base", "base-right"}


def test_how_far_two_chains_are_apart_is_scored_from_what_both_drew(project):
    with open(project.folder / "results/small/tables/metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "fid_to_other"]
    assert {(row["control"], row["iteration"], row["set"]) for row in rows} == {
        (arm, iteration, "samples") for arm in ("left", "right") for iteration in "12"
    }
    for row in rows:
        chains = [
            read_embedded(folder(project, arm, row["iteration"]) / "embeddings.npz", "samples")
            for arm in ("left", "right")
        ]
        assert row["n"] == "20"
        expected = frechet(*(each.spaces[row["features"]].astype(float) for each in chains))
        assert float(row["value"]) == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert float(row["value"]) > 0


def test_further_draws_are_other_images_of_the_same_slots_and_half_of_them_are_trained_on(project):
    for iteration, place, name in (
        (1, "base/seed-0", "initial_images"),
        (2, folder(project, "more", 1, 150), "samples"),
    ):
        kept = project.folder / "results/small" / place
        first, further = (read_records(kept / f"{file}.parquet") for file in (name, f"{name}-1"))
        assert [record.slot for record in first] == [record.slot for record in further]
        assert not {record.sha256 for record in first} & {record.sha256 for record in further}
        assert {record.rng.split("/")[2][-2:] for record in further} == {"-1"}
        assert (kept / f"{name}-1.png").is_file()
        manifest = read_manifest(folder(project, "more", iteration, 150) / "mix.parquet")
        assert len(manifest) == 20 + 20 + 10
        drawn = [record for record, file in manifest if file.endswith(f"{name}-1.parquet")]
        assert len(drawn) == 10
        assert {record.id for record in drawn} <= {record.id for record in further}
    assert not (folder(project, "more", 2, 150) / "samples-1.parquet").exists(), "nothing needs them"


def test_every_image_is_known_and_a_second_run_does_nothing(project):
    results = project.folder / "results/small"
    rows = check_provenance([path for path in results.rglob("*.parquet") if path.name != "mix.parquet"])
    assert {record for path in results.rglob("mix.parquet") for record, _ in read_manifest(path)} <= set(rows.values())
    assert project.jobs("metrics", *OPTIONS) == {}


def test_another_share_mixes_anew_and_draws_no_first_image_again(project):
    arms = [
        {**arm, "parameters": {**arm["parameters"], "share": 20}} if "parameters" in arm else arm
        for arm in SMALL["arms"]
    ]
    (project.folder / "share.yaml").write_text(yaml.safe_dump({"arms": arms}))
    jobs = project.jobs("metrics", *OPTIONS, "share.yaml")
    assert (jobs["mix"], jobs["finetune"]) == (4, 4)
    assert not {"initial_images", "initial_draws", "sample_draws"} & jobs.keys()
