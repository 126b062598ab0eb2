"""An experiment whose arms select among draws, from end to end."""

import pytest
import yaml
from nepotism.data.images import read_manifest, read_records
from nepotism.data.tables import read_metrics, read_text_csv
from nepotism.measure.metrics import METRICS

EXPERIMENT = {
    "experiment": "selecting",
    "seeds": [0],
    "iterations": 2,
    "arms": [
        {
            "name": "select",
            "control": "select_draws",
            "ratios": [100],
            "parameters": {"draws": 3, "rule": "top_quantile"},
        },
        {
            "name": "varied",
            "regime": "accumulate",
            "control": "select_draws",
            "ratios": [100],
            "iterations": 1,
            "parameters": {"draws": 2, "rule": "threshold_decay", "score": "contrast"},
        },
    ],
    "reference": {"source": "digits", "images_per_group": 2},
    "initial_images": {"num_inference_steps": 2},
    "finetune": {"epochs": 1},
    "sample": {"num_inference_steps": 2},
    "unseen": {"images_per_prompt": 1},
}
CELL = "results/selecting/select/ratio-100/seed-0/iteration"


def options(project):
    path = project.folder / "selecting.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    return ("--configfile", str(path))


def test_its_jobs_are_those_of_its_arms(project):
    chosen = options(project)
    jobs = project.jobs(*chosen)
    assert (jobs["select_draws"], jobs["finetune"], jobs["sample"]) == (3, 3, 3)
    jobs = project.jobs(f"{CELL}-2/curated.csv", *chosen)
    assert jobs == {
        "reference": 1, "preflight": 1, "encode": 1, "initial_images": 1, "select_draws": 2, "mix": 1, "finetune": 1, "sample": 1,
    }  # fmt: skip
    jobs = project.jobs(f"{CELL}-1/curated.parquet", *chosen)
    assert jobs == {"reference": 1, "preflight": 1, "initial_images": 1, "select_draws": 1}


@pytest.mark.slow
def test_selected_images_are_trained_on_and_what_selection_did_is_scored(project):
    chosen = options(project)
    metrics = [
        f"{CELL}-1/metrics.json",
        f"{CELL}-2/metrics.json",
        f"{CELL}-1/metrics.json".replace("select/", "varied/"),
    ]
    project.snakemake("--cores", "2", *metrics, *chosen)
    of_selection = {name for name in METRICS if name.startswith("selection_")}
    for file in metrics:
        found = {row.metric: row.value for row in read_metrics(project.folder / file) if row.set == "curated"}
        assert of_selection < found.keys()
        assert found["unique_images"] == 20
        assert 1 <= found["selection_groups_chosen"] <= 10
        if "/select/" in file:
            assert found["selection_score_chosen"] > found["selection_score_pool"]
            # Scored by the same CLIP: of the images that were kept, the mean is that of their table.
            assert found["clip_score"] == pytest.approx(found["selection_score_chosen"], rel=1e-4)
    for iteration in (1, 2):
        cell = project.folder / f"{CELL}-{iteration}"
        curated = read_records(cell / "curated.parquet")
        assert {record.id for record, _ in read_manifest(cell / "mix.parquet")} == {record.id for record in curated}
        assert [row["image"] for row in read_text_csv(cell / "curated.csv")] == [record.id for record in curated]
    assert project.jobs(*metrics, *chosen) == {}
