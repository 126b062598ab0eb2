"""Retraining and sampling at full size against the usual way, on random weights of the true shapes.

    python tests/benchmark/model_speed.py                                   # Stable Diffusion 2.1's shapes, on a GPU
    python tests/benchmark/model_speed.py --model stable_diffusion_xl prx   # those of others: see true_shapes.py
    python tests/benchmark/model_speed.py --model resources/tiny-diffusion  # the embedded model, on the CPU
    python tests/benchmark/model_speed.py --rates resources/rates.csv       # and add the speeds to the forecast's table

The reference loop encodes images and captions at every step, as diffusers' train_text_to_image.py does; ours encodes
them once. Everything runs in one process, one after the other, and prints one table. What the forecast needs most comes
first, and files are written after every line: with `--seconds`, what would not end in time is left out and named.
"""

import argparse
import csv
import gc
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import psutil
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parent))
import true_shapes
from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones import backbone_of
from nepotism.families.diffusion.latents import encode_images
from nepotism.families.diffusion.pipeline import encode_prompts, load_pipeline, to_unit_range
from nepotism.families.diffusion.sample import sample
from nepotism.families.diffusion.training_set import TrainingSet
from nepotism.plan.rates import Rate, with_all_columns
from nepotism.runtime.devices import accelerator, start
from nepotism.runtime.errors import UserError
from nepotism.runtime.progress import Progress
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode

CAPTION = "a photo of a face"
# Dense peak of matrix products, in TFLOP/s, by device and precision (vendors' data sheets).
PEAKS = {
    "H100": {"fp32": 67, "tf32": 495, "bf16": 989, "fp16": 989},
    "H200": {"fp32": 67, "tf32": 495, "bf16": 989, "fp16": 989},
    "A100": {"fp32": 19.5, "tf32": 156, "bf16": 312, "fp16": 312},
}
# Steps before those that are timed, and as often as the loop reads its losses: a sign that the steps so far are done.
WARM = 4
# Seconds that compiling takes about: of sampling's network, and of retraining's, whose gradients are compiled too.
COMPILING = {"sampling": 60.0, "retraining": 100.0}
# How our retraining is called here, and in the forecast's table (`nepotism.plan.knobs.way_of_training`).
WAYS = {"": "", ", gradient checkpointing": "gradient_checkpointing"}
TOO_LARGE = "does not fit into the device's memory"
# What others are told against, if it was measured: the training script as it is, and a plain pipeline call.
FIRST = {
    "retraining": ("retraining, encoding at every step", "fp32"),
    "sampling": ("sampling, a plain pipeline call", "fp32"),
}


@dataclass
class Result:
    """One line of the table. What was left out or failed has no numbers, and a ``note`` that says why."""

    model: str
    what: str
    precision: str
    per_second: float | None = None
    speedup: float | None = None
    utilisation: float | None = None
    idle: float | None = None
    peak_gib: float | None = None
    note: str = ""


@dataclass
class Planned:
    """A line to measure: ``build`` loads what it takes and returns what is timed.

    ``smaller`` is what to try instead if that does not fit.
    """

    what: str
    precision: str
    build: Callable[[], "Timed"]
    compiled: bool = False
    smaller: "Planned | None" = None
    note: str = ""


# From the steps to warm up with and the steps to time: seconds of the latter in retraining, or of drawing a batch in
# as many steps.
Timed = Callable[[int, int], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", nargs="+", default=["stable_diffusion"], metavar="MODEL",
        help=f"folders of pipelines, or true shapes, the most wanted first: {', '.join(true_shapes.SHAPES)}",
    )  # fmt: skip
    parser.add_argument("--shapes", type=Path, help="folder of true shapes that were made before")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, help="of retraining; without it, what suits the model")
    parser.add_argument("--sample-batch-size", type=int)
    parser.add_argument("--resolution", type=int, help="pixels; without it, what the model was made for")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps that are timed")
    parser.add_argument("--num-inference-steps", type=int, default=50)
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "tf32", "bf16"])
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True, help="also time compiled ones"
    )
    parser.add_argument("--seconds", type=float, help="leave out what would end later after the start")
    parser.add_argument("--output", type=Path, help="the table as CSV")
    parser.add_argument("--rates", type=Path, help="table of the forecast, to add the speeds to")
    chosen = parser.parse_args()
    device = start(chosen.device, chosen.threads)
    imported = age()
    if device.type == "cpu":
        chosen.precisions, chosen.compile = ["fp32"], False
    earlier = chosen.rates.read_text(encoding="utf-8") if chosen.rates and chosen.rates.is_file() else ""
    # Tables from before there were columns for how models are retrained and for memory get them.
    earlier = with_all_columns(earlier) if earlier else ""
    with tempfile.TemporaryDirectory() as scratch:
        results: list[Result] = []
        benches: dict[str, Bench] = {}
        for bench, result in measured(chosen, chosen.shapes or Path(scratch), device, imported):
            results.append(result)
            if bench:
                benches[result.model] = bench
            compare(results)
            if chosen.output:
                write_csv(chosen.output, Result, results)
            if chosen.rates:
                write_csv(chosen.rates, Rate, rates(results, benches), earlier)
    for line in table(results, benches):
        print(line)


def measured(
    chosen: argparse.Namespace, shapes: Path, device: torch.device, imported: float
) -> Iterator[tuple["Bench | None", Result]]:
    """Every line of every model. Each model has a share of the time, and those after it have what it leaves; what is compiled,
    which takes long, comes last."""
    left = (chosen.seconds or 0.0) - imported
    weights = [2**-index for index in range(len(chosen.model))]
    compiled: list[tuple[Bench, list[Planned]]] = []
    for index, name in enumerate(chosen.model):
        until = imported + left * sum(weights[: index + 1]) / sum(weights) if chosen.seconds else None
        folder, shape = Path(name), true_shapes.SHAPES.get(name)
        try:
            if not folder.is_dir():
                folder = shapes / name
                if shape and not true_shapes.is_known(name):
                    raise UserError("such models cannot be retrained yet")
                if shape and not chosen.shapes:
                    true_shapes.build(name, shapes, device.type)
            bench = Bench(chosen, folder, shape, device, imported)
        except torch.OutOfMemoryError:
            yield None, Result(folder.name, "all", "", note=TOO_LARGE)
        except UserError as error:
            # Of an architecture that is not there yet, say.
            yield None, Result(folder.name, "all", "", note=f"skipped: {error}".replace("\n", " ")[:200])
        else:
            plan = bench.plan()
            for result in bench.results([each for each in plan if not each.compiled], until):
                yield bench, result
            compiled.append((bench, [each for each in plan if each.compiled]))
        release()
    for bench, plan in compiled:
        for result in bench.results(plan, chosen.seconds):
            yield bench, result


def release() -> None:
    """Give back the memory of what is no longer used."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def age() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def compare(results: list[Result]) -> None:
    """Fill in how much faster each is than the usual way, as far as that was measured."""
    usual = {(each.model, each.what, each.precision): each.per_second for each in results}
    for result in results:
        first = usual.get((result.model, *FIRST[kind])) if (kind := result.what.split(",")[0]) in FIRST else None
        result.speedup = result.per_second / first if result.per_second and first else None


def write_csv(path: Path, kind: type, rows: list, earlier: str = "") -> None:
    """Write rows of a dataclass after what a table had ``earlier``."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(earlier)
        writer = csv.DictWriter(file, [field.name for field in fields(kind)], lineterminator="\n")
        if not earlier:
            writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def fresh_accelerator(device: torch.device, precision: str) -> Accelerator:
    """Accelerate keeps the first precision of a process, and every model that it has seen."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return accelerator(device, precision)


class Clock(Progress):
    """The progress of retraining, which also notes when steps were done: losses are read then, so that they are."""

    seen: list[tuple[int, float]] = []  # noqa: RUF012

    def advance(self, count: int = 1, **values: float) -> None:
        super().advance(count, **values)
        self.seen.append((self._done, time.perf_counter()))


class Bench:
    """Everything that is timed of one model on one device.

    Args:
        chosen: options.
        folder: of the pipeline.
        shape: how it is measured, if it is one of `true_shapes`.
        device: where.
        imported: seconds until libraries were there.

    Raises:
        UserError: if the pipeline is of no architecture that can be retrained.
    """

    def __init__(
        self, chosen: argparse.Namespace, folder: Path, shape: true_shapes.Shape | None, device: torch.device, imported: float
    ) -> None:  # fmt: skip
        self.chosen, self.folder, self.device = chosen, folder, device
        self._hardware: Accelerator | None = None
        self.device_name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        self.short, self.note = (shape.short, shape.note) if shape else (False, "")
        self.batch_size = chosen.batch_size or (shape.batch_size if shape else 16)
        self.sample_batch_size = chosen.sample_batch_size or (shape.sample_batch_size if shape else 16)
        self.backbone = backbone_of(folder)
        began = time.perf_counter()
        pipeline = self._pipeline()
        self._synchronize()
        # What a job does before its first step; the files were just written, so that no disk is waited for.
        self.job_seconds = imported + time.perf_counter() - began
        network, vae = getattr(pipeline, self.backbone.denoiser), pipeline.vae
        self.network_class, self.config = type(network), network.config
        self.parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        usual = shape.resolution if shape else self.backbone.usual_resolution(pipeline)
        self.resolution = chosen.resolution or usual or 512
        size = self.batch_size
        self.pixels = np.random.default_rng(0).integers(
            0, 256, (size, self.resolution, self.resolution, 3), dtype=np.uint8
        )
        self.objective = self.backbone.objective(folder)
        text = texts.single(texts.moved(encode_prompts(pipeline, [CAPTION, ""]), "cpu"))
        self.data = TrainingSet(
            [f"group/{index:03d}" for index in range(size)], encode_images(vae, self.pixels),
            autoencoders.scaling_factor(vae), text, [0] * size,
        )  # fmt: skip
        self.forward_tflop = self._count(texts.rows(text, [0])) / 1e12
        # Kept for the loop that encodes at every step: it trains another denoiser.
        setattr(pipeline, self.backbone.denoiser, None)
        self._encoders = pipeline.to("cpu")
        # Of loading, which each line does; later, the longest line.
        self.longest = time.perf_counter() - began
        fitting.STEPS_BETWEEN_LOSSES = WARM
        fitting.Progress = Clock  # type: ignore[misc]

    def _pipeline(self, precision: str = "fp32", compiled: bool = False) -> Any:
        return load_pipeline(
            self.folder, None, self.backbone.any_scheduler, self.device, precision, compile=compiled
        )  # fmt: skip

    def _network(self, device: torch.device | None = None) -> Any:
        """The denoiser with other random weights, made where it runs: files of gigabytes are not read for every line."""
        with device or self.device:
            return self.network_class.from_config(self.config)

    @torch.no_grad()
    def _count(self, text: texts.Text) -> int:
        """Floating-point operations of a pass for one image; nothing is computed."""
        meta = torch.device("meta")
        shape = self.data.posteriors.mean.shape[2:]
        with FlopCounterMode(display=False) as counter, meta:
            self.backbone.predict(
                self._network(meta), torch.zeros(1, *shape), torch.zeros(1), texts.moved(text, "meta")
            )
        return int(counter.get_total_flops())

    def results(self, plan: list[Planned], until: float | None) -> Iterator[Result]:
        """Measure one line after the other, while there is time for it: until so many seconds after the start."""
        left = deque(plan)
        while left:
            planned = left.popleft()
            began = time.perf_counter()
            needed = self.longest + (COMPILING[planned.what.split(",")[0]] if planned.compiled else 0.0)
            if until and age() + needed > until:
                yield Result(self.folder.name, planned.what, planned.precision, note="left out for want of time")
                continue
            print(f"... {self.folder.name}: {planned.what}, {planned.precision}", flush=True)
            result = self._measured(planned)
            yield result
            if result.note == TOO_LARGE and planned.smaller:
                left.appendleft(planned.smaller)
            if not planned.compiled:
                self.longest = max(self.longest, time.perf_counter() - began)

    def plan(self) -> list[Planned]:
        """What is measured, the most wanted first: the forecast needs our speeds in single precision and in half of it."""
        chosen, lines = self.chosen, list[Planned]()

        def ours(precision: str, **execution: bool) -> None:
            lines.append(self._planned(precision, fitting.ExecutionOptions(**execution)))

        def drawn(precision: str, compiled: bool = False) -> None:
            what = "sampling, ours" + (", compiled" if compiled else "")
            lines.append(Planned(what, precision, lambda: self._sampling(precision, compiled), compiled))

        def usual(precision: str) -> None:
            lines.append(Planned(FIRST["retraining"][0], precision, lambda: self._reference(precision)))

        kinds = ["fp32"] if self.device.type == "cpu" else ["fp16", "bf16", "fp32"]
        plain = Planned(*FIRST["sampling"], lambda: self._sampling("fp32", False, plain=True))
        if self.short:
            # What a user would take, and what it is told against.
            best = chosen.precisions[-1]
            ours(best)
            usual(best)
            drawn(kinds[0])
            lines.append(plain)
            if best != FIRST["retraining"][1]:
                usual(FIRST["retraining"][1])
            return lines
        ours(chosen.precisions[0])
        drawn(kinds[0])
        for precision in chosen.precisions[1:]:
            ours(precision)
        for precision in reversed(chosen.precisions):
            usual(precision)
        lines.append(plain)
        for kind in kinds[1:]:
            drawn(kind)
        ours("tf32" if "tf32" in chosen.precisions else chosen.precisions[0], gradient_checkpointing=True)
        if chosen.compile:
            ours(chosen.precisions[-1], compile=True)
            drawn(kinds[0], compiled=True)
            for precision in chosen.precisions[:-1]:
                ours(precision, compile=True)
            for kind in kinds[1:]:
                drawn(kind, compiled=True)
        return lines

    # ---- Retraining

    def _planned(self, precision: str, execution: fitting.ExecutionOptions) -> Planned:
        """Our retraining; where a batch does not fit, in ever smaller parts."""
        what = "retraining, ours"
        what += ", gradient checkpointing" if execution.gradient_checkpointing else ""
        what += ", compiled" if execution.compile else ""
        held = execution.per_device_batch_size or self.batch_size
        half = self._planned(precision, replace(execution, per_device_batch_size=held // 2)) if held > 1 else None
        note = f"{held} images at a time" if held < self.batch_size else ""
        return Planned(what, precision, lambda: self._ours(precision, execution), execution.compile, half, note)

    def _reference(self, precision: str) -> Timed:
        hardware = self._hardware = fresh_accelerator(self.device, precision)
        pipeline = self._encoders.to(self.device)
        if self._cuda and precision == "fp32":
            # The script leaves torch as it is: convolutions in TF32, and no need to be deterministic.
            torch.backends.cudnn.allow_tf32 = True
        torch.use_deterministic_algorithms(False)
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        vae = pipeline.vae.to(kind)
        for name in self.backbone.text_encoders():
            if (encoder := getattr(pipeline, name)) is not None:
                encoder.to(kind)
        network, factor = self._network().train(), autoencoders.scaling_factor(vae)
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-6, weight_decay=1e-2)
        network, optimizer = hardware.prepare(network, optimizer)
        asked = self.objective
        images = to_unit_range(self.pixels)

        def steps(count: int) -> None:
            for _ in range(count):
                with torch.no_grad():
                    mean, deviation = autoencoders.posterior(vae, images.to(self.device, kind))
                    latents = (mean + deviation * torch.randn_like(mean)).float() * factor
                    text = texts.single(encode_prompts(pipeline, [CAPTION] * len(latents)))
                noise = torch.randn_like(latents)
                levels = torch.randint(0, asked.timesteps, (len(latents),), device=self.device)
                noisy, target = asked.noised(latents, noise, levels), asked.target(latents, noise, levels)
                with hardware.autocast():
                    predicted = asked.predict(network, noisy, asked.times(levels), text)
                    loss = mse_loss(predicted.float(), target.float())
                hardware.backward(loss)
                hardware.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                # The script logs its loss at every step.
                loss.item()

        def timed(warm: int, count: int) -> float:
            steps(warm)
            return self._seconds(lambda: steps(count))

        return timed

    def _ours(self, precision: str, execution: fitting.ExecutionOptions) -> Timed:
        hardware = self._hardware = fresh_accelerator(self.device, precision)
        self._deterministic(True)
        network = self._network()

        def timed(warm: int, count: int) -> float:
            # One retraining, because each compiles anew: its own clock tells when the first steps were done.
            Clock.seen = []
            settings = fitting.FitSettings(2e-6, warm + count, self.batch_size, random_flip=True, caption_dropout=0.0)
            began = time.perf_counter()
            fitting.fit(network, self.objective, self.data, settings, 0, 1, hardware, "benchmark", execution)
            ends = dict(Clock.seen)
            return ends[warm + count] - ends.get(warm, began)

        return timed

    # ---- Sampling

    def _sampling(self, precision: str, compiled: bool, plain: bool = False) -> Timed:
        chosen, count = self.chosen, self.sample_batch_size
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = plain
        self._deterministic(not plain)
        if plain:
            call = self._plain_call()
        else:
            pipeline = self._pipeline(precision, compiled)

        def draw(steps: int) -> None:
            if plain:
                call([CAPTION] * count, steps)
            else:
                sample(
                    pipeline, [CAPTION] * count, [("benchmark", index) for index in range(count)],
                    chosen.guidance_scale, steps, self.resolution, count, "benchmark",
                )  # fmt: skip

        def timed(warm: int, steps: int) -> float:
            if warm:
                draw(1)
            return self._seconds(lambda: draw(steps))

        return timed

    def _plain_call(self) -> Callable[[list[str], int], None]:
        """What someone does who has a pipeline and knows no more: all captions in one call, or one by one if that fails."""
        diffusers.utils.logging.disable_progress_bar()
        pipeline = diffusers.DiffusionPipeline.from_pretrained(self.folder, local_files_only=True).to(self.device)
        pipeline.set_progress_bar_config(disable=True)
        # As many passes as ours.
        pipeline.scheduler = self.backbone.scheduler(self.folder, self.backbone.any_scheduler)
        size = {"height": self.resolution, "width": self.resolution}
        if "use_resolution_binning" in signature(pipeline.__call__).parameters:
            size["use_resolution_binning"] = False

        def call(captions: list[str], steps: int) -> None:
            pipeline(captions, num_inference_steps=steps, guidance_scale=self.chosen.guidance_scale, **size)

        def one_by_one(captions: list[str], steps: int) -> None:
            for caption in captions:
                call([caption], steps)

        try:
            call([CAPTION] * 2, 1)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "must match the size" not in str(error):
                raise
            return one_by_one
        return call

    # ---- Measuring

    def _measured(self, planned: Planned) -> Result:
        result = Result(self.folder.name, planned.what, planned.precision, note=planned.note)
        try:
            timed = planned.build()
            if self._cuda:
                torch.cuda.reset_peak_memory_stats()
            if planned.what.startswith("retraining"):
                warm, count = (WARM, max(1, self.chosen.steps // WARM) * WARM) if self._cuda else (1, self.chosen.steps)
                result.per_second = self.batch_size * count / timed(warm, count)
                passes = 3
            else:
                result.per_second = self.sample_batch_size / self._batch_seconds(timed)
                passes = self.passes
            # Of the network alone: what encoders do is not counted, and neither is what checkpointing computes twice.
            result.utilisation = self._utilisation(passes * self.forward_tflop * result.per_second, planned.precision)
            if self._cuda:
                result.peak_gib = torch.cuda.max_memory_allocated() / 2**30
                if not planned.compiled:
                    result.idle = self._idle(timed)
        except torch.OutOfMemoryError:
            result.note = TOO_LARGE
        except Exception as error:
            traceback.print_exc()
            result.note = f"failed: {type(error).__name__}: {error}".splitlines()[0][:200]
        # Models that were prepared or compiled hold one another: only then is their memory free.
        timed = None
        self._encoders.to("cpu")
        if self._hardware is not None:
            self._hardware.free_memory()
        release()
        return result

    @property
    def passes(self) -> int:
        """Of the network, for an image."""
        return int(self.chosen.num_inference_steps) * (2 if self.chosen.guidance_scale > 1 else 1)

    def _batch_seconds(self, timed: Timed) -> float:
        """Seconds of a batch of images, from two shorter runs: every step takes as long as another."""
        steps = self.chosen.num_inference_steps
        if steps < 12:
            return timed(1, steps)
        few, more = max(1, steps // 25), steps // 6
        seconds = timed(1, few)
        return seconds + (timed(0, more) - seconds) * (steps - few) / (more - few)

    def _utilisation(self, tflops: float, precision: str) -> float | None:
        peaks = next((peaks for name, peaks in PEAKS.items() if name in self.device_name), None)
        return tflops / peaks[precision] if peaks else None

    def _idle(self, timed: Timed) -> float | None:
        """Share of the wall-clock in which no kernel ran, in another run under the profiler; None if it saw nothing."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            wall = 1e6 * timed(0, 4)
        # A loop's own clock starts after its set-up, in which few kernels run.
        busy = sum(event.self_device_time_total for event in profiled.key_averages())
        return max(0.0, 1 - busy / wall) if busy else None

    def _seconds(self, run: Callable[[], None]) -> float:
        self._synchronize()
        began = time.perf_counter()
        run()
        self._synchronize()
        return time.perf_counter() - began

    def _deterministic(self, wanted: bool) -> None:
        torch.use_deterministic_algorithms(self._cuda and wanted, warn_only=True)

    @property
    def _cuda(self) -> bool:
        return self.device.type == "cuda"

    def _synchronize(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()


def table(results: list[Result], benches: dict[str, Bench]) -> list[str]:
    """The results as Markdown."""

    def told(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    lines = [
        f"{name}: {bench.device_name}, torch {torch.__version__}, diffusers {diffusers.__version__}, {time.strftime('%Y-%m-%d')}: "
        f"{bench.network_class.__name__} of {bench.parameters:.4g} M parameters, {bench.resolution} x {bench.resolution}, "
        f"{bench.forward_tflop:.3g} TFLOP a pass, batches of {bench.batch_size} and {bench.sample_batch_size}, "
        f"{bench.chosen.num_inference_steps} steps of sampling, guidance {bench.chosen.guidance_scale:g}"
        + (f"; {bench.note}" if bench.note else "")
        for name, bench in benches.items()
    ]
    lines += [
        "",
        "| model | | precision | images/s | against the usual way | FLOP utilisation | idle | peak GiB | |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in results:
        numbers = [
            told(each.per_second, ".3g"), told(each.speedup, ".2f"), told(each.utilisation, ".0%"), told(each.idle, ".0%"),
            told(each.peak_gib, ".1f"),
        ]  # fmt: skip
        lines.append(f"| {' | '.join([each.model, each.what, each.precision, *numbers, each.note])} |")
    return lines


def held(train: Result, bench: Bench) -> int:
    """How many images a step of retraining held at a time: all, if its note says nothing else."""
    return int(train.note.split()[0]) if train.note.endswith("at a time") else bench.batch_size


def rates(results: list[Result], benches: dict[str, Bench]) -> list[Rate]:
    """What was measured as lines of the forecast's table: one for every pair of precisions and way of retraining."""
    return [
        Rate(
            bench.device_name, float(f"{bench.parameters:.4g}"), bench.resolution,
            f"{train.precision}/{draw.precision}{compiled and ' compiled'}", round(train.per_second, 3),
            round(draw.per_second * bench.passes, 3), round(bench.job_seconds, 1),
            f"{time.strftime('%Y-%m-%d')} torch {torch.__version__}",
            training, held(train, bench), train.peak_gib and round(train.peak_gib, 2),
        )
        for name, bench in benches.items()
        for compiled in ("", ", compiled")
        for told, training in WAYS.items()
        for train in results
        for draw in results
        if train.model == draw.model == name
        if train.what == f"retraining, ours{told}{compiled}" and draw.what == f"sampling, ours{compiled}"
        if train.per_second and draw.per_second
    ]  # fmt: skip


if __name__ == "__main__":
    main()
