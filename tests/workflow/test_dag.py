"""What Snakemake plans: job counts, single targets, advice. Nothing is computed here."""

import ast
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import packages_distributions

import pytest
import yaml
from conftest import ROOT, SMOKE
from pin_packages import direct

CELL = "results/faces/none/ratio-25/seed-0/iteration-3"
PRETRAINING_FOLDER = ROOT / "resources" / "pretrain"


def config(project, **changes):
    """An experiment file of one seed with ``changes``; returns the options that use it."""
    path = project.folder / "changes.yaml"
    path.write_text(yaml.safe_dump({"seeds": [0]} | changes))
    return ("--configfile", str(path))


def arms(*ratios):
    return [{"name": "none", "ratios": list(ratios)}]


def test_the_default_grid(project):
    """Four seeds of 0, 25 and 100 % with none, both controls and healing at 100 %, three iterations each."""
    cells = 4 * (3 * 3 + 2 * 3 + 3)
    assert project.jobs() == {
        "reference": 1, "preflight": 1, "encode": 1, "embed_reference": 1, "initial_images": 4,
        "sample_base": 4, "score_base": 4, "redraw_base": 8, "score_redrawn": 8,
        "sifid_threshold": 4, "histogram_match": 12, "sifid_cull": 12,
        "mix": cells, "finetune": cells, "sample": cells, "score": cells,
        "metrics_table": 1, "claims": 1, "profile_table": 1, "answer": 1, "threshold": 1, "page": 1,
        **{f"figure_{number}": 1 for number in (*range(1, 8), 10)},
    }  # fmt: skip


HEAL = {"name": "heal", "regime": "heal", "ratios": [25], "parameters": {"after": 5, "iterations": 5}}


def test_the_papers_grid_has_45_retrainings_per_seed(project):
    controls = [{"name": name, "control": name, "ratios": [100]} for name in ("histogram_match", "sifid_cull")]
    paper = {"iterations": 5, "arms": [*arms(0, 3.3, 10, 25, 50, 100), *controls, HEAL]}
    assert project.jobs(*config(project, **paper))["finetune"] == 45
    assert project.jobs(*config(project, **paper, seeds=[0, 1]))["finetune"] == 90


def test_faces_full_has_the_papers_retrainings_and_its_diagnostics(project):
    jobs = project.jobs("--configfile", "resources/experiments/faces-full.yaml")
    # Healing starts from two ratios; the diagnostic has its own 0 %.
    assert jobs["finetune"] == 3 * (45 + 5 + 2 * 5)
    # The arm that samples in another way has its own iteration 0.
    assert jobs["sample_base"] == jobs["score_base"] == jobs["initial_images"] == 3 * 2
    assert jobs["sifid_threshold"] == 3
    assert jobs["vae_round_trips"] == 1


def test_healing_shares_the_cells_before_its_branch_and_reads_no_generated_image(project):
    plain = {"iterations": 5, "arms": arms(25)}
    branches = [{**HEAL, "name": f"heal-{k}", "parameters": {"after": k, "iterations": m}} for k, m in ((2, 3), (5, 1))]
    assert project.jobs(*config(project, **plain))["finetune"] == 5
    healing = config(project, **{**plain, "arms": [*arms(25), *branches]})
    assert project.jobs(*healing)["finetune"] == 5 + 3 + 1
    target = "results/faces/heal-2/ratio-25/seed-0/iteration-5/model/config.json"
    jobs = project.jobs(target, *healing)
    assert jobs["finetune"] == 2 + 3
    # Two samples are drawn at most: those of the branch's first iteration feed its second, and none feeds healing.
    assert jobs["sample"] == 1


def test_figure_4_shows_every_ratio_that_is_healed(project):
    """Which of them claims are judged at is not known before the scores are."""
    for ratios in ([25], [25, 100]):
        heal = {**HEAL, "ratios": ratios, "parameters": {"after": 2, "iterations": 1}}
        options = config(project, iterations=2, seeds=[0, 1], arms=[*arms(0, 25, 100), heal])
        jobs = project.jobs("results/faces/figures/figure-4.svg", *options)
        assert jobs["sample"] == len(ratios) * 3


def test_a_control_is_asked_for_by_its_file(project):
    jobs = project.jobs("results/faces/histogram_match/ratio-100/seed-0/iteration-1/curated.csv")
    assert jobs == {"reference": 1, "preflight": 1, "initial_images": 1, "histogram_match": 1}
    jobs = project.jobs("results/faces/sifid_cull/ratio-100/seed-0/iteration-2/dropped.png")
    assert jobs["sifid_cull"] == 2
    assert jobs["sifid_threshold"] == jobs["finetune"] == 1


def test_figures_of_arms_that_are_not_there_get_advice(project):
    result = project.snakemake(
        "-n", "results/faces/figures/figure-6.svg", *config(project, arms=arms(100)), check=False
    )
    assert "the config's `arms` has none of type sifid_cull" in result.stdout + result.stderr


def test_ratios_above_100_draw_several_images_of_a_slot_where_they_are_needed(project):
    more = {"name": "more", "regime": "augment", "ratios": [100, 250]}
    options = config(project, iterations=2, arms=[*arms(100), more])
    jobs = project.jobs("cells", *options)
    # Those of the last iteration feed nothing.
    assert (jobs["initial_draws"], jobs["sample_draws"], jobs["sample"]) == (2, 2, 6)
    jobs = project.jobs("results/faces/more/ratio-250/seed-0/iteration-2/mix.parquet", *options)
    assert (jobs["initial_draws"], jobs["sample_draws"], jobs["mix"]) == (2, 2, 2)
    plain = project.jobs("results/faces/none/ratio-100/seed-0/iteration-2/metrics.json", *options)
    assert not {"initial_draws", "sample_draws"} & plain.keys()
    result = project.snakemake(
        "-n", "results/faces/none/ratio-250/seed-0/iteration-1/mix.parquet", *options, check=False
    )
    assert "arm 'none' has no ratio 250; its `ratios` are: 100" in result.stdout + result.stderr


def feed(name, **parameters):
    return {"name": name, "regime": "feed", "ratios": [100], "parameters": parameters}


def test_chains_that_feed_each_other_resolve(project):
    both = [feed("left", other="right"), feed("right", other="left")]
    jobs = project.jobs("cells", *config(project, iterations=3, arms=both))
    assert (jobs["finetune"], jobs["sample"], jobs["score"], jobs["initial_images"]) == (6, 6, 6, 1)
    # One cell needs both chains up to the iteration before, and for its score what the other draws at its own.
    target = "results/faces/left/ratio-100/seed-0/iteration-2/{}"
    options = config(project, iterations=3, arms=both)
    assert project.jobs(target.format("mix.parquet"), *options)["finetune"] == 2
    jobs = project.jobs(target.format("metrics.json"), *options)
    assert (jobs["finetune"], jobs["sample"], jobs["score"]) == (4, 4, 1)
    one_way = config(project, iterations=3, arms=[*arms(100), feed("left", other="none")])
    assert project.jobs("results/faces/none/ratio-100/seed-0/iteration-3/metrics.json", *one_way)["finetune"] == 3


def test_two_base_models_feed_each_other(project):
    """Two models, three seeds, two conditions each and a chain that is fed: 54 cells, and what is made once a model twice."""
    jobs = project.jobs("--configfile", "resources/experiments/faces-flow.yaml")
    assert {rule: jobs[rule] for rule in ("preflight", "encode", "finetune", "initial_images", "reference")} == {
        "preflight": 2, "encode": 2, "finetune": 54, "initial_images": 6, "reference": 1,
    }  # fmt: skip


def test_a_ring_of_seeds_resolves(project):
    ring = config(project, iterations=4, seeds=[0, 1, 2], arms=[feed("ring", other=None, seed="next")])
    assert project.jobs("cells", *ring)["finetune"] == 12
    cell = "results/faces/ring/ratio-100/seed-0/iteration-{}/mix.parquet"
    # Two iterations back, three seeds have part in it.
    assert project.jobs(cell.format(2), *ring)["finetune"] == 2
    assert project.jobs(cell.format(3), *ring)["finetune"] == 2 + 3


def test_seeds_share_the_reference_and_nothing_else(project):
    jobs = project.jobs(*config(project, seeds=[0, 1, 2], iterations=2, arms=arms(0, 3.3)))
    assert jobs["reference"] == jobs["encode"] == jobs["embed_reference"] == 1
    assert jobs["initial_images"] == jobs["sample_base"] == jobs["score_base"] == 3
    assert jobs["finetune"] == 3 * 2 * 2


def test_one_cell_computes_its_own_ancestors_only(project):
    jobs = project.jobs(f"{CELL}/metrics.json")
    assert jobs["finetune"] == jobs["mix"] == jobs["sample"] == 3
    assert jobs["score"] == 1
    assert "metrics_table" not in jobs
    assert "score_base" not in jobs


def test_reserved_images_are_made_and_encoded_for_the_training_sets_that_take_them(project):
    new = {"name": "new", "regime": "fresh", "ratios": [50]}
    told = config(project, iterations=3, arms=[*arms(0, 50), new])
    jobs = project.jobs("results/faces/new/ratio-50/seed-0/iteration-2/model/config.json", *told)
    assert jobs["fresh_images"] == jobs["encode_fresh"] == 2
    jobs = project.jobs("results/faces/none/ratio-50/seed-0/iteration-2/model/config.json", *told)
    assert "fresh_images" not in jobs


def test_faces_of_ffhq_are_reserved_by_tables_of_their_own(project):
    new = {"name": "new", "regime": "fresh", "ratios": [50]}
    ffhq = {"source": "ffhq", "ffhq": {"path": "resources/ffhq"}}
    told = config(project, iterations=2, arms=[*arms(0, 50), new], reference=ffhq)
    jobs = project.jobs("results/faces/new/ratio-50/seed-0/iteration-2/model/config.json", *told)
    assert (jobs["select_images"], jobs["select_fresh"], jobs["fresh_images"]) == (1, 2, 2)
    jobs = project.jobs("results/faces/none/ratio-50/seed-0/iteration-2/model/config.json", *told)
    assert "select_fresh" not in jobs


def test_remedies_resolve_each_with_the_jobs_of_its_kind(project):
    jobs = project.jobs("--configfile", "resources/experiments/remedies.yaml")
    seeds = 3
    cells = seeds * (5 * 3 + 8 * 3 + 3 + 4 * 3 + 3 + 2 * 2 + 2 * 1 + 3 * 2 + 2)
    assert jobs["finetune"] == jobs["sample"] == jobs["score"] == jobs["mix"] == cells
    # Six filters at seven ratios, and that by a watermark.
    assert jobs["filter"] == seeds * 3 * 8
    assert jobs["select_draws"] == seeds * 3 * 4
    # Of the base model, and for the retrained detector of two models more.
    assert (jobs["detector_images_base"], jobs["train_detector"]) == (seeds, seeds)
    assert (jobs["detector_images"], jobs["retrain_detector"]) == (seeds * 2, seeds * 3)
    # For three iterations, and for detectors; those are encoded that may be trained on.
    assert (jobs["fresh_images"], jobs["encode_fresh"]) == (4, 3)


def test_no_remedy_reads_what_scores_are_measured_against(project):
    said = project.snakemake("-n", "--configfile", "resources/experiments/remedies.yaml").stdout
    read = {}
    for rule, block in re.findall(r"^(?:local)?rule (\w+):\n((?:    .+\n)+)", said, re.MULTILINE):
        found = re.search(r"^    input: (.+)$", block, re.MULTILINE)
        read.setdefault(rule, set()).update(found[1].split(", ") if found else [])
    makers = ("filter", "select_draws", "train_detector", "retrain_detector", "detector_images", "detector_images_base", "finetune",
              "mix", "sample")  # fmt: skip
    for rule in makers:
        assert read[rule], rule
        assert not [file for file in read[rule] if "holdout" in file or "embeddings" in file or "metrics" in file], rule


def test_the_real_arm_never_depends_on_generated_images(project):
    jobs = project.jobs("results/faces/none/ratio-0/seed-0/iteration-2/model/config.json")
    assert set(jobs) == {"reference", "preflight", "encode", "mix", "finetune"}
    assert jobs["finetune"] == 2


@pytest.mark.parametrize(
    "target",
    [
        "results/faces/reference/real.parquet", "results/faces/reference/latents.safetensors",
        "results/faces/base/seed-0/initial_images.parquet", "results/faces/base/seed-0/unseen.png",
        f"{CELL}/mix.parquet", f"{CELL}/model/diffusion_pytorch_model.safetensors", f"{CELL}/losses.csv",
        f"{CELL}/samples.png", f"{CELL}/embeddings.npz", "results/faces/tables/metrics.csv",
        "results/faces/tables/jackknife.csv", "results/faces/tables/diagnostics.csv", "results/faces/tables/profile.csv",
        "results/faces/figures/figure-3.svg", "results/faces/figures/figure-10.svg", "results/faces/tables/survival.csv",
        "results/faces/tables/claims.csv", "results/faces/report/answer.rst", "results/faces/index.html",
        "results/faces/sifid_cull/seed-0/sifid_threshold.json",
        "results/faces/heal/ratio-100/seed-0/iteration-6/metrics.json", "cells", "metrics", "figures",
    ],
)  # fmt: skip
def test_any_file_of_the_layout_is_a_target(project, target):
    assert project.jobs(target)


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        ("results/faces/none/ratio-50/seed-0/iteration-1/mix.parquet", "no ratio 50; its `ratios` are: 0, 25, 100"),
        (
            "results/faces/none/ratio-25/seed-0/iteration-9/mix.parquet",
            "no iteration 9; those of arm 'none' are 1 to 3",
        ),
        (
            "results/faces/nothing/ratio-25/seed-0/iteration-1/mix.parquet",
            "no arm is called 'nothing'; the config's `arms` has: none, histogram_match, sifid_cull, heal",
        ),
        (
            "results/faces/heal/ratio-100/seed-0/iteration-1/mix.parquet",
            "no iteration 1; those of arm 'heal' are 4 to 6",
        ),
        (
            "results/faces/reference/fresh/iteration-1.parquet",
            "no arm takes real images that are reserved as iteration-1",
        ),
        (
            "results/faces/reference/latents-flow.safetensors",
            "no arm has a base model whose files end in '-flow'; such endings are: none",
        ),
        ("results/faces/none/ratio-25/seed-4/iteration-1/mix.parquet", "no seed 4; the config's `seeds` are: 0, 1, 2"),
    ],
)
def test_a_cell_outside_the_grid_gets_advice(project, target, advice):
    result = project.snakemake("-n", target, check=False)
    assert result.returncode
    assert advice in result.stdout + result.stderr


@pytest.mark.parametrize("name", ["ratio-1001/seed-0", "ratio-25.0/seed-0", "ratio-025/seed-0", "ratio-25/seed-00"])
def test_cells_have_one_spelling(project, name):
    result = project.snakemake("-n", f"results/faces/none/{name}/iteration-1/mix.parquet", check=False)
    assert "MissingRuleException" in result.stdout + result.stderr


def test_a_wrong_configuration_stops_before_anything_runs(project):
    changes = config(project, finetune={"learning_rat": 1}, iterations=0)
    result = project.snakemake("--cores", "1", *changes, check=False)
    assert result.returncode
    assert "2 mistakes in the configuration" in result.stdout + result.stderr
    assert "did you mean `learning_rate`?" in result.stdout + result.stderr
    assert not (project.folder / "results").exists()


def test_graphs_on_stdout_are_clean(project):
    dag = project.snakemake("--dag").stdout
    assert dag.startswith("digraph")
    assert dag.rstrip().endswith("}")
    assert project.snakemake("--rulegraph").stdout.startswith("digraph")
    assert "flowchart" in project.snakemake("--rulegraph", "mermaid-js").stdout


def test_a_chain_of_two_hundred_iterations_resolves_as_one_target(project):
    changes = config(project, iterations=200, arms=arms(100))
    start = time.monotonic()
    jobs = project.jobs("results/faces/none/ratio-100/seed-0/iteration-200/metrics.json", *changes)
    assert jobs["finetune"] == 200
    assert time.monotonic() - start < 60


def written_rules():
    """The rules as they are written, and which rule each one uses, if any."""
    files = [*sorted((ROOT / "rules").glob("*.smk")), PRETRAINING_FOLDER / "Snakefile"]
    text = "".join(path.read_text() for path in files)
    blocks = re.split(r"^(?:use rule (\w+) as|rule|checkpoint) (\w+)", text, flags=re.MULTILINE)[1:]
    return dict(zip(blocks[1::3], blocks[2::3])), dict(zip(blocks[1::3], blocks[::3]))


def test_rules_find_their_scripts_from_anywhere():
    for name, text in written_rules()[0].items():
        assert "python scripts/" not in text, name


def test_the_slurm_profile_names_every_rule_that_may_ask_for_a_gpu():
    rules, parents = written_rules()
    asking = {name for name, text in rules.items() if re.search(r"^ +gpu=", text, re.MULTILINE)}
    # Rules that are made from others, which may be made from others in their turn.
    while more := {name for name, parent in parents.items() if parent in asking} - asking:
        asking |= more
    (row,) = re.findall(
        r"^\| another partition for GPUs \|.*$", (ROOT / "profiles/slurm/README.md").read_text(), re.MULTILINE
    )
    assert {name for name in re.findall(r"\w+", row) if name in rules} == asking


def test_python_that_is_too_old_or_too_new_is_told_before_anything_is_installed(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / "python"
    for version, right in (((3, 10, 14), False), ((3, 11, 0), True), ((3, 13, 9), True), ((3, 14, 0), False)):
        # Takes `-c CODE` as a Python of that version; makes no environment.
        python.write_text(
            f"#!{sys.executable}\nimport sys\nsys.version_info = {version}\nif sys.argv[1] == '-c':\n    exec(sys.argv[2])\n"
        )
        python.chmod(0o755)
        command = ["make", "PYTHON=./python", ".venv/bin/python"]
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (made.returncode == 0) == right, version
        told = f"error: Python 3.11 to 3.13 is needed, ./python is {version[0]}.{version[1]}; set PYTHON=..."
        assert (told in made.stderr) != right


@pytest.mark.parametrize(
    ("goal", "told"),
    [("run", "there is no resources/experiments/digit.yaml"), ("publish", "there is no results/digit")],
)
def test_an_experiment_that_is_not_there_is_told_before_anything_is_installed(tmp_path, goal, told):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "resources" / "experiments").mkdir(parents=True)
    (tmp_path / "resources" / "experiments" / "digits.yaml").touch()
    made = subprocess.run(["make", goal, "EXPERIMENT=digit"], cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 2
    assert told in made.stderr
    assert goal == "publish" or "  faces digits" in made.stderr
    assert not (tmp_path / ".venv").exists()


def test_every_rule_logs_and_the_heavy_ones_are_timed():
    """Read from the rules themselves: an unlogged rule or an untimed training is a mistake."""
    rules, parents = written_rules()
    assert {"sample_base", "score_base", "pretrain_unet"} < set(rules)
    for name in set(rules) - {"cells", "metrics", "figures", "guidance", "all"}:
        assert "    log:" in rules[name], name
        ancestor = name
        while parents[ancestor]:
            ancestor = parents[ancestor]
        assert "    conda:" in rules[ancestor], name
    heavy = ("reference", "encode", "initial_images", "sample_base", "finetune", "sample", "score", "score_base")
    for name in (*heavy, "histogram_match", "sifid_threshold", "sifid_cull", "select_draws", "vae_round_trips"):
        assert "    benchmark:" in rules[name], name


@pytest.mark.parametrize("folder", ["scripts", "resources/pretrain"])
def test_every_script_explains_itself(folder):
    """In one process, because most of a script's start is importing torch; the process ends with each script's own exit.

    As if each were the first: it must find our modules itself, with nothing but its own folder to look in.
    """
    loop = """
import contextlib, io, runpy, sys
folder, *names = sys.argv[1:]
path = list(sys.path)
for name in names:
    said = io.StringIO()
    sys.argv = [f"{folder}/{name}.py", "--help"]
    sys.path[:] = [folder, *path]
    for module in [each for each in sys.modules if each.split(".")[0] in ("nepotism", "pretraining")]:
        del sys.modules[module]
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(f"{folder}/{name}.py", run_name="__main__")
    except SystemExit as ended:
        print(name, ended.code, len(said.getvalue()))
"""
    names = [path.stem for path in sorted((ROOT / folder).glob("*.py"))]
    command = [sys.executable, "-c", loop, folder, *names]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    told = [line.split() for line in result.stdout.splitlines()]
    assert names
    assert [name for name, _, _ in told] == names, result.stderr[-2000:]
    for name, code, length in told:
        assert code == "0", name
        assert int(length) > 100, name


def test_the_dry_run_writes_nothing(project):
    project.snakemake("-n", *SMOKE)
    assert not (project.folder / "results").exists()


LIBRARIES = {"nepotism": ROOT / "scripts", "pretraining": PRETRAINING_FOLDER}


def imported(script, seen):
    """Top-level packages that a script imports, itself and through our own modules, at any place in them."""
    packages = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            package = name.split(".")[0]
            if package not in LIBRARIES:
                packages.add(package)
                continue
            module = LIBRARIES[package] / f"{name.replace('.', '/')}.py"
            if module.is_file() and module not in seen:
                seen.add(module)
                packages |= imported(module, seen)
    return packages


def test_environments_have_what_their_rules_import():
    """A package that only the tests' environment has would be missing wherever nobody tests."""
    distributions = packages_distributions()
    rules = {
        ROOT / "scripts": "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk"))),
        PRETRAINING_FOLDER: (PRETRAINING_FOLDER / "Snakefile").read_text(),
    }
    for env in ("light", "torch", "faces"):
        known = {pin.split("==")[0] for pin in direct(f"{env}.txt")}
        run = rf'"(?:\.\./)+envs/{env}.yaml"\n(?:(?!^rule ).*\n)*? +\'python "\$SCRIPTS/(\w+\.py)"'
        scripts = [folder / name for folder, text in rules.items() for name in re.findall(run, text, re.MULTILINE)]
        assert {script.parent for script in scripts} == ({ROOT / "scripts"} if env == "faces" else set(rules))
        for script in scripts:
            for package in imported(script, set()) - sys.stdlib_module_names:
                assert {name.lower() for name in distributions[package]} & known, f"{env}: {script} imports {package}"
