"""Out of memory on purpose: what jobs then advise names the right key, and a number of images that really fits.

    python tests/gpu/memory.py --model FOLDER --device cuda --gib 26       # torch is allowed no more of a GPU
    python tests/gpu/memory.py --model FOLDER --device cpu                 # a processor that counts as if it were a GPU

Preflight, retraining and sampling run as by hand, in this one process. Each finding is a line of JSON after "FOUND ".
"""

import argparse
import gc
import importlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from accelerate.state import AcceleratorState
from nepotism.data.images import Record, read_image_set, write_image_set, write_manifest
from nepotism.data.tables import read_text_csv
from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion import preflight as trying
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones import backbone_of
from nepotism.families.diffusion.latents import Encoded, Posteriors, write_encoded
from nepotism.families.diffusion.pipeline import encode_prompts, load_pipeline
from nepotism.runtime import cli, gpus, memory
from nepotism.runtime.errors import UserError
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

CAPTION = "a photo of a face"
DRAWN, HELD = "execution.sample_batch_size", "execution.per_device_batch_size"
# Optimiser steps of a retraining: in the second one, the moments of the first are in memory.
STEPS = 2


class Simulated:
    """Memory of a device that there is not: weights, gradients and moments take their bytes, and each image so many times that.

    A network asks for it before each of its passes, whose first argument are the images.
    """

    def __init__(self, network_class: type, total_images: int) -> None:
        self._class, self._images, self.total, self.peak = network_class, total_images, 0.0, 0.0
        register_module_forward_pre_hook(self._before)
        register_optimizer_step_post_hook(self._after_step)
        # As torch does on a GPU; nothing of the advice itself is touched.
        modules = (memory, trying, *(importlib.import_module(name) for name in ("preflight", "finetune")))
        replaced = {
            "peak_bytes": self.peak_bytes,
            "total_bytes": lambda: self.total,
            "is_measured": lambda device: True,
        }
        for module in modules:
            for name, function in replaced.items():
                if hasattr(module, name):
                    setattr(module, name, function)

    def peak_bytes(self, run: Callable[[], object]) -> float:
        self.peak = 0.0
        run()
        return self.peak

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        optimizer.param_groups[0]["params"][0].has_moments = True

    def _before(self, module: torch.nn.Module, inputs: tuple) -> None:
        if not isinstance(module, self._class):
            return
        parameters = list(module.parameters())
        weights = sum(each.numel() * each.element_size() for each in parameters)
        each = weights / 4
        self.total = self.total or 4 * weights + self._images * each
        copies = 1 + (parameters[0].grad is not None) + 2 * hasattr(parameters[0], "has_moments")
        wanted = copies * weights + len(inputs[0]) * each
        if wanted > self.total:
            raise torch.OutOfMemoryError(f"{wanted:.0f} bytes of {self.total:.0f}, simulated")
        self.peak = max(self.peak, wanted)


class Trial:
    """One model on one device, with files that its jobs read.

    Args:
        chosen: options.
        folder: for files.
    """

    def __init__(self, chosen: argparse.Namespace, folder: Path) -> None:
        self.model, self.device, self.folder = chosen.model, chosen.device, folder
        self.precision = "bf16" if chosen.device == "cuda" else "fp32"
        # Far more than fit.
        self.trained, self.drawn = (64, 1024) if chosen.device == "cuda" else (12, 14)
        self.scheduler = backbone_of(chosen.model).any_scheduler
        self._count = 0
        self._write(chosen.resolution)

    def _write(self, resolution: int | None) -> None:
        """A training set of noise, with its encodings."""
        backbone = backbone_of(self.model)
        pipeline = load_pipeline(self.model, None, self.scheduler, torch.device(self.device), self.precision)
        self.network_class = type(getattr(pipeline, backbone.denoiser))
        self.resolution = resolution or backbone.usual_resolution(pipeline)
        text = texts.single(texts.moved(encode_prompts(pipeline, [CAPTION, ""]), "cpu"))
        side = self.resolution // autoencoders.shrinks(pipeline.vae)
        random, shape = np.random.default_rng(0), (autoencoders.channels(pipeline.vae), side, side)
        count = max(self.trained, self.drawn)
        records = [Record(f"noise/{slot}", CAPTION, "noise", f"noise/{slot:04d}", "real") for slot in range(count)]
        # Nobody looks at the pictures: encodings are what is trained on.
        pixels = random.integers(0, 256, (count, 8, 8, 3), np.uint8)
        write_image_set(self.folder / "real.parquet", pixels, records)
        kept = records[: self.trained]
        write_manifest(self.folder / "mix.parquet", kept, [str(self.folder / "real.parquet")] * len(kept))
        mean = torch.from_numpy(random.standard_normal((len(kept), 2, *shape), np.float32))
        encoded = Encoded(Posteriors(mean, torch.zeros_like(mean)), [each.id for each in kept], text, [CAPTION, ""])
        write_encoded(self.folder / "latents.safetensors", encoded)

    # ---- The jobs

    def preflight(self, drawn: int, held: int) -> str:
        return self._job(
            "preflight", *self._sampling(drawn), "--training-precision", self.precision, "--prompts", CAPTION,
            "--batch-size", self.trained, "--per-device-batch-size", held, "--output", self.folder / "preflight.json",
        )  # fmt: skip

    def finetune(self, held: int, name: str) -> str:
        files = {
            "--mix": "mix.parquet",
            "--latents": "latents.safetensors",
            "--model": f"{name}/model",
            "--losses": f"{name}.csv",
        }
        return self._job(
            "finetune", *self._cell(), *(each for option, file in files.items() for each in (option, self.folder / file)),
            "--learning-rate", 1e-6, "--no-random-flip", "--caption-dropout", 0.0, "--budget", "steps", "--steps", STEPS,
            "--precision", self.precision, "--batch-size", self.trained, "--per-device-batch-size", held,
        )  # fmt: skip

    def sample(self, drawn: int, real: str, name: str) -> str:
        files = {"--real": real, "--output": f"{name}.parquet", "--sheet": f"{name}.png"}
        return self._job(
            "sample", *self._sampling(drawn), *self._cell(),
            *(each for option, file in files.items() for each in (option, self.folder / file)),
        )  # fmt: skip

    def _sampling(self, drawn: int) -> list[object]:
        return [
            "--guidance-scale", 3.0, "--num-inference-steps", 4, "--scheduler", self.scheduler, "--precision", self.precision,
            "--resolution", self.resolution, "--sample-batch-size", drawn,
        ]  # fmt: skip

    def _cell(self) -> list[object]:
        return ["--cell", "memory", "--seed", 0, "--iteration", 1, "--checkpoint-seconds", 86400]

    def _job(self, script: str, *options: object) -> str:
        """Run a script, and return what it says if it fails, as `cli.run` would."""
        with job_by_hand():
            sys.argv = [
                f"{script}.py",
                "--base-model",
                *map(str, [self.model, "--device", self.device, "--threads", 1, *options]),
            ]
            try:
                importlib.import_module(script).main()
                said = ""
            except UserError as error:
                said = str(error)
            except torch.OutOfMemoryError as error:
                said = f"{error}. {cli._advice(error, job_by_hand.arguments)}"
        # Outside of the block, what failed is not held by its traceback any more.
        AcceleratorState._reset_state(reset_partial_state=True)
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        return said


@contextmanager
def job_by_hand():
    """Inside, a script's `main` raises what it would tell before it ends the process."""

    def run(main: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> None:
        job_by_hand.arguments = arguments
        main(arguments)

    before, cli.run = cli.run, run
    try:
        yield
    finally:
        cli.run = before
        # A process claims its GPU once; this one is many jobs.
        for file in gpus._held:
            os.close(file)
        gpus._held.clear()


def advised(said: str, key: str) -> int:
    """The number that an error advises for a key; 0 if it names another one, or none."""
    found = re.search(r"`([\w.]+): (\d+)` should fit", said)
    return int(found[2]) if found and found[1] == key else 0


def found(name: str, value: object, unit: str, ok: bool) -> None:
    print("FOUND " + json.dumps({"name": name, "value": value, "unit": unit, "ok": ok}), flush=True)


def try_out(trial: Trial) -> None:
    """Ask for too much, do as advised, until nothing is said."""
    began = time.monotonic()
    said = trial.preflight(trial.drawn, trial.trained)
    drawn = advised(said, DRAWN)
    found(f"preflight, sampling {trial.drawn} images at a time", advice_of(said), f"`{DRAWN}` is named", drawn > 0)
    said = trial.preflight(drawn or 1, trial.trained)
    held = advised(said, HELD)
    found(f"preflight, retraining {trial.trained} images at a time", advice_of(said), f"`{HELD}` is named", held > 0)
    said = trial.preflight(drawn or 1, held or 1)
    found(
        "preflight, both as advised", said or "they fit", f"{drawn} and {held} at a time", not said and drawn > 0 < held
    )

    said = trial.finetune(trial.trained, "too-many")
    held = advised(said, HELD)
    found(f"retraining, {trial.trained} images at a time", advice_of(said), f"`{HELD}` is named", held > 0)
    said = trial.finetune(held or 1, "advised")
    losses = [] if said else [float(row["loss"]) for row in read_text_csv(trial.folder / "advised.csv")]
    fine = len(losses) == STEPS and bool(np.isfinite(losses).all())
    found(
        "retraining, as advised", said or "it fits", f"{held} images at a time, {len(losses)} steps", fine and held > 0
    )

    said = trial.sample(trial.drawn, "real.parquet", "too-many")
    found(f"sampling, {trial.drawn} images at a time", advice_of(said), f"`{DRAWN}` is named", f"`{DRAWN}`" in said)
    # As many images as are drawn at a time.
    pixels = np.zeros((max(1, drawn), 8, 8, 3), np.uint8)
    records = [Record(f"few/{slot}", CAPTION, "few", f"few/{slot:04d}", "real") for slot in range(len(pixels))]
    write_image_set(trial.folder / "few.parquet", pixels, records)
    said = trial.sample(drawn or 1, "few.parquet", "advised")
    images = 0 if said else len(read_image_set(trial.folder / "advised.parquet").records)
    found("sampling, as advised", said or "it fits", f"{images} images at a time", images == len(records) and drawn > 0)
    found("all of it", round(time.monotonic() - began, 1), "s", True)


def advice_of(said: str) -> str:
    """The part of an error that says what to do."""
    return said[said.index("`execution") :] if "`execution" in said else said or "nothing was said"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a pipeline; it may be made meanwhile")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--gib", type=float, default=26.0, help="of a GPU, what torch may take")
    parser.add_argument("--resolution", type=int, help="pixels; without it, what the model was made for")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds in which the model's folder is to appear")
    chosen = parser.parse_args()
    until = time.monotonic() + chosen.wait
    while not chosen.model.is_dir() and time.monotonic() < until:
        time.sleep(0.2)
    if chosen.device == "cuda":
        # As jobs have it before they first multiply: torch reads it then.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, chosen.gib * 2**30 / total), 0)
    with tempfile.TemporaryDirectory() as scratch:
        trial = Trial(chosen, Path(scratch))
        if chosen.device == "cpu":
            Simulated(trial.network_class, total_images=5)
        gc.collect()
        try_out(trial)


if __name__ == "__main__":
    main()
