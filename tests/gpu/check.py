"""What a GPU is to be asked, in one command of at most eight minutes; tests/gpu/check.sh runs it.

1. Jobs: a part of the smoke experiment through Snakemake on the device and, beside it, on the processor; scores agree
   up to rounding.
2. Interruptions: retraining and sampling, killed by SIGKILL at a random moment, go on; do they end in the same bytes?
3. Precisions: retraining and sampling in bf16, fp16, tf32 and compiled run, and stay close to single precision; low-rank
   updates (LoRA) change what they should, and the model that they are merged into draws.
   Beside them, generation 0 of the other families whose models run on a GPU.
4. Memory: tests/gpu/memory.py asks for more than fits, and does as it is advised.
5. Speed: tests/benchmark/model_speed.py at true shapes, and what was wanted of it (tests/gpu/verdicts.py).

Every part has its time, and ends when that is over; one that fails does not keep others from running. All that was found
is in FOLDER: check.md and check.csv (a line per finding), speed.csv, rates.csv (for resources/rates.csv) and check.log.
Exit status: 0 if all is well, 1 if something is not, 3 if something was left out.
"""

import argparse
import csv
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from nepotism.data.images import read_image_set
from nepotism.data.tables import read_text_csv
from nepotism.plan.grid import Grid
from nepotism.plan.settings import settings
from nepotism.runtime.files import sha256
from safetensors.numpy import load_file
from verdicts import verdicts

ROOT = Path(__file__).parents[2]
SHIPPED = ("Snakefile", "workflow_config.yaml", "rules", "scripts", "envs", "resources")
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "numpy", "snakemake")
# Of which models speed is measured, the most wanted first: names of tests/benchmark/true_shapes.py.
MODELS = ("stable_diffusion", "stable_diffusion_xl", "prx")
RESULTS = Path("results/smoke")
# The cell whose inputs all parts share: half of its images are generated.
CELL = "none/ratio-50/seed-0/iteration-1"
CULLED = "sifid_cull/ratio-100/seed-0/iteration-1"
MATCHED = "histogram_match/ratio-100/seed-0/iteration-1"
WEIGHTS = "model/diffusion_pytorch_model.safetensors"

# How far results of the device may be from those of the processor. Sums of products are rounded in another order (1e-7 of
# a value); AdamW divides by the root of the squared gradient, so that weights whose gradient is all but 0 move by the
# learning rate in either direction; and a few pixels of 8 bits are rounded to the neighbouring level. On one processor,
# other batches alone move pictures by 0.0002 levels and scores by 0.02 % at most; another kind of device is given fifty
# times that.
LATENTS_APART = 1e-4  # the largest difference, as a share of the largest value
LEVELS_APART = 0.1  # mean difference of two sets of pictures, in levels of 255
SCORES_APART = 0.01  # of a score, as a share of it
# Shares and counts move in steps of whole images.
STEPPED = ("precision", "recall", "density", "coverage", "memorization", "accepted_share", "unique_images")
IMAGES_APART = 3
# Precisions against fp32: of the losses, the largest difference as a share of their mean. In half precision torch draws
# other noise, so that other pictures are drawn: of those the mean pictures are compared, which are 9 levels apart for two
# sets of 60 portraits, and over 100 if a set is black or noise.
LOSSES_APART = {"fp32": 0.01, "tf32": 0.02, "bf16": 0.05}
HALVES = ("fp16", "bf16")
MEAN_PICTURES_APART = 20.0
# Layers that LoRA updates, as in diffusers' train_text_to_image_lora.py. Its updates begin at zero, so that its first loss is
# that of single precision; then the two trainings part, on the same images and noise.
LORA = ("to_q", "to_k", "to_v", "to_out.0")
LORA_APART = 0.2  # mean difference of the losses, as a share of their mean: 0.08 after 200 steps on a processor


@dataclass
class Line:
    """A finding; ``ok`` is yes, no, skipped or, where there is nothing to judge, empty."""

    part: str
    name: str
    value: str
    unit: str
    ok: str


@dataclass
class Size:
    """How much is asked."""

    targets: tuple[str, ...]
    epochs: int
    at_a_time: int
    limits: dict[str, float]
    jobs: int


FULL = Size(
    tuple(f"{cell}/{name}" for cell, name in ((CELL, "metrics.json"), (CULLED, "metrics.json"), (MATCHED, "curated.csv"))),
    50, 14, {"jobs": 150.0, "variants": 110.0, "memory": 60.0}, 8,
)  # fmt: skip
TINY = Size((f"{CELL}/metrics.json",), 3, 2, {"jobs": 1500.0, "variants": 1500.0, "memory": 900.0}, 1)


class Check:
    """One run: its folders, its time, and what it found."""

    def __init__(self, chosen: argparse.Namespace, scratch: Path) -> None:
        self.device, self.tiny, self.out, self.scratch = chosen.device, chosen.tiny, chosen.out.absolute(), scratch
        self.size = TINY if chosen.tiny else FULL
        self.families = ("vae",) if chosen.tiny else ("vae", "lm")
        self.began, self.seconds = time.monotonic(), chosen.seconds
        self.lines: list[Line] = []
        self.title = ""
        self._running: list[subprocess.Popen] = []
        self.random = random.Random()
        self.environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "TORCHINDUCTOR_COMPILE_THREADS": "4",
        }  # fmt: skip
        self.environment.setdefault("HOME", str(scratch))
        if self.tiny:
            # Minutes on a processor; the way there is the same.
            self.environment["TORCH_COMPILE_DISABLE"] = "1"
        if not (Path(sys.executable).parent / "python").exists():
            # Rules call the interpreter by this name.
            python = scratch / "bin" / "python"
            python.parent.mkdir()
            python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
            python.chmod(0o755)
            self.environment["PATH"] = f"{python.parent}:{os.environ['PATH']}"

    # ---- What was found

    def found(self, part: str, name: str, value: object, unit: str = "", ok: bool | str = "") -> None:
        """Note and tell a line, and write all of them: whatever ends this program, they are there."""
        told = f"{value:.3g}" if isinstance(value, float) else str(value)
        verdict = ok if isinstance(ok, str) else "yes" if ok else "no"
        line = Line(part, name, told.replace("|", "/").replace("\n", " "), unit, verdict)
        self.lines.append(line)
        print(f"{self.age():5.0f} s  {line.part}: {line.name}: {line.value} {line.unit} {verdict}".rstrip(), flush=True)
        with open(self.out / "check.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Line)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(each) for each in self.lines)
        rows = [f"| {each.part} | {each.name} | {each.value} | {each.unit} | {each.ok} |" for each in self.lines]
        head = [self.title, "", "| part | what | value | unit | ok |", "| --- | --- | ---: | --- | --- |"]
        (self.out / "check.md").write_text("\n".join([*head, *rows, ""]), encoding="utf-8")

    def log(self, name: str, text: str) -> None:
        """Keep what a program said."""
        with open(self.out / "check.log", "a", encoding="utf-8") as file:
            file.write(f"==== {name}, after {self.age():.0f} s\n{text[-200_000:]}\n")

    def age(self) -> float:
        return time.monotonic() - self.began

    def left(self) -> float:
        return self.seconds - self.age()

    # ---- Programs

    def start(self, name: str, command: list[str], folder: Path, **environment: str) -> subprocess.Popen:
        """Start a program in a session of its own, so that it ends with all that it started."""
        # A folder for temporary files of its own: the lock of a GPU is in there, and programs of one part share it.
        temporary = self.scratch / "temporary" / name.replace(" ", "-")
        temporary.mkdir(parents=True, exist_ok=True)
        with open(self._said(name), "a", encoding="utf-8") as said:
            process = subprocess.Popen(
                command, cwd=folder, stdout=said, stderr=subprocess.STDOUT, start_new_session=True, stdin=subprocess.DEVNULL,
                env={**self.environment, "TMPDIR": str(temporary), **environment},
            )  # fmt: skip
        self._running.append(process)
        return process

    def end(self, name: str, process: subprocess.Popen, limit: float) -> int:
        """Wait for a program for some seconds at most, and return its exit code; what it said goes into the log."""
        try:
            process.wait(max(0.1, limit))
        except subprocess.TimeoutExpired:
            kill(process)
            self.log(name, "(ended: its time was over)")
        self.log(name, self._said(name).read_text(encoding="utf-8", errors="replace"))
        return int(process.returncode)

    def _said(self, name: str) -> Path:
        return self.scratch / f"{name.replace(' ', '-')}.txt"

    def end_all(self) -> None:
        for process in self._running:
            if process.poll() is None:
                kill(process)

    def attempt(self, part: str, name: str, work: Callable[[], None]) -> None:
        """Do a part; what goes wrong in it becomes a line."""
        try:
            work()
        except Exception as error:
            self.log(f"{part}: {name}", f"{type(error).__name__}: {error}")
            self.found(part, name, f"{type(error).__name__}: {error}"[:300], ok=False)

    # ---- 0. The machine

    def machine(self) -> None:
        """Versions and the device; other versions than the pinned ones are told, no more.

        Raises:
            SystemExit: if the device is not there.
        """
        asked = (
            "import torch\n"
            "if torch.cuda.is_available():\n"
            "    it = torch.cuda.get_device_properties(0)\n"
            "    size, kind = f'{it.total_memory / 2**30:.0f} GiB', f'capability {it.major}.{it.minor}'\n"
            "    print('GPU:', it.name, size, kind, 'CUDA', torch.version.cuda)\n"
        )
        process = self.start("device", [sys.executable, "-c", asked], ROOT)
        self.end("device", process, 120)
        seen = [line for line in self._said("device").read_text().splitlines() if line.startswith("GPU: ")]
        name = "a processor" if self.device == "cpu" else seen[0].removeprefix("GPU: ") if seen else ""
        pinned = dict(
            line.split("==") for file in ("torch", "light") for line in (ROOT / f"envs/{file}.txt").read_text().split() if "==" in line
        )  # fmt: skip
        self.title = f"{name or 'no GPU'}, Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d %H:%M')}"
        for package in PACKAGES:
            installed = installed_version(package)
            self.found("machine", package, installed, f"pinned: {pinned[package]}")
        self.found("machine", "device", name or "torch sees no GPU", ok=bool(name))
        if not name:
            sys.exit(1)

    # ---- 1. Jobs

    def project(self, name: str, how: dict[str, object]) -> Path:
        """A copy of the project, with a configuration that says where jobs run."""
        folder = self.scratch / name
        folder.mkdir()
        for each in SHIPPED:
            if (ROOT / each).is_dir():
                shutil.copytree(ROOT / each, folder / each, ignore=shutil.ignore_patterns("__pycache__", "models"))
            else:
                shutil.copy(ROOT / each, folder / each)
        (folder / "execution.json").write_text(json.dumps({"execution": how}))
        return folder

    def snakemake(self, name: str, folder: Path, experiment: str, targets: Sequence[str]) -> subprocess.Popen:
        """Start an experiment's jobs. Several start at once: they wait for the GPU when they need it."""
        command = [
            sys.executable, "-m", "snakemake", "--cores", str(self.size.jobs), "--resources", "gpu=4", "--scheduler", "greedy",
            "--keep-going", *(f"results/{experiment}/{target}" for target in targets),
            "--configfile", f"resources/experiments/{experiment}.yaml", "execution.json",
        ]  # fmt: skip
        return self.start(name, command, folder)

    def log_jobs(self, folder: Path) -> None:
        """Keep what the jobs of a copy of the project said."""
        for file in sorted((folder / "results").rglob("logs/**/*.log")):
            self.log(str(file.relative_to(folder)), file.read_text(encoding="utf-8", errors="replace"))

    def jobs(self) -> None:
        """The same jobs on the device and on the processor."""
        # Without a GPU, other batches make for other rounding, so that there is something to compare.
        how = (
            {"per_device_batch_size": 7, "sample_batch_size": 11, "embed_batch_size": 13}
            if self.device == "cpu"
            else {}
        )
        self.on_device = self.project("on-device", {"device": self.device, **how})
        self.on_processor = self.project("on-processor", {"device": "cpu"})
        process = self.snakemake("jobs", self.on_device, "smoke", self.size.targets)
        self.beside = self.snakemake("jobs on the processor", self.on_processor, "smoke", self.size.targets)
        began = self.age()
        status = self.end("jobs", process, min(self.size.limits["jobs"], self.left()))
        if status:
            self.log_jobs(self.on_device)
        self.found("jobs", "smoke jobs through Snakemake", self.age() - began, "s", status == 0)

    def comparison(self) -> None:
        """Compare what the jobs made on the device with what they made on the processor."""
        status = self.end("jobs on the processor", self.beside, min(60.0, self.left()))
        self.found("jobs", "the same on the processor", status, "exit code", status == 0)
        ours, theirs = (folder / RESULTS for folder in (self.on_device, self.on_processor))

        def same(name: str) -> tuple[Path, Path]:
            return ours / name, theirs / name

        mine, other = (load_file(path)["mean"] for path in same("reference/latents.safetensors"))
        apart = float(np.abs(mine - other).max() / np.abs(other).max())
        self.found("jobs", "latents, device against processor", apart, "of the largest", apart < LATENTS_APART)
        for name in ("base/seed-0/initial_images.parquet", f"{CELL}/samples.parquet", f"{CULLED}/samples.parquet"):
            if (ours / name).is_file() or not self.tiny:
                apart = levels(*same(name))
                self.found("jobs", f"{name}, device against processor", apart, "levels of 255", apart < LEVELS_APART)
        for cell in (CELL, CULLED):
            if f"{cell}/metrics.json" in self.size.targets:
                for name, apart, allowed in scores_apart(*same(f"{cell}/metrics.json")):
                    self.found(
                        "jobs",
                        f"{cell}: {name}, device against processor",
                        apart,
                        f"at most {allowed:.3g}",
                        apart <= allowed,
                    )
        if f"{MATCHED}/curated.csv" in self.size.targets:
            targets = [[row["target"] for row in read_text_csv(path)] for path in same(f"{MATCHED}/curated.csv")]
            agree = float(np.mean([one == another for one, another in zip(*targets, strict=True)]))
            self.found("jobs", "colour matching chooses the same real images", agree, "of all", agree > 0.9)

    # ---- 2. and 3. Retraining and sampling by hand

    def generations(self) -> None:
        """Generation 0 of the other families: started beside the variants, judged after them."""
        limit = min(self.size.limits["variants"], self.left())
        for name, (folder, process) in self.generating.items():
            status = self.end(f"family {name}", process, limit)
            if status:
                self.log_jobs(folder)
                self.found("families", f"generation 0 of {name}", f"exit code {status}", "see check.log", ok=False)
                continue
            content = json.loads((folder / f"results/{name}/base/seed-0/metrics.json").read_text(encoding="utf-8"))
            finite = bool(np.isfinite([row["value"] for row in content["rows"]]).all())
            self.found("families", f"generation 0 of {name}", len(content["rows"]), "scores", finite)

    def begin_generations(self) -> None:
        self.generating = {}
        for name in self.families:
            folder = self.project(f"family-{name}", {"device": self.device})
            process = self.snakemake(f"family {name}", folder, name, ["base/seed-0/metrics.json"])
            self.generating[name] = (folder, process)

    def variants(self) -> None:
        """Retrain and sample in several ways, side by side, from what the jobs made."""
        part = "variants"
        if not (self.on_device / RESULTS / CELL / WEIGHTS).is_file():
            self.found(part, "retraining and sampling", "the jobs made no model to go on from", ok="skipped")
            return
        self._until = time.monotonic() + min(self.size.limits["variants"], self.left())
        cuda = self.device == "cuda"
        fits = {"fp32": [], "again": [], "killed": [], "bf16": [], "fp32 compiled": ["--compile"]}
        fits |= {"tf32": [], "bf16 compiled": ["--compile"]} if cuda else {}
        fits["LoRA"] = ["--lora-rank", "4", "--lora-alpha", "4", "--lora-target-modules", *LORA]
        draws = {"fp32": [], "killed": [], "fp16": [], "bf16": [], "fp32 compiled": ["--compile"]}
        if self.tiny:
            # A processor has no use for them, and little time.
            draws.pop("fp16")
            fits.pop("again")
        with ThreadPoolExecutor(self.size.at_a_time) as pool:
            done = {
                **{f"retraining {name}": pool.submit(self.fit, name, more) for name, more in fits.items()},
                **{f"sampling {name}": pool.submit(self.draw, name, more) for name, more in draws.items()},
            }
            # From what it has merged, whenever that is there.
            done["sampling LoRA"] = pool.submit(self.draw_merged, done["retraining LoRA"])
        draws["LoRA"] = []
        failed = {name for name, each in done.items() if each.exception()}
        for name in sorted(failed):
            self.found(part, name, str(done[name].exception())[:300], ok=False)
        for name in fits:
            if not {f"retraining {name}", "retraining fp32"} & failed:
                self.attempt(part, f"retraining {name}", lambda name=name: self.judge_fit(name))
        for name in draws:
            if not {f"sampling {name}", "sampling fp32"} & failed:
                self.attempt(part, f"sampling {name}", lambda name=name: self.judge_draw(name))

    def fit(self, name: str, more: list[str]) -> None:
        """Retrain the cell's model on its training set."""
        folder = self.folder("fit", name)
        precision = name.split()[0] if name.split()[0] in LOSSES_APART else "fp32"
        config = json.loads((self.on_device / RESULTS / "config.json").read_text())
        config["finetune"] |= {"precision": precision, "epochs": self.size.epochs}
        grid = Grid(config)
        command = [
            sys.executable, "scripts/finetune.py", *shlex.split(settings(grid, "finetune", grid.arm("none"), 1)), *self.how(),
            "--mix", str(RESULTS / CELL / "mix.parquet"), "--latents", str(RESULTS / "reference/latents.safetensors"),
            "--model", str(folder / "model"), "--losses", str(folder / "losses.csv"), "--log", str(folder / "log"), *more,
        ]  # fmt: skip
        self.run(f"retraining {name}", command, folder)

    def draw_merged(self, retrained: Future[None]) -> None:
        """Sample from the model that LoRA's updates were merged into, once it is there."""
        retrained.result()
        self.draw("LoRA", [], self.folder("fit", "LoRA") / "model")

    def draw(self, name: str, more: list[str], model: Path | None = None) -> None:
        """Sample from the cell's model or another one, in batches that are small enough to be interrupted."""
        folder = self.folder("draw", name)
        precision = name if name in HALVES else "fp32"
        config = json.loads((self.on_device / RESULTS / "config.json").read_text())
        config["sample"]["precision"] = precision
        grid = Grid(config)
        command = [
            sys.executable, "scripts/sample.py", *shlex.split(settings(grid, "sample", grid.arm("none"), 1)), *self.how(),
            "--sample-batch-size", "6", "--real", str(RESULTS / "reference/real.parquet"),
            "--model", str(model or RESULTS / CELL / "model"), "--output", str(folder / "samples.parquet"),
            "--sheet", str(folder / "samples.png"), "--log", str(folder / "log"), *more,
        ]  # fmt: skip
        self.run(f"sampling {name}", command, folder)

    def changed_by_lora(self, weights: Path) -> tuple[str, str]:
        """Which weights differ from those that LoRA began with, and which should: as counts and a sign of their names."""
        before = load_file(self.on_device / "resources/tiny-diffusion/unet/diffusion_pytorch_model.safetensors")
        after = load_file(weights)
        if before.keys() != after.keys():
            raise RuntimeError("the merged model has other weights than the one it was made of")
        differ = {name for name in before if not np.array_equal(before[name], after[name])}
        wanted = {name for name in before if any(name.endswith(f".{layer}.weight") for layer in LORA)}
        return (f"{len(differ)}", f"{len(wanted)}") if differ <= wanted else (f"others: {min(differ - wanted)}", "")

    def how(self) -> list[str]:
        where = ["--device", self.device, "--threads", "1", "--checkpoint-seconds", "0"]
        return [*where, "--cell", CELL, "--seed", "0", "--iteration", "1"]

    def folder(self, kind: str, name: str) -> Path:
        made = self.scratch / kind / name.replace(" ", "-")
        made.mkdir(parents=True, exist_ok=True)
        return made

    def run(self, name: str, command: list[str], folder: Path) -> None:
        """Run a script to its end; one that is to be killed is killed first, and then run again."""
        if name.endswith("killed"):
            process = self.start(name, command, self.on_device)
            self.kill_in_the_middle(process, folder / "log")
            self.end(name, process, 10)
            if process.returncode != -signal.SIGKILL:
                raise RuntimeError(f"it ended by itself, with {process.returncode}, before it could be killed")
        status = self.end(name, self.start(name, command, self.on_device), self._until - time.monotonic())
        if status:
            raise RuntimeError(f"exit code {status}, see check.log")

    def kill_in_the_middle(self, process: subprocess.Popen, log: Path) -> None:
        """Kill a job at a random moment after one of its first checkpoints."""
        wanted = self.random.randint(1, 3)
        while process.poll() is None and time.monotonic() < self._until:
            if log.is_file() and log.read_text(encoding="utf-8").count("checkpoint at") >= wanted:
                time.sleep(self.random.uniform(0, 0.05))
                break
            time.sleep(0.01)
        kill(process)

    def judge_fit(self, name: str) -> None:
        """Compare a retraining with the undisturbed one in single precision."""
        one, other = self.folder("fit", "fp32"), self.folder("fit", name)
        ours, theirs = losses(one), losses(other)
        apart = float(np.abs(theirs - ours).max() / ours.mean())
        if name == "fp32":
            self.found("variants", "retraining fp32: last loss", float(ours[-1]), "", bool(np.isfinite(ours).all()))
        elif name in ("again", "killed"):
            what = "the same command again" if name == "again" else f"killed, resumed {resumed(other / 'log')}"
            same = "the same bytes" if sha256(one / WEIGHTS) == sha256(other / WEIGHTS) else "other bytes"
            exact = same == "the same bytes" and bool((ours == theirs).all())
            # On a processor it is a promise; a GPU's kernels may differ between two runs.
            fine = exact or (self.device != "cpu" and apart < LOSSES_APART["fp32"])
            self.found("variants", f"retraining fp32, {what}", same, f"losses {apart:.2g} apart", fine)
        elif name == "LoRA":
            first, rest = abs(theirs[0] - ours[0]) / ours[0], float(np.abs(theirs - ours).mean() / ours.mean())
            fine = bool(np.isfinite(theirs).all()) and first < LOSSES_APART["fp32"] and 0 < rest < LORA_APART
            unit = f"of their mean; the first {first:.2g} apart; at most {LORA_APART} and {LOSSES_APART['fp32']}"
            self.found("variants", "retraining LoRA: losses against fp32", rest, unit, fine)
            changed, wanted = self.changed_by_lora(other / WEIGHTS)
            self.found("variants", "retraining LoRA: weights that changed", changed, f"of {wanted}", changed == wanted)
        else:
            allowed = LOSSES_APART[name.split()[0]]
            fine = bool(np.isfinite(theirs).all()) and apart < allowed
            self.found(
                "variants", f"retraining {name}: losses against fp32", apart, f"of their mean; at most {allowed}", fine
            )

    def judge_draw(self, name: str) -> None:
        """Compare pictures with the undisturbed ones in single precision."""
        one, other = (self.folder("draw", each) / "samples.parquet" for each in ("fp32", name))
        apart = levels(one, other)
        if name == "LoRA":
            deviation, apart = float(read_image_set(other).pixels.std()), levels(one, other, of_means=True)
            unit = f"levels of 255; mean picture {apart:.3g} from fp32's, at most {MEAN_PICTURES_APART:g}"
            fine = deviation > 1 and apart < MEAN_PICTURES_APART
            self.found("variants", "sampling what LoRA was merged into: deviation of pixels", deviation, unit, fine)
        elif name == "fp32":
            deviation = float(read_image_set(one).pixels.std())
            self.found("variants", "sampling fp32: deviation of pixels", deviation, "levels of 255", deviation > 1)
        elif name == "killed":
            same = "the same bytes" if sha256(one) == sha256(other) else "other bytes"
            fine = same == "the same bytes" or (self.device != "cpu" and apart < LEVELS_APART)
            what = f"sampling fp32, killed, resumed {resumed(other.parent / 'log')}"
            self.found("variants", what, same, f"{apart:.2g} levels apart", fine)
        elif name in HALVES:
            apart, allowed = levels(one, other, of_means=True), MEAN_PICTURES_APART
            what = f"sampling {name}: mean picture against fp32"
            self.found("variants", what, apart, f"levels of 255; at most {allowed:g}", apart < allowed)
        else:
            unit = f"levels of 255; at most {LEVELS_APART}"
            self.found("variants", f"sampling {name}: against fp32", apart, unit, apart < LEVELS_APART)

    # ---- 4. Memory

    def build_models(self) -> None:
        """Make the large models while other things run, and ask for too much of the first as soon as it is there."""
        self.shapes = self.scratch / "shapes"
        command = [
            sys.executable, str(ROOT / "tests/benchmark/true_shapes.py"), str(self.shapes), *MODELS,
            *(["--tiny"] if self.tiny else ["--device", self.device]),
        ]  # fmt: skip
        self.building = self.start("large models", command, ROOT, OMP_NUM_THREADS="4")
        if not self.tiny:
            # On a processor there is no time for more than one thing.
            self.begin_memory()

    def begin_memory(self) -> None:
        command = [
            sys.executable, str(ROOT / "tests/gpu/memory.py"), "--model", str(self.shapes / MODELS[0]),
            "--device", self.device, "--wait", "120",
        ]  # fmt: skip
        self.remembering = self.start("memory", command, ROOT)

    def memory(self) -> None:
        """Judge what memory.py found."""
        if self.tiny:
            self.begin_memory()
        status = self.end("memory", self.remembering, min(self.size.limits["memory"], self.left()))
        said = self._said("memory").read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [json.loads(line.removeprefix("FOUND ")) for line in said if line.startswith("FOUND ")]
        for line in lines:
            self.found("memory", line["name"], line["value"], line["unit"], line["ok"])
        self.found("memory", "memory.py", status, "exit code", status == 0 and bool(lines))

    # ---- 5. Speed

    def speed(self) -> None:
        """Time retraining and sampling at full size, with nothing beside."""
        status = self.end("large models", self.building, self.left())
        if status:
            raise RuntimeError(f"models of random weights could not be made: exit code {status}, see check.log")
        left = self.left() - 8
        if left < 30:
            self.found("speed", "model_speed.py", f"{left:.0f} s were left", ok="skipped")
            return
        how = (
            "--batch-size 2 --sample-batch-size 2 --steps 1 --num-inference-steps 2 --threads 1 --resolution 64"
            if self.tiny
            else "--steps 8 --threads 8"
        )
        command = [
            sys.executable, str(ROOT / "tests/benchmark/model_speed.py"), "--model", *MODELS, "--shapes", str(self.shapes),
            "--device", self.device, "--seconds", str(left), "--output", str(self.out / "speed.csv"),
            "--rates", str(self.out / "rates.csv"), *how.split(),
        ]  # fmt: skip
        if self.device == "cpu":
            command += ["--precisions", "fp32"]
        # Through a file: what it printed is there even if it has to be ended.
        for file in ("speed.csv", "rates.csv"):
            (self.out / file).unlink(missing_ok=True)
        status = self.end("speed", self.start("speed", command, ROOT, OMP_NUM_THREADS="8"), self.left())
        rows = read_text_csv(self.out / "speed.csv") if (self.out / "speed.csv").is_file() else []
        for row in rows:
            memory = f", {float(row['peak_gib']):.1f} GiB" if row["peak_gib"] else ""
            name = ", ".join(filter(None, [f"{row['model']}: {row['what']}", row["precision"]]))
            if row["per_second"]:
                note = f"; {row['note']}" if row["note"] else ""
                self.found("speed", name, float(row["per_second"]), f"images/s{memory}{note}", True)
            else:
                # Too large for the memory is a finding, not a fault.
                verdict = {"left": "skipped", "skipped:": "skipped", "does": ""}.get(row["note"].split()[0], "no")
                self.found("speed", name, row["note"], ok=verdict)
        for each in verdicts(rows):
            # At tiny shapes speeds say nothing.
            ok = "skipped" if each.ratio is None else "" if self.tiny else each.ratio >= each.least
            value = "not measured" if each.ratio is None else each.ratio
            self.found("wanted", each.name, value, f"at least {each.least:g}; {each.between}", ok)
        said = self._said("speed").read_text(encoding="utf-8", errors="replace").splitlines()
        head = [f"- {line}" for line in said if " parameters, " in line]
        self.title += "\n\n" + "\n".join([*head, "", *(line for line in said if line.startswith("| "))])
        self.found("speed", "model_speed.py", status, "exit code", status == 0 and bool(rows))


def installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def kill(process: subprocess.Popen) -> None:
    """End a program and all that it started, at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def levels(one: Path, other: Path, of_means: bool = False) -> float:
    """Mean difference of two image sets, or of their mean pictures, in levels of 255."""
    first, second = (read_image_set(path).pixels.astype(np.float32) for path in (one, other))
    if of_means:
        first, second = first.mean(0), second.mean(0)
    return float(np.abs(first - second).mean())


def losses(folder: Path) -> np.ndarray:
    return np.array([float(row["loss"]) for row in read_text_csv(folder / "losses.csv")])


def resumed(log: Path) -> str:
    """Where a job went on, as its log says."""
    said = [
        line.split("resumed ")[1].strip() for line in log.read_text(encoding="utf-8").splitlines() if "resumed " in line
    ]
    if not said:
        raise RuntimeError("it started over: no checkpoint was found")
    return said[-1]


def scores_apart(ours: Path, theirs: Path) -> Iterator[tuple[str, float, float]]:
    """How far scores differ, per metric the farthest, and how far they may: as shares, or in images for what is counted."""
    found: list[dict] = []
    for path in (ours, theirs):
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = content["rows"] if isinstance(content, dict) else content
        found.append({(row["set"], row["features"], row["metric"]): row for row in rows})
    if found[0].keys() != found[1].keys():
        raise RuntimeError(f"{ours} has other scores than {theirs}")
    worst: dict[str, tuple[float, float]] = {}
    for key, row in found[0].items():
        other, metric = found[1][key], key[2]
        difference = abs(row["value"] - other["value"])
        if metric in STEPPED:
            scale = 1.0 if metric == "unique_images" else row["n"]
            apart, allowed = difference * scale, float(IMAGES_APART)
        else:
            # A distance may be 0; its standard error tells what is small.
            apart, allowed = difference / max(abs(other["value"]), other["se"] or 0.0, 1e-9), SCORES_APART
        if not np.isfinite(apart):
            raise RuntimeError(f"{ours}: {key} is {row['value']}, not {other['value']}")
        worst[metric] = max(worst.get(metric, (0.0, allowed)), (apart, allowed))
    for metric, (apart, allowed) in sorted(worst.items()):
        unit = "images" if metric in STEPPED else "share"
        yield f"{metric} ({unit})", apart, allowed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="as little as possible: does it run?")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder for what is found")
    parser.add_argument("--seconds", type=float, default=455.0, help="what it may take in all")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "check.log").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as scratch:
        check = Check(chosen, Path(scratch))
        # Told to end, it ends what it started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            check.machine()
            check.attempt("speed", "the large models", check.build_models)
            check.attempt("jobs", "smoke jobs", check.jobs)
            check.attempt("families", "other families", check.begin_generations)
            check.attempt("variants", "retraining and sampling", check.variants)
            check.attempt("families", "other families", check.generations)
            check.attempt("jobs", "device against processor", check.comparison)
            check.attempt("memory", "out of memory on purpose", check.memory)
            check.attempt("speed", "model_speed.py", check.speed)
        finally:
            check.end_all()
    verdicts = {line.ok for line in check.lines}
    sys.exit(1 if "no" in verdicts else 3 if "skipped" in verdicts else 0)


if __name__ == "__main__":
    main()
