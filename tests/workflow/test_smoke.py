"""The smoke experiment end to end, and what a change reruns."""

import csv
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from ancestry import check_provenance
from conftest import ROOT, SMOKE, Project, benchmark
from diffusers import UNet2DConditionModel
from made_up import Parsed, numbers, shown_as
from nepotism.data import watermark
from nepotism.data.images import read_image_set, read_manifest, read_records
from nepotism.data.tables import NAMING
from nepotism.families.diffusion import PROFILE
from nepotism.measure.colour import saturation
from nepotism.measure.metrics import METRICS
from PIL import Image
from safetensors.torch import load_file

RESULTS = "results/smoke"


@pytest.fixture(scope="module")
def results(smoke):
    return smoke.folder / RESULTS


def cells(results):
    return sorted(results.glob("none/ratio-*/seed-0/iteration-*"))


def changed(smoke, **changes):
    """Options for the smoke experiment with further changes laid over it."""
    path = smoke.folder / "changes.yaml"
    path.write_text(yaml.safe_dump(changes))
    return (*SMOKE, str(path))


def test_every_file_of_the_layout_is_there(results):
    names = ["mix.parquet", "model/config.json", "model/diffusion_pytorch_model.safetensors", "losses.csv", "samples.parquet",
             "samples.png", "unseen.parquet", "unseen.png", "embeddings.npz", "metrics.json"]  # fmt: skip
    assert len(cells(results)) == 4
    for cell in cells(results):
        for name in names:
            assert (cell / name).stat().st_size > 0
    for number in range(1, 8):
        for suffix in ("svg", "png", "csv"):
            assert (results / "figures" / f"figure-{number}.{suffix}").stat().st_size > 0
    for control, names in (("histogram_match", []), ("sifid_cull", ["dropped.png"])):
        for name in ["curated.parquet", "curated.csv", *names]:
            assert (results / control / "ratio-100" / "seed-0" / "iteration-2" / name).stat().st_size > 0
    assert json.loads((results / "config.json").read_text())["experiment"] == "smoke"
    assert not list(results.rglob(".*")), "a temporary file was left behind"


def test_the_table_has_a_row_for_every_score(results):
    with open(results / "tables" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    for ratio in ("0", "50"):
        for iteration in ("1", "2"):
            found = [row for row in rows if (row["ratio"], row["iteration"]) == (ratio, iteration)]
            kinds = {(row["set"], row["features"], row["metric"]) for row in found}
            assert {("samples", space, metric) for space in ("clip", "conv") for metric in ("fid", "kid")} < kinds
            assert ("unseen", "clip", "clip_score") in kinds
    base = [row for row in rows if row["control"] == "base"]
    # Its own, and those of later iterations that claims compare with it: the last, and the end of healing.
    assert {row["iteration"] for row in base if row["set"] == "samples"} == {"0", "2"}
    assert {row["set"] for row in base} == {"samples", "unseen", "initial_images", "real", "vae"}
    assert {row["ratio"] for row in base} == {""}
    assert {row["n"] for row in rows if row["metric"] == "fid"} == {"60"}
    assert {row["control"] for row in rows if row["set"] == "curated"} == {"histogram_match", "sifid_cull"}
    assert {row["iteration"] for row in rows if row["control"] == "heal"} == {"2"}
    # No arm of it selects, and no chain is fed by another: tests/workflow/test_selecting.py and test_feed.py have such.
    # Its groups are of equal size.
    others = {name for name in METRICS if name.startswith("selection_")} | {"fid_to_other", "recall_rare_groups"}
    assert {row["metric"] for row in rows} == METRICS.keys() - others
    # Of 60 images of 30 groups, without the first and without the second of every group.
    blocks = table_of(results / "tables" / "jackknife.csv")
    distances = {tuple(row[name] for name in NAMING) for row in rows if row["metric"] == "fid" and row["n"] == "60"}
    kept = [row for row in blocks if row["metric"] == "fid"]
    assert {tuple(row[name] for name in NAMING) for row in kept} == distances
    assert {(row["block"], row["left_out"]) for row in kept} == {("0", "30"), ("1", "30")}
    assert {row["n"] for row in rows if row["metric"] in ("unique_images", "accepted_share")} == {"60"}


def test_drawn_images_are_marked_but_for_unseen_captions(results):
    """Whatever drew them: the base model, a retrained one, or culling; and the table says so."""
    base = results / "base" / "seed-0"
    cell, culled = results / "none/ratio-50/seed-0/iteration-2", results / "sifid_cull/ratio-100/seed-0/iteration-2"
    for file in (base / "initial_images", base / "samples", cell / "samples", culled / "curated"):
        assert (watermark.detect(read_image_set(f"{file}.parquet").pixels, "smoke") > 2.33).mean() > 0.9
    for file in (base / "unseen", cell / "unseen", results / "reference" / "real"):
        assert (watermark.detect(read_image_set(f"{file}.parquet").pixels, "smoke") > 2.33).mean() < 0.3
    rows = table_of(results / "tables" / "metrics.csv")
    rates = [row for row in rows if row["metric"] == "watermark_rate"]
    assert {row["set"] for row in rates} == {"samples", "unseen"}
    assert all((float(row["value"]) > 0.9) == (row["set"] == "samples") for row in rates)


def test_manifests_are_balanced_and_say_where_every_image_is_from(results):
    for cell in cells(results):
        rows = read_manifest(cell / "mix.parquet")
        generated = [record for record, _ in rows if record.origin == "generated"]
        assert len(rows) == 60
        assert len(generated) == (30 if "ratio-50" in str(cell) else 0)
        if generated:
            assert len({record.group for record in generated}) == 30
            first = "iteration-1" in str(cell)
            expected = "initial_images" if first else "iteration-1/samples"
            assert all(expected in record.id for record in generated)
            assert all(record.parents for record in generated) == first
    fifty = [
        {r.slot for r, _ in read_manifest(c / "mix.parquet") if r.origin == "generated"}
        for c in cells(results)
        if "50" in str(c)
    ]
    assert fifty[0] == fifty[1]


def table_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_matched_images_name_both_images_they_were_made_from(results):
    for iteration, source in (
        (1, "base/seed-0/initial_images"),
        (2, "histogram_match/ratio-100/seed-0/iteration-1/samples"),
    ):
        cell = results / f"histogram_match/ratio-100/seed-0/iteration-{iteration}"
        records, rows = read_records(cell / "curated.parquet"), table_of(cell / "curated.csv")
        assert len(records) == len(rows) == 60
        for record, row in zip(records, rows):
            assert record.parents == (row["image"], row["target"])
            assert record.parents[0] == f"{source}/{record.slot}"
            assert record.parents[1].startswith("real/")
        # Closer to the targets' colours than before.
        before, after = (
            sum(abs(float(row[f"saturation_{when}"]) - float(row["saturation_target"])) for row in rows)
            for when in ("before", "after")
        )
        assert after < before
        used = {record.id for record, _ in read_manifest(cell / "mix.parquet")}
        assert used == {record.id for record in records}


def test_every_id_of_the_experiment_is_one_picture_and_every_ancestry_ends(results):
    files = [path for path in results.rglob("*.parquet") if path.name != "mix.parquet"]
    rows = check_provenance(files)
    manifests = {record for path in results.rglob("mix.parquet") for record, _ in read_manifest(path)}
    assert manifests <= set(rows.values())


def test_the_culling_threshold_is_frozen_at_iteration_0(results):
    folder = results / "sifid_cull"
    fixed = json.loads((folder / "seed-0" / "sifid_threshold.json").read_text())
    for iteration in (1, 2):
        rows = table_of(folder / f"ratio-100/seed-0/iteration-{iteration}/curated.csv")
        assert len(rows) == 60
        assert all((float(row["sifid"]) <= fixed["threshold"]) == (row["kept"] == "True") for row in rows)
        if iteration == 1:
            assert np.mean([float(row["sifid"]) for row in rows]) == pytest.approx(fixed["threshold"], rel=1e-6)
            assert 0 < fixed["share_above"] < 1
        records = {r.slot: r for r in read_records(folder / f"ratio-100/seed-0/iteration-{iteration}/curated.parquet")}
        assert len(records) == 60
        for row in rows:
            record = records[row["slot"]]
            # A group without an accepted image keeps its best one.
            assert (record.id == row["image"]) == (row["kept"] == "True" or row["replaced_by"] == row["image"])
            assert row["kept"] == "True" or row["replaced_by"] in (record.id, *record.parents)
    accepted = [
        row
        for row in table_of(results / "tables/metrics.csv")
        if row["metric"] == "accepted_share" and row["control"] == "sifid_cull"
    ]
    kept = [r["kept"] == "True" for r in table_of(folder / "ratio-100/seed-0/iteration-2/curated.csv")]
    assert float(next(r["value"] for r in accepted if r["iteration"] == "2")) == pytest.approx(np.mean(kept))


def test_healing_trains_on_real_images_only(results):
    rows = read_manifest(results / "heal/ratio-50/seed-0/iteration-2/mix.parquet")
    assert len(rows) == 60
    assert {record.origin for record, _ in rows} == {"real"}


def test_every_claim_is_in_the_report(results):
    claims = table_of(results / "tables/claims.csv")
    assert [int(row["claim"]) for row in claims] == [*range(1, 13), 17, 18], (
        "the paper's, and those on what the filter and healing do"
    )
    page = (results / "report/answer.rst").read_text()
    for row in claims:
        assert row["statement"] in page
        assert f"**{row['verdict']}**" in page


def test_the_profile_has_every_arm_and_says_that_one_seed_decides_nothing(results):
    found = table_of(results / "tables/profile.csv")
    arms = {(row["control"], row["ratio"]) for row in found}
    assert arms == {
        ("none", "0"), ("none", "50"), ("histogram_match", "100"), ("sifid_cull", "100"), ("detector", "50"), ("heal", "50"),
    }  # fmt: skip
    told = {score.metric for score in PROFILE} - {"recall_rare_groups"}
    for arm in arms:
        mine = [row for row in found if (row["control"], row["ratio"]) == arm]
        assert {row["metric"] for row in mine} == told
        assert {row["aspect"] for row in mine} == {score.aspect for score in PROFILE}
    assert {row["state"] for row in found} == {"undecided: one seed"}
    assert {row["seeds"] for row in found} == {"1"}
    # Iterations 0 to 2, so that the slope is half of what changed.
    scores = {
        (row["control"], row["ratio"], row["iteration"]): float(row["value"])
        for row in table_of(results / "tables/metrics.csv")
        if (row["set"], row["features"], row["metric"]) == ("samples", "clip", "fid")
    }
    (row,) = [
        r for r in found if [r[c] for c in ("control", "ratio", "features", "metric")] == ["none", "50", "clip", "fid"]
    ]
    changed = {"50": math.log(scores["none", "50", "2"] / scores["base", "", "0"]) / 2}
    changed["0"] = math.log(scores["none", "0", "2"] / scores["base", "", "0"]) / 2
    assert float(row["rate"]) == pytest.approx(changed["50"])
    assert float(row["difference"]) == pytest.approx(changed["50"] - changed["0"])
    assert float(row["margin"]) == pytest.approx(math.log(1.25) / 2)
    # Healing begins at the plain mixture, of whose iterations the 0 % arm has all.
    healed = [row for row in found if row["control"] == "heal"]
    assert {row["iterations"] for row in healed} == {"1"}


def test_the_page_has_every_claim_picture_and_cost(results):
    """Its parts are looked at in tests/unit/test_page.py and tests/browser; these are a run's own numbers."""
    found = Parsed((results / "index.html").read_text())
    costs = [
        row[name]
        for row in table_of(results / "tables/cost.csv")
        for name in ("jobs", "seconds", "cpu_seconds", "peak_memory_mib")
    ]
    parts = table_of(results / "tables/claim_details.csv")
    effects = [row[name] for row in parts for name in ("value", "ci90_low", "ci90_high") if row[name]]
    shown = numbers(found.tables["cost-table"])
    assert [raw for raw, _ in shown] == costs
    assert len(effects) > 20
    for claim in {row["claim"] for row in parts}:
        rows = found.tables[f"Effects of claim {claim}"][1:]
        mine = [row for row in parts if row["claim"] == claim]
        assert [[raw for raw, _ in row[2][1]] for row in rows] == [
            [row[name] for name in ("value", "ci90_low", "ci90_high") if row[name]] for row in mine
        ]
        shown += numbers(rows)
    assert all(shown_as(*number) for number in shown)
    data = json.loads(next(text for text in found.texts["script"] if text.startswith("{")))
    assert [[step[0] for step in each["steps"]] for each in data["conditions"]] == [[0, 1, 2]] * 6
    assert len(data["slots"]) == 60
    assert {name: model["real"] for name, model in data["models"].items() if name.endswith("iteration-2")} == {
        "none/ratio-0/seed-0/iteration-2": 60, "none/ratio-50/seed-0/iteration-2": 30, "heal/ratio-50/seed-0/iteration-2": 60,
        "histogram_match/ratio-100/seed-0/iteration-2": 0, "sifid_cull/ratio-100/seed-0/iteration-2": 0,
        # What the filter left.
        "detector/ratio-50/seed-0/iteration-2": sum(
            record.origin == "real"
            for record, _ in read_manifest(results / "detector/ratio-50/seed-0/iteration-2/filtered.parquet")
        ),
    }  # fmt: skip


def test_the_report_is_one_page_that_loads_nothing_from_outside(smoke):
    smoke.snakemake("--report", f"{RESULTS}/report.html", *SMOKE)
    page = (smoke.folder / RESULTS / "report.html").read_text()
    outside = r"""(?:https?:)?//"""
    loads = rf"""<(?:script|img|iframe|link)[^>]*(?:src|href)=["'](?!data:)|(?:@import|url\()\s*["']?{outside}"""
    found = [page[match.start() : match.start() + 100] for match in re.finditer(loads, page)]
    assert not found
    for text in (
        "What happens when the model is retrained on its own images?",
        "Contact sheets",
        "figure-3.svg",
        "sifid_cull",
    ):
        assert text in page
    (smoke.folder / RESULTS / "report.html").unlink()


def test_samples_name_the_weights_that_made_them(results):
    for cell in cells(results):
        digest = hashlib.sha256((cell / "model/diffusion_pytorch_model.safetensors").read_bytes()).hexdigest()
        records = read_records(cell / "samples.parquet")
        assert {record.model for record in records} == {digest}
        assert {record.iteration for record in records} == {int(cell.name.split("-")[1])}


def test_the_model_loads_like_any_unet(results):
    UNet2DConditionModel.from_pretrained(cells(results)[0] / "model")


def test_losses_are_logged_step_by_step(results):
    with open(cells(results)[0] / "losses.csv") as file:
        rows = list(csv.DictReader(file))
    asked = json.loads((results / "config.json").read_text())["finetune"]
    steps = asked["epochs"] * math.ceil(60 / asked["batch_size"])
    assert [int(row["step"]) for row in rows] == list(range(1, steps + 1))
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert {float(row["lr"]) for row in rows} == {asked["learning_rate"]}


def test_arms_are_paired_by_their_random_streams(results):
    """The same slot and iteration are drawn from the same stream at every ratio."""
    keys = [
        {r.slot: r.rng for r in read_records(c / "samples.parquet")} for c in cells(results) if c.name == "iteration-1"
    ]
    assert keys[0] == keys[1]


def test_a_second_run_does_nothing(smoke):
    assert smoke.jobs(*SMOKE) == {}


def test_touched_files_and_a_new_checkout_rerun_nothing(smoke):
    for folder in ("scripts", "resources", "rules", "envs"):
        for path in (smoke.folder / folder).rglob("*"):
            if path.is_file():
                os.utime(path)
    assert smoke.jobs(*SMOKE) == {}


def test_how_never_reruns_what(smoke):
    options = changed(smoke, execution={"threads": 2, "sample_batch_size": 7, "embed_batch_size": 3, "device": "cpu"})
    assert smoke.jobs(*options) == {}


FIGURES_OF_SCORES = {"figure_3": 1, "figure_7": 1}
TABLES = {
    "metrics_table": 1, "claims": 1, "profile_table": 1, "answer": 1, "page": 1, "remedies": 1, "figure_8": 1, **FIGURES_OF_SCORES,
}  # fmt: skip


def test_a_tracker_adds_its_own_jobs_only(smoke):
    assert smoke.jobs(*SMOKE, "--config", "tracking={log_with: tensorboard}") == {"track": 11}


def test_a_changed_learning_rate_reruns_retraining_and_what_follows(smoke):
    # A manifest or a control of iteration 2 is made anew where it reads images of iteration 1.
    assert smoke.jobs(*changed(smoke, finetune={"learning_rate": 1.0e-4})) == {
        "mix": 4, "histogram_match": 1, "sifid_cull": 1, "filter": 1, "finetune": 11, "sample": 11, "score": 11,
        "figure_2": 1, "figure_4": 1, "figure_6": 1, "figure_9": 1, **TABLES,
    }  # fmt: skip


def test_other_unseen_captions_train_nothing(smoke):
    assert smoke.jobs(*changed(smoke, unseen={"prompts": ["a handwritten digit one"]})) == {
        "score": 11, "score_base": 1, "score_redrawn": 1, "figure_2": 1, **TABLES,
    }  # fmt: skip


def test_another_batch_size_reruns_retraining_and_not_what_was_before(smoke):
    jobs = smoke.jobs(*changed(smoke, finetune={"batch_size": 17}))
    assert jobs["finetune"] == 11
    assert not {"preflight", "encode", "initial_images", "sample_base", "embed_reference"} & set(jobs)


def test_another_base_model_reruns_everything_but_the_reference(smoke):
    """A job that has to run hides changes of those that follow it from Snakemake, unless they are its plain inputs."""
    shutil.copytree(smoke.folder / "resources/tiny-diffusion", smoke.folder / "resources/other", dirs_exist_ok=True)
    jobs = smoke.jobs(*changed(smoke, model={"path": "resources/other"}))
    heavy = ("preflight", "encode", "initial_images", "sample_base", "embed_reference")
    assert {jobs.get(name) for name in heavy} == {1}
    assert (jobs["finetune"], jobs["score"]) == (11, 11)
    assert "reference" not in jobs


def test_a_changed_figure_setting_reruns_figures_only(smoke):
    drawn = {f"figure_{number}": 1 for number in range(1, 10)}
    # The page is made of the table beside figure 3.
    assert smoke.jobs(*changed(smoke, figures={"dpi": 100})) == {**drawn, "page": 1}
    assert smoke.jobs(*changed(smoke, figures={"group": "smiling-red-round"})) == {"figure_1": 1, "figure_5": 1}


def test_a_changed_score_setting_trains_nothing(smoke):
    jobs = smoke.jobs(*changed(smoke, score={"features": ["clip"]}))
    assert set(jobs) == {
        "embed_reference",
        "score",
        "score_base",
        "score_redrawn",
        "vae_round_trips",
        "figure_2",
        *TABLES,
    }


def arms_of_smoke(smoke):
    return yaml.safe_load((smoke.folder / SMOKE[1]).read_text())["arms"]


def test_a_changed_control_reruns_its_own_arm_only(smoke):
    arms = arms_of_smoke(smoke)
    arms[1]["parameters"] = {"bins": 64}
    jobs = smoke.jobs(*changed(smoke, arms=arms))
    assert {name: jobs.get(name) for name in ("histogram_match", "finetune", "sample", "score", "sifid_cull")} == {
        "histogram_match": 2, "finetune": 2, "sample": 2, "score": 2, "sifid_cull": None,
    }  # fmt: skip
    arms = arms_of_smoke(smoke)
    arms[2]["parameters"] = {"pair": "group_mean"}
    jobs = smoke.jobs(*changed(smoke, arms=arms))
    assert (jobs["sifid_threshold"], jobs["sifid_cull"], jobs["finetune"]) == (1, 2, 2)
    assert "histogram_match" not in jobs


def test_an_arm_with_every_knob_runs_and_makes_nothing_else_anew(smoke, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(smoke.folder, folder, symlinks=True)
    project = Project(folder)
    lora = {"rank": 2, "target_modules": ["to_q", "conv_in"]}
    finetune = {"method": "lora", "lora": lora, "learning_rate": 1.0e-2, "steps": 5, "ema": 0.5, "snr_gamma": 5.0}
    sample = {"guidance_schedule": "exponential", "guidance_end": 1.0, "guidance_interval": [0.3, 0.8]}
    knobs = {"name": "knobs", "ratios": [50], "overrides": {"finetune": finetune, "sample": sample}}
    (folder / "knobs.yaml").write_text(yaml.safe_dump({"arms": [*arms_of_smoke(smoke), knobs]}))
    options = (*SMOKE, "knobs.yaml")
    # Guided at other steps, it begins in its own way.
    expected = {
        "initial_images": 1,
        "sample_base": 1,
        "score_base": 1,
        "mix": 2,
        "finetune": 2,
        "sample": 2,
        "score": 2,
    }
    assert expected.items() <= project.jobs(*options).items()
    cell = f"{RESULTS}/knobs/ratio-50/seed-0/iteration-1"
    project.snakemake("--cores", "2", f"{cell}/samples.parquet", *options)
    weights = "model/diffusion_pytorch_model.safetensors"
    found = load_file(folder / cell / weights)
    base = load_file(ROOT / "resources/tiny-diffusion/unet/diffusion_pytorch_model.safetensors")
    assert found.keys() == base.keys()
    changed_layers = {name for name in found if not torch.equal(found[name], base[name])}
    assert {name for name in found if name.endswith(("to_q.weight", "conv_in.weight"))} == changed_layers
    rows = table_of(folder / cell / "losses.csv")
    assert [(row["images"], row["epochs"]) for row in rows][-1] == ("76", str(76 / 60)), (
        "four steps of an epoch, and one more"
    )
    digest = hashlib.sha256((folder / cell / weights).read_bytes()).hexdigest()
    assert {record.model for record in read_records(folder / cell / "samples.parquet")} == {digest}


def test_an_extended_grid_runs_only_its_new_cells(smoke):
    arms = arms_of_smoke(smoke)
    arms[0]["ratios"] = [0, 50, 100]
    assert smoke.jobs(*changed(smoke, arms=arms)) == {
        "mix": 2, "finetune": 2, "sample": 2, "score": 2, "figure_2": 1, **TABLES,
        # From two ratios above 0 on, it can be asked where collapse begins.
        "threshold": 1, "figure_10": 1,
    }  # fmt: skip
    jobs = smoke.jobs(*changed(smoke, iterations=3))
    # A third iteration of two mixtures, two controls and a filter; healing branched off before.
    assert jobs["finetune"] == 5
    assert jobs["redraw_base"] == 1
    assert "reference" not in jobs


def test_a_bumped_stage_version_reruns_that_stage_and_what_follows(smoke):
    grid = smoke.folder / "scripts" / "nepotism" / "experiment" / "stages.py"
    source = grid.read_text()
    try:
        grid.write_text(re.sub(r'"score": \d+', '"score": 99', source))
        assert set(smoke.jobs(*SMOKE)) == {"score", "score_base", "score_redrawn", "figure_2", *TABLES}
        grid.write_text(re.sub(r'"sample": \d+', '"sample": 99', source))
        jobs = smoke.jobs(*SMOKE)
        assert {"sample", "sample_base", "score"} < set(jobs)
        assert not {"reference", "encode", "initial_images"} & set(jobs)
    finally:
        grid.write_text(source)


def test_the_same_inputs_give_the_same_bytes(smoke, tmp_path):
    """One cell again, by the command that Snakemake printed, beside the first."""
    cell = "none/ratio-50/seed-0/iteration-1"
    plan = smoke.snakemake("-n", "-p", "--force", f"{RESULTS}/{cell}/losses.csv", *SMOKE).stdout
    command = next(line[line.index("python ") :] for line in plan.splitlines() if "/finetune.py" in line)
    again = command.replace(f"{RESULTS}/{cell}/model", "again/model").replace(
        f"{RESULTS}/{cell}/losses.csv", "again/losses.csv"
    )
    again = again.replace(f"{RESULTS}/logs", "again/logs").replace(f"$(dirname {RESULTS}", "$(dirname again")
    subprocess.run(again, shell=True, cwd=smoke.folder, check=True, timeout=300, env=environment())
    first = smoke.folder / RESULTS / cell
    assert (smoke.folder / "again/losses.csv").read_bytes() == (first / "losses.csv").read_bytes()
    weights = "model/diffusion_pytorch_model.safetensors"
    assert (smoke.folder / "again" / weights).read_bytes() == (first / weights).read_bytes()
    shutil.rmtree(smoke.folder / "again")


def environment():
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SCRIPTS": "scripts"}


def test_images_are_exported_as_a_folder_that_can_be_read_again(smoke, tmp_path):
    source = smoke.folder / RESULTS / "reference" / "holdout.parquet"
    result = smoke.script("export_images", source, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    with open(tmp_path / "out" / "metadata.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == pq.read_metadata(source).num_rows == 120
    assert Image.open(tmp_path / "out" / rows[0]["file_name"]).size == (64, 64)
    assert {"file_name", "text", "group"} <= set(rows[0])
    again = smoke.script("export_images", source, tmp_path / "out")
    assert again.returncode == 2
    assert "is not empty; give a new folder" in again.stderr


def test_the_summary_prints_every_condition(smoke):
    output = smoke.script("summary", RESULTS).stdout
    assert "Fréchet distance, clip: lower is better, in excess of real against real" in output
    assert "Fréchet distance, conv: lower is better, in excess of real against real" in output
    scores = [
        row for row in table_of(smoke.folder / RESULTS / "tables/metrics.csv")
        if (row["features"], row["metric"]) == ("clip", "fid")
    ]  # fmt: skip
    base, real = (
        next(float(r["value"]) for r in scores if r["set"] == name and r["control"] == "base")
        for name in ("samples", "real")
    )
    line = next(line for line in output.splitlines() if line.strip().startswith("50 %"))
    assert float(line.split()[2]) == pytest.approx(base - real, rel=1e-3)
    assert f"{real:.4g} (taken off)" in output
    assert output.startswith("smoke: means of ")
    # Distances in two spaces; the score of captions, and recall in two spaces.
    assert (output.count("real vs real"), output.count("real images")) == (2, 3)
    fifty = [line.split() for line in output.splitlines() if line.strip().startswith("50 %")]
    assert len(fifty) == 3
    assert all(len(words) == 5 for words in fifty)  # "50", "%", base and two iterations
    for name in ("histogram_match 100 %", "sifid_cull 100 %", "heal 50 %"):
        assert output.count(name) == 3
    missing = smoke.script("summary", "results/nothing")
    assert missing.returncode == 2
    assert "there is no results/nothing/tables/metrics.csv" in missing.stderr


def contributing():
    """Code blocks of CONTRIBUTING.md by the place that their first line names."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding a regime")[0]
    found = re.findall(r"```\w+\n# ([^\n]+)\n(.*?)```", text, re.DOTALL)
    assert {place for place, _ in found} == {
        "scripts/nepotism/controls/desaturate.py", "scripts/desaturate.py", "rules/controls.smk", "arms",
    }  # fmt: skip
    return dict(found)


def test_what_is_published_is_whole_and_of_this_configuration(smoke):
    published, packed = smoke.folder / "results/smoke/publish", smoke.folder / "results/smoke/publish.zip"
    try:
        done = smoke.script("publish", "results/smoke")
        assert done.returncode == 0, done.stderr
        crate = json.loads((published / "ro-crate-metadata.json").read_text())
        assert "creativeWorkStatus" not in crate["@graph"][0]
        assert (published / "tables" / "claims.csv").read_text() == (
            smoke.folder / "results/smoke/tables/claims.csv"
        ).read_text()
        place = str(smoke.folder).encode()
        assert not [path for path in published.rglob("*") if path.is_file() and place in path.read_bytes()]
        file = smoke.folder / "results/smoke/config.json"
        before = file.read_text()
        try:
            # As if a run with another key had been interrupted.
            file.write_text(json.dumps({**json.loads(before), "iterations": 3}))
            done = smoke.script("publish", "results/smoke")
            assert done.returncode == 2
            assert "is not finished" in done.stderr
            learned = json.loads(before)
            learned["finetune"]["learning_rate"] *= 2
            file.write_text(json.dumps(learned))
            done = smoke.script("publish", "results/smoke")
            assert done.returncode == 2
            assert "Snakemake would still run" in done.stderr
            assert "finetune" in done.stderr
        finally:
            file.write_text(before)
    finally:
        shutil.rmtree(published, ignore_errors=True)
        packed.unlink(missing_ok=True)


def test_the_worked_example_of_a_new_control_is_true(smoke, tmp_path):
    """The blocks of CONTRIBUTING.md, put where they belong, make an arm that works."""
    folder = tmp_path / "project"
    shutil.copytree(smoke.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("model", "embeddings.npz"))
    project, code = Project(folder), contributing()
    for place in ("scripts/nepotism/controls/desaturate.py", "scripts/desaturate.py"):
        (folder / place).write_text(code[place])
    with open(folder / "rules" / "controls.smk", "a") as file:
        file.write("\n\n" + code["rules/controls.smk"])
    arms = yaml.safe_load((folder / SMOKE[1]).read_text())["arms"] + yaml.safe_load(code["arms"])
    (folder / "grey.yaml").write_text(yaml.safe_dump({"arms": arms}))
    options = (*SMOKE, "grey.yaml")

    cell = "results/smoke/grey/ratio-100/seed-0/iteration"
    jobs = project.jobs(f"{cell}-2/metrics.json", "--rerun-triggers", "code", *options)
    assert (jobs["desaturate"], jobs["finetune"]) == (2, 2)
    project.snakemake("--cores", "1", f"{cell}-1/mix.parquet", *options)
    curated = read_image_set(folder / f"{cell}-1/curated.parquet")
    before = read_image_set(folder / "results/smoke/base/seed-0/initial_images.parquet")
    assert (folder / "results/smoke/benchmarks/desaturate/grey/ratio-100/seed-0/iteration-1.tsv").is_file()
    assert saturation(curated.pixels).max() < 0.02 < np.median(saturation(before.pixels))
    assert {record.parents[0] for record in curated.records} == {record.id for record in before.records}
    assert {record.id for record, _ in read_manifest(folder / f"{cell}-1/mix.parquet")} == {
        r.id for r in curated.records
    }


def test_the_worked_example_of_a_new_view_is_true(smoke, tmp_path):
    """The blocks of CONTRIBUTING.md, put where they belong, make a figure."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding a view")[1].split("\n## ")[0]
    code = dict(re.findall(r"```\w+\n# ([^\n]+)\n(.*?)```", text, re.DOTALL))
    assert code.keys() == {"scripts/figure_11.py", "rules/figures.smk", "resources/report/figure_11.rst", "settings"}
    folder = tmp_path / "project"
    shutil.copytree(smoke.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("model", "embeddings.npz"))
    for place in ("scripts/figure_11.py", "resources/report/figure_11.rst"):
        (folder / place).write_text(code[place])
    with open(folder / "rules" / "figures.smk", "a") as file:
        file.write("\n\n" + code["rules/figures.smk"])
    settings = folder / "scripts" / "nepotism" / "plan" / "settings.py"
    before = '        case "figure_4" | "figure_6" | "figure_9":\n'
    assert settings.read_text().count(before) == 1
    settings.write_text(settings.read_text().replace(before, code["settings"] + before))
    figure = f"{RESULTS}/figures/figure-11.svg"
    Project(folder).snakemake(figure, "--cores", "1", "--allowed-rules", "figure_11", *SMOKE)
    with open((folder / figure).with_suffix(".csv"), newline="") as file:
        cells = {row["cell"] for row in csv.DictReader(file)}
    assert len(cells) == 11
    assert "<svg" in (folder / figure).read_text()


def test_the_benchmarks_of_a_finished_experiment_run(results):
    benchmark("light_steps.py", results, "--runs", 1)
    said = benchmark("compute_share.py", results, "--wall", 300)
    assert 10 < float(re.search(r"models computed (\d+)% of its cores' time", said)[1]) <= 100


def test_a_killed_retraining_leaves_nothing_and_is_made_again_with_the_same_bytes(smoke):
    """SIGKILL to the whole run while the U-Net is being trained."""
    cell = f"{RESULTS}/none/ratio-50/seed-0/iteration-2"
    weights = smoke.folder / cell / "model" / "diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "snakemake"), "--cores", "1", "--force", str(weights.relative_to(smoke.folder)), *SMOKE],
        cwd=smoke.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    log = smoke.folder / RESULTS / "logs/finetune/none/ratio-50/seed-0/iteration-2.log"
    before_run = time.time()
    while process.poll() is None and not (
        log.exists() and log.stat().st_mtime > before_run and "encoding" in log.read_text()
    ):
        time.sleep(0.05)
    # The job is a fork of a process that had its imports done, and goes with the run.
    jobs = [each for each in psutil.process_iter(["name", "cwd"]) if each.info["cwd"] == str(smoke.folder)]
    forks = [each for each in jobs if each.info["name"].startswith("for ")]
    assert len(forks) == (sys.platform == "linux")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert psutil.wait_procs(jobs, timeout=20)[1] == []
    assert not weights.exists()
    locked = smoke.snakemake("--cores", "1", *SMOKE, check=False)
    assert "--unlock" in locked.stdout + locked.stderr
    smoke.snakemake("--unlock", *SMOKE)
    smoke.snakemake("--cores", "2", "--rerun-incomplete", str(weights.relative_to(smoke.folder)), *SMOKE)
    smoke.snakemake("--cores", "2", *SMOKE)
    assert weights.read_bytes() == before
    assert smoke.jobs(*SMOKE) == {}
