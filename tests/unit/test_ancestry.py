"""Every id stands for one picture, and following parents ends at real images or at images drawn from noise."""

import argparse
import contextlib
import json
from types import SimpleNamespace

import histogram_match
import numpy as np
import pytest
import sifid_cull
from ancestry import check_provenance
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nepotism.controls.sifid_cull.sifid import SifidScores
from nepotism.data.images import Record, digest, read_image_set, read_records, write_image_set
from nepotism.data.tables import read_text_csv
from nepotism.families.diffusion import sampling
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError

SIDE = 4
SETTINGS = {
    "base_model": "base", "model": None, "parent_model": None, "negative_weight": None, "guidance_interval": None, "device": "cpu",
    "threads": 1, "stage_version": 1, "guidance_scale": 1.0,
    "num_inference_steps": 1, "scheduler": "s", "precision": "fp32", "resolution": SIDE, "compile": False,
    "sample_batch_size": 1, "seed": 0, "watermark": None,
    "features": "vae", "features_model": None, "inception": None, "inception_sha256": None, "pair": "slot",
}  # fmt: skip
JOB = SimpleNamespace(checkpoints=lambda name, **decisive: None, check=lambda: None)


def pictures_of(pipeline, prompts, keys, *settings, **options):
    """What stands for drawing: another picture for every random stream."""
    return np.stack([streams.generator(*key).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8) for key in keys])


def fake(monkeypatch):
    monkeypatch.setattr(sampling, "sample", pictures_of)
    monkeypatch.setattr(sampling, "load_pipeline", lambda *settings: None)
    monkeypatch.setattr(sampling, "identity", lambda base: "base")
    monkeypatch.setattr(sampling, "denoiser_digest", lambda base, model: "digest")
    for name in ("start", "extractor", "read_real"):
        monkeypatch.setattr(sifid_cull, name, lambda *settings: None)
    monkeypatch.setattr(sifid_cull, "all_patches", lambda extract, pixels, device, label: pixels)


def world(folder, groups, arguments, iteration):
    """Real images, and what the base model made of them or drew."""
    records = [
        Record(f"real/{group}/{index}", "p", f"g{group}", f"g{group}/{index:03d}", "real")
        for group, size in enumerate(groups)
        for index in range(size)
    ]
    write_image_set(folder / "real.parquet", pictures_of(None, None, [("real", r.slot) for r in records]), records)
    real = read_image_set(folder / "real.parquet")
    name = "initial_images" if iteration == 1 else "samples"
    cell = argparse.Namespace(**{**vars(arguments), "cell": "none/iteration-1" if iteration == 2 else "base/seed-0"})
    drawer = sampling.Drawer(cell, None, JOB)
    wanted = sampling.per_slot(real.records, 0, iteration - 1, name)
    drawn = drawer.draw(name, wanted, iteration - 1, real if iteration == 1 else None)
    write_image_set(folder / "generated.parquet", drawn.pixels, drawn.records)


@given(
    groups=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    replacement=st.sampled_from(["regenerate", "duplicate_kept", "drop"]),
    tries=st.integers(1, 4),
    acceptance=st.floats(0.0, 1.0),
    hopeless=st.sets(st.integers(0, 3)),
    iteration=st.sampled_from([1, 2]),
    salt=st.integers(0, 2**20),
)
@example(groups=[2, 3], replacement="regenerate", tries=4, acceptance=0.9, hopeless={1}, iteration=2, salt=1)
@example(groups=[2, 3], replacement="duplicate_kept", tries=4, acceptance=0.9, hopeless={1}, iteration=1, salt=1)
@settings(deadline=None, max_examples=80)
def test_whatever_culling_decides_an_id_is_one_picture_and_ancestry_ends(
    tmp_path_factory, groups, replacement, tries, acceptance, hopeless, iteration, salt
):
    folder = tmp_path_factory.mktemp("culled")
    with pytest.MonkeyPatch.context() as monkeypatch:
        fake(monkeypatch)

        def score(pixels, records, statistics, real_records, pair):
            values = np.array([streams.generator(salt, digest(image)).random() for image in pixels])
            values += [10.0 * (int(record.group[1:]) in hopeless) for record in records]
            return SifidScores(values, values)

        monkeypatch.setattr(sifid_cull, "score", score)
        arguments = argparse.Namespace(
            **SETTINGS, cell=f"culled/iteration-{iteration}", iteration=iteration, ratio="100", replacement=replacement,
            tries=tries, strength=0.8 if iteration == 1 else None, threshold=folder / "threshold.json", statistics=None,
            generated=folder / "generated.parquet", real=folder / "real.parquet", output=folder / "curated.parquet",
            table=folder / "curated.csv", sheet=folder / "dropped.png",
        )  # fmt: skip
        world(folder, groups, arguments, iteration)
        arguments.threshold.write_text(json.dumps({"threshold": acceptance}))
        with contextlib.suppress(UserError):
            sifid_cull.judge_and_replace(arguments, JOB)
    if not arguments.output.exists():
        return
    rows = check_provenance([arguments.real, arguments.generated, arguments.output])
    curated = {record.slot: record for record in read_records(arguments.output)}
    judged = {record.slot: record for record in read_records(arguments.generated)}
    for verdict in read_text_csv(arguments.table):
        assert verdict["image"] == judged[verdict["slot"]].id
        if verdict["kept"] == "True":
            assert curated[verdict["slot"]] == judged[verdict["slot"]]
            assert verdict["replaced_by"] == ""
        elif replacement == "drop":
            assert verdict["slot"] not in curated
            assert verdict["replaced_by"] == ""
        else:
            row, source = curated[verdict["slot"]], rows[verdict["replaced_by"]]
            assert row.sha256 == source.sha256
            assert row == source or row.parents == (source.id,)
            assert source.group == verdict["group"]


@pytest.mark.parametrize("iteration", [1, 2])
def test_matched_images_descend_from_both_images(tmp_path, monkeypatch, iteration):
    fake(monkeypatch)
    arguments = argparse.Namespace(
        **SETTINGS, cell=f"matched/iteration-{iteration}", iteration=iteration, ratio="50",
        strength=0.8 if iteration == 1 else None, direction="generated_to_real",
        bins=16, epsilon=1e-6, generated=tmp_path / "generated.parquet", real=tmp_path / "real.parquet",
        output=tmp_path / "curated.parquet", table=tmp_path / "curated.csv",
    )  # fmt: skip
    world(tmp_path, [4, 4], arguments, iteration)
    histogram_match.run(arguments)
    check_provenance([arguments.real, arguments.generated, arguments.output])


def test_a_control_at_ratio_0_says_that_there_is_nothing_to_treat(tmp_path):
    arguments = argparse.Namespace(**SETTINGS, iteration=1, strength=None)
    with pytest.MonkeyPatch.context() as monkeypatch:
        fake(monkeypatch)
        world(tmp_path, [2], argparse.Namespace(**vars(arguments), cell="c"), 1)
    real = read_records(tmp_path / "real.parquet")
    with pytest.raises(UserError, match="at ratio 0 no generated image is mixed in"):
        histogram_match.read_treated(tmp_path / "generated.parquet", real, "0", 0)


def test_an_image_that_is_its_own_parent_is_not_written(tmp_path):
    record = Record("x", "", "", "g/000", "generated", parents=("x",))
    with pytest.raises(ValueError, match="x is named as its own parent"):
        write_image_set(tmp_path / "x.parquet", np.zeros((1, 4, 4, 3), np.uint8), [record])
