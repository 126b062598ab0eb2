"""The worked example of CONTRIBUTING.md is true: its blocks, put where they belong, make an arm that works."""

import re
import shutil

import numpy as np
import yaml
from conftest import ROOT, SMOKE, Project
from nepotism.colour import saturation
from nepotism.images import read_image_set, read_manifest


def blocks():
    """Code blocks of the page by the place that their first line names."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.findall(r"```\w+\n# ([^\n]+)\n(.*?)```", text, re.DOTALL)
    assert {place for place, _ in found} == {"scripts/desaturate.py", "rules/controls.smk", "$defs", "allOf", "arms"}
    return dict(found)


def test_the_worked_example_of_a_new_type_of_arm(smoke, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(smoke.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("model", "embeddings.npz"))
    project, code = Project(folder), blocks()
    (folder / "scripts" / "desaturate.py").write_text(code["scripts/desaturate.py"])
    with open(folder / "rules" / "controls.smk", "a") as file:
        file.write("\n\n" + code["rules/controls.smk"])
    path = folder / "resources" / "schemas" / "config.schema.yaml"
    schema = path.read_text()
    for before, after in (
        ("$defs:\n", "$defs:\n" + code["$defs"]), ("      allOf:\n", "      allOf:\n" + code["allOf"]),
        ("sifid_cull, heal]", "sifid_cull, heal, desaturate]"),
    ):  # fmt: skip
        assert schema.count(before) == 1
        schema = schema.replace(before, after)
    path.write_text(schema)
    arms = yaml.safe_load((folder / SMOKE[1]).read_text())["arms"] + yaml.safe_load(code["arms"])
    (folder / "grey.yaml").write_text(yaml.safe_dump({"arms": arms}))
    options = (*SMOKE, "grey.yaml")

    cell = "results/smoke/grey/ratio-100/seed-0/iteration"
    jobs = project.jobs(f"{cell}-2/metrics.json", "--rerun-triggers", "code", *options)
    assert (jobs["desaturate"], jobs["finetune"]) == (2, 2)
    project.snakemake("--cores", "1", f"{cell}-1/mix.parquet", *options)
    curated = read_image_set(folder / f"{cell}-1/curated.parquet")
    before = read_image_set(folder / "results/smoke/base/seed-0/seed_images.parquet")
    assert (folder / "results/smoke/benchmarks/desaturate/grey/ratio-100/seed-0/iteration-1.tsv").is_file()
    assert saturation(curated.pixels).max() < 0.02 < np.median(saturation(before.pixels))
    assert {record.parents[0] for record in curated.records} == {record.id for record in before.records}
    assert {record.id for record, _ in read_manifest(folder / f"{cell}-1/mix.parquet")} == {
        r.id for r in curated.records
    }
