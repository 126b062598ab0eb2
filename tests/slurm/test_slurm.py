"""The DAG on a real SLURM cluster, which this machine pretends to be two nodes of, and what clusters do to jobs."""

import csv
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, SMOKE, copy_project

HERE = Path(__file__).parent
CLUSTER = HERE / "cluster.sh"
pytestmark = pytest.mark.slurm

# How cluster.sh says that this machine has a cluster already.
OTHER_CLUSTER = 3
# GPUs in use at once, of the cluster's four.
GPU_CAP = 3
# Preempted and lost jobs wait this long at most in these tests.
PATIENCE = 180
# What the profile leaves to the site, and less patience.
SITE = (
    "--default-resources", "slurm_partition=main", "mem_mb=2000", "runtime=20", "nodes=1",
    "--slurm-no-account", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10",
)  # fmt: skip
LOSSES = "results/tiny/none/ratio-0/seed-0/iteration-1/losses.csv"
# One cell that trains long enough to be disturbed.
TINY = {
    "experiment": "tiny",
    "seeds": [0],
    "iterations": 1,
    "arms": [{"name": "none", "ratios": [0]}],
    "reference": {"images_per_group": 2},
    "finetune": {"epochs": 60, "batch_size": 32},
    "execution": {"checkpoint_seconds": 1},
}


def give_up(reason):
    """Skips where a person's machine has no SLURM; continuous integration must have one."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def cluster():
    missing = [program for program in ("slurmctld", "slurmd", "sbatch", "munged") if not shutil.which(program)]
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        missing.append("snakemake-executor-plugin-slurm (make .venv/slurm)")
    if missing:
        give_up(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        give_up("only root can start SLURM's daemons")
    # Not in pytest's folder, which munge's own user may not enter; cluster.sh knows a left one by this name.
    folder = Path(tempfile.mkdtemp(prefix="nepotism-slurm-"))
    folder.chmod(0o755)
    try:
        started = subprocess.run([CLUSTER, "start", folder], stderr=subprocess.PIPE, text=True)
        if started.returncode == OTHER_CLUSTER:
            give_up(started.stderr)
        assert started.returncode == 0, started.stderr
        yield folder
    finally:
        subprocess.run([CLUSTER, "stop", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = copy_project(tmp_path_factory.mktemp("shared"))
    shutil.copytree(ROOT / "profiles", made.folder / "profiles")
    (made.folder / "slurm").symlink_to("profiles/slurm")
    return made


class Head:
    """Snakemake on the head node, in the background."""

    def __init__(self, project, *arguments, name="head"):
        command = [sys.executable, str(HERE / "quick_snakemake.py"), *arguments]
        self.said = project.folder / f"{name}.log"
        self.process = subprocess.Popen(
            command, cwd=project.folder, stdout=self.said.open("w"), stderr=subprocess.STDOUT, start_new_session=True
        )

    def wait(self, expected=0, seconds=600):
        status = self.process.wait(timeout=seconds)
        assert (status == 0) == (expected == 0), self.said.read_text()[-6000:]
        return self.said.read_text()


def jobs():
    """All jobs that the controller remembers, by number: what it knows of each."""
    text = subprocess.run(["scontrol", "--oneliner", "show", "jobs"], capture_output=True, text=True, check=True).stdout
    found = [dict(re.findall(r"(\S+?)=(.*?)(?= \S+?=|$)", line)) for line in text.splitlines() if "JobId=" in line]
    return {int(job["JobId"]): job for job in found}


def wait_for(condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


# ---- The whole experiment -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smoked(cluster, project, smoke):
    """The smoke experiment, run through sbatch; every rule that runs a model asks for a GPU; three of four may be in use."""
    with_models = (
        "preflight",
        "encode",
        "embed_reference",
        "initial_images",
        "sample_base",
        "score_base",
        "redraw_base",
        "score_redrawn",
        "finetune",
        "sample",
    )
    with_models += ("score", "sifid_threshold", "sifid_cull", "vae_round_trips")
    Head(
        project, "--profile", "slurm", *SITE, "--resources", f"gpu={GPU_CAP}", "--set-resources",
        *(f"{rule}:gpu=1" for rule in with_models), *SMOKE, name="smoke",
    ).wait(seconds=1200)  # fmt: skip
    return [job for job in jobs().values() if job["JobName"].startswith("smoke_")], with_models


def table(folder):
    with open(folder / "results" / "smoke" / "tables" / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_cluster_finds_what_one_machine_finds(smoked, project, smoke):
    ours, theirs = table(project.folder), table(smoke.folder)
    assert len(ours) == len(theirs) > 100
    assert ours == theirs


def test_jobs_run_on_both_nodes_and_say_what_they_are(smoked):
    found, _ = smoked
    assert {job["NodeList"] for job in found} == {"n1", "n2"}
    assert {job["JobState"] for job in found} == {"COMPLETED"}
    comments = [job["Comment"].strip() for job in found]
    assert "rule_finetune_wildcards_smoke_none_50_0_2" in comments, comments


def test_gpus_are_given_to_those_who_ask_and_never_more_than_the_cap(smoked):
    found, with_models = smoked
    using = []
    for job in found:
        rule = re.match(r"rule_(\w+?)_wildcards", job["Comment"])[1]
        gpus = re.findall(r"gres/gpu=(\d+)|gpu:(\d+)", f"{job.get('TRES', '')} {job.get('TresPerJob', '')}")
        assert bool(gpus) == (rule in with_models), (rule, job)
        if gpus:
            using.append((moment(job["StartTime"]), moment(job["EndTime"])))
    assert len(using) > 20
    together = [sum(start <= instant < end for start, end in using) for instant, _ in using]
    assert max(together) == GPU_CAP


def moment(text):
    return datetime.fromisoformat(text).timestamp()


def test_steps_of_seconds_do_not_go_to_the_queue(smoked):
    found, _ = smoked
    rules = {re.match(r"rule_(\w+?)_wildcards", job["Comment"])[1] for job in found}
    assert not rules & {"mix", "metrics_table", "claims", "profile_table", "answer", "figure_1", "figure_2", "figure_3"}


# ---- What clusters do to jobs ---------------------------------------------------------------------------------------


class Cell:
    """One cell whose retraining can be disturbed; what it needs is made, and what it becomes is known."""

    def __init__(self, project):
        self.project = project
        (project.folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
        self.options = ("--configfile", "tiny.yaml")
        project.snakemake("--cores", "2", LOSSES, *self.options)
        self.folder = (project.folder / LOSSES).parent
        self.log = project.folder / "results/tiny/logs/finetune/none/ratio-0/seed-0/iteration-1.log"
        self.expected = self.result()

    def result(self):
        model = self.folder / "model" / "diffusion_pytorch_model.safetensors"
        return model.read_bytes(), (self.folder / "losses.csv").read_bytes()

    def forget(self):
        shutil.rmtree(self.folder / "model", ignore_errors=True)
        (self.folder / "losses.csv").unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)

    def head(self, *more, name):
        return Head(self.project, LOSSES, "--profile", "slurm", *SITE, *more, *self.options, name=name)

    def begun(self):
        """Wait until retraining has a checkpoint; return its job."""
        wait_for(lambda: self.log.is_file() and "checkpoint at" in self.log.read_text())
        running = [
            number for number, job in jobs().items()
            if job["JobState"] == "RUNNING" and "finetune" in job.get("Comment", "")
        ]  # fmt: skip
        assert len(running) == 1, jobs()
        return running[0]

    def is_as_undisturbed(self):
        assert self.result() == self.expected
        assert not list(self.folder.glob(".*")), "state was left behind"


@pytest.fixture(scope="module")
def tiny_cell(cluster, project):
    return Cell(project)


@pytest.fixture
def cell(tiny_cell):
    tiny_cell.forget()
    yield tiny_cell
    subprocess.run(["scancel", "--user", "root"], check=True)
    wait_for(lambda: not subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout)


def resumed(log):
    # A job that runs again begins without the log of its first run.
    found = re.search(r"resumed at step (\d+)", log.read_text() if log.is_file() else "")
    return int(found[1]) if found else 0


@contextmanager
def frozen():
    """Retraining stands still meanwhile: it cannot end before the cluster has noticed what was done to it."""
    subprocess.run(["pkill", "-STOP", "-f", "scripts/finetune.py"], check=True)
    try:
        yield
    finally:
        subprocess.run(["pkill", "-CONT", "-f", "scripts/finetune.py"], check=False)


def test_a_cancelled_job_is_run_again_and_goes_on(cell):
    head = cell.head(name="cancelled")
    first = cell.begun()
    subprocess.run(["scancel", str(first)], check=True)
    head.wait()
    assert jobs()[first]["JobState"] in ("CANCELLED", "FAILED")
    assert resumed(cell.log) > 0
    cell.is_as_undisturbed()


def test_a_preempted_job_is_requeued_and_goes_on(cell):
    head = cell.head("--set-resources", "finetune:slurm_partition=low", name="preempted")
    first = cell.begun()
    subprocess.run(
        ["sbatch", "--partition=main", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 3"], check=True
    )
    wait_for(lambda: int(jobs()[first]["Restarts"]) == 1)
    head.wait()
    assert jobs()[first]["JobState"] == "COMPLETED", "under its own number"
    assert resumed(cell.log) > 0
    cell.is_as_undisturbed()


def test_a_job_that_takes_too_much_memory_gets_more(cell):
    head = cell.head("--set-resources", "finetune:mem_mb=500*attempt**2", name="memory")
    head.wait()
    asked = [job["MinMemoryNode"] for job in jobs().values() if "finetune" in job.get("Comment", "")][-2:]
    assert asked == ["500M", "2000M"]
    cell.is_as_undisturbed()


def test_a_job_at_its_time_limit_goes_on_with_a_longer_one(cell):
    """It hangs, and does not even hear that it should stop."""
    head = cell.head(name="limit")
    first = cell.begun()
    with frozen():
        subprocess.run(["scontrol", "update", f"JobId={first}", "TimeLimit=0:01"], check=True)
        head.wait(seconds=300)
    assert jobs()[first]["JobState"] == "TIMEOUT"
    assert resumed(cell.log) > 0
    cell.is_as_undisturbed()


def test_jobs_of_a_lost_node_run_on_another_and_the_lost_ones_write_nothing(cell, cluster):
    """Only the node's daemon dies: its job runs on, unknown to SLURM, beside the one that replaces it."""
    head = cell.head(name="lost")
    first = cell.begun()
    node = jobs()[first]["NodeList"]
    try:
        with frozen():
            os.kill(int((cluster / "pid" / f"slurmd-{node}.pid").read_text()), signal.SIGKILL)
            wait_for(lambda: int(jobs()[first]["Restarts"]) == 1)
            wait_for(lambda: resumed(cell.log) > 0)
        assert "Error in rule" not in head.wait()
        assert jobs()[first]["NodeList"] != node
        cell.is_as_undisturbed()
    finally:
        subprocess.run([CLUSTER, "node", cluster, node], check=True)


def test_a_killed_and_restarted_head_makes_no_second_writer(cell):
    head = cell.head(name="killed")
    first = cell.begun()
    with frozen():
        head.process.send_signal(signal.SIGKILL)
        head.process.wait()
        cell.project.snakemake("--unlock", *cell.options)
        said = cell.head("--retries", "0", name="restarted").wait(expected=1)
    assert f"is in use by SLURM job {first} on" in said
    assert f"wait for it, or `scancel {first}`" in said
    assert "iteration-1.log" in said, "the end names the log"
    wait_for(lambda: jobs()[first]["JobState"] == "COMPLETED")
    cell.head(name="again").wait()
    cell.is_as_undisturbed()


def test_one_failed_cell_leaves_the_others_running_and_is_named(cell):
    """One arm's learning rate is beyond all reason."""
    wild = {"name": "wild", "ratios": [0], "overrides": {"finetune": {"learning_rate": 1.0}}}
    config = {**TINY, "experiment": "two", "arms": [*TINY["arms"], wild], "finetune": {"epochs": 5}}
    (cell.project.folder / "two.yaml").write_text(yaml.safe_dump(config))
    options = ("--configfile", "two.yaml")
    place = "results/two/{}/ratio-0/seed-0/iteration-1/"
    cell.project.snakemake("--cores", "2", "results/two/reference/latents.safetensors", *options)
    targets = [place.format(control) + "losses.csv" for control in ("none", "wild")]
    said = Head(
        cell.project, *targets, "--profile", "slurm", *SITE, "--retries", "0", *options, name="failed"
    ).wait(expected=1)  # fmt: skip
    assert (cell.project.folder / targets[0]).is_file()
    assert not (cell.project.folder / targets[1]).exists()
    assert "failed: finetune, see results/two/logs/finetune/wild/ratio-0/seed-0/iteration-1.log" in said[-1500:]
    status = cell.project.script("status", "results/two").stdout
    assert re.search(r"failed:\n  wild/ratio-0/seed-0/iteration-1: finetune: .*lower `finetune.learning_rate`", status)
