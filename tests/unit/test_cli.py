"""What every command line shares."""

import argparse
import errno
import platform
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from nepotism.families import imported_family
from nepotism.families.diffusion import sampling
from nepotism.runtime import cli
from torch import OutOfMemoryError

COUNT_CLEARED_PAGES = """
import argparse, resource
from nepotism.runtime import cli

size = 40 * 2**20

def main(_):
    b"x" * size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        b"x" * size
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

cli.run(main, argparse.Namespace(log=None))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told")
def test_memory_that_was_freed_is_used_again_without_being_cleared():
    made = subprocess.run(
        [sys.executable, "-c", COUNT_CLEARED_PAGES], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    # Twenty times 40 MB are 204,800 pages.
    assert int(made.stdout) < 5_000


PRINT_MUCH = """
import argparse
from nepotism.runtime import cli

cli.run(lambda _: [print(number) for number in range({lines})], argparse.Namespace(log=None))
"""


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_enough_ends_a_script_without_a_traceback(lines):
    """Such as `head`, whether it goes while the script still prints or before what is printed is sent."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRINT_MUCH.format(lines=lines)], cwd=ROOT / "scripts", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip
    process.stdout.close()
    assert process.wait(60) == 128 + signal.SIGPIPE
    assert process.stderr.read() == b""


# ---- Advice

SAMPLING = ["--base-model", "m", "--guidance-scale", "1", "--num-inference-steps", "1", "--scheduler", "DDIMScheduler"]
SAMPLING += ["--resolution", "8", "--precision", "fp32"]
CELL = ["--cell", "c", "--seed", "0", "--iteration", "1", "--sheet", "s"]
EVALUATOR = ["--features", "clip", "--clip", "c"]


def advice(add, options):
    """What a job with some of the common options is told when a GPU's memory is used up."""
    parser = cli.parser("", stage="sample")
    for each in add:
        each(parser)
    return cli._advice(OutOfMemoryError("CUDA out of memory"), parser.parse_args(options))


def test_who_draws_is_told_of_the_batch_of_drawing_and_who_scores_of_both():
    drawing = "Lower `execution.sample_batch_size`, or draw in half precision (`precision: bf16`)"
    assert advice([sampling.add_options], [*SAMPLING, *CELL]) == drawing
    both = advice([sampling.add_options, cli.add_evaluator], [*SAMPLING, *CELL, *EVALUATOR])
    assert both == drawing.replace("size`,", "size` or `execution.embed_batch_size`,")
    embedding = advice([cli.add_device, cli.add_evaluator], EVALUATOR)
    assert embedding == "Lower `execution.embed_batch_size`"


def test_who_retrains_is_told_of_keys_that_retraining_obeys():
    of_training = advice([cli.add_step_size], ["--batch-size", "16", "--per-device-batch-size", "4"])
    assert of_training == "Lower `execution.per_device_batch_size`, or set `execution.gradient_checkpointing: true`"
    done = ["--batch-size", "16", "--per-device-batch-size", "1", "--gradient-checkpointing"]
    assert advice([cli.add_step_size], done).startswith("No setting of this job takes less")


def test_what_is_as_low_as_can_be_is_not_to_be_lowered():
    least = [*SAMPLING, *CELL, "--sample-batch-size", "1", "--precision", "bf16"]
    assert advice([sampling.add_options], least).startswith("No setting of this job takes less")


def test_jobs_without_such_settings_are_told_so():
    # Culling's threshold, the encodings of the reference: they hold a fixed number of images.
    assert advice([cli.add_base_model, cli.add_device], ["--base-model", "m"]) == (
        "No setting of this job takes less; use a device with more memory, or `execution.device: cpu`"
    )


@pytest.mark.parametrize(
    ("family", "expected"), [("lm", "Lower `lm.generation_batch`"), ("vae", "No setting of this job takes less")]
)
def test_families_are_told_of_their_own_keys(family, expected):
    arguments = argparse.Namespace(family=family, device="cpu", threads=1)
    try:
        imported_family(arguments)
    finally:
        torch.set_default_device(None)
    assert cli._advice(OutOfMemoryError("CUDA out of memory"), arguments).startswith(expected)


def test_only_jobs_that_keep_checkpoints_are_told_that_they_go_on_from_one():
    full = OSError(errno.ENOSPC, "No space left on device")
    assert cli._advice(full, argparse.Namespace()) == "Make room on that disk and run the same command again"
    with_checkpoints = cli._advice(full, argparse.Namespace(checkpoint_seconds=5.0))
    assert with_checkpoints.endswith("again: it goes on from the last checkpoint")
    assert cli._advice(RuntimeError("Io error: No space left on device"), argparse.Namespace()) is not None
    assert cli._advice(RuntimeError("something else"), argparse.Namespace(sample_batch_size=60)) is None


# ---- Nothing happens on import

IMPORT_EVERYTHING = """
import gc, importlib, logging, os, pkgutil, random, signal, sys, warnings
import numpy as np
import matplotlib, torch, torchvision, diffusers, transformers, accelerate, skimage, sklearn, scipy.stats, PIL.Image
import cleanfid.features, cleanfid.resize
from diffusers import AutoencoderKL, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPModel, CLIPProcessor, OPTForCausalLM

set_umask, asked = os.umask, []
os.umask = lambda mask: (asked.append(mask), set_umask(mask))[1]

def state():
    umask = set_umask(0o022)
    set_umask(umask)
    return {
        "garbage collector": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "umask": (umask, list(asked)), "sys.path": list(sys.path), "environment": dict(os.environ), "folder": os.getcwd(),
        "warnings": list(warnings.filters), "logging": (logging.root.level, list(logging.root.handlers)),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "matplotlib": dict(matplotlib.rcParams), "numpy": (repr(np.geterr()), np.random.get_state()[1].tolist()),
        "random": random.getstate(), "recursion": sys.getrecursionlimit(),
        "torch": (torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype(),
                  torch.get_default_device(), torch.initial_seed(), torch.are_deterministic_algorithms_enabled(),
                  torch.is_grad_enabled()),
    }

sys.path.append("../resources/pretrain")
# What a library changes when it is first imported is not our doing; so those above come first.
set_umask(0o027)
before = state()
import nepotism, pretraining
for package in (nepotism, pretraining):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
        after = state()
        changed = [name for name in before if after[name] != before[name]]
        print(module.name, changed)
"""


def test_importing_a_module_changes_nothing_in_the_process():
    made = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    lines = made.stdout.splitlines()
    assert len(lines) > 60
    assert any(line.startswith("pretraining.") for line in lines)
    assert [line for line in lines if not line.endswith(" []")] == []


def test_scripts_collect_no_garbage_while_they_import_and_do_so_when_they_run(tmp_path):
    """A folder like `scripts`, with a script that asks."""
    copy = tmp_path / "scripts"
    copy.mkdir()
    library = ROOT / "scripts" / "nepotism"
    shutil.copytree(library, copy / "nepotism", ignore=shutil.ignore_patterns("__pycache__"))
    text = """
import argparse, gc
from nepotism.runtime import cli
print(gc.isenabled())
cli.run(lambda arguments: print(gc.isenabled()), argparse.Namespace(log=None))
"""
    (copy / "ask.py").write_text(text)
    (tmp_path / "library_user.py").write_text(f"import sys; sys.path.insert(0, {str(copy)!r})\n{text}")
    answers = [
        subprocess.run([sys.executable, path], capture_output=True, text=True, check=True).stdout.split()
        for path in (copy / "ask.py", tmp_path / "library_user.py")
    ]
    assert answers == [["False", "True"], ["True", "True"]]
