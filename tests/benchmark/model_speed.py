"""Retraining and sampling at full size against the usual way, on random weights of the true shapes.

    python tests/benchmark/model_speed.py                                   # Stable Diffusion 2.1's shapes, on a GPU
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
from pathlib import Path

import diffusers
import numpy as np
import psutil
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion.latents import encode_images
from nepotism.families.diffusion.pipeline import encode_prompts, load_denoiser, load_pipeline
from nepotism.families.diffusion.sample import sample
from nepotism.families.diffusion.training_set import TrainingSet
from nepotism.plan.rates import Rate, with_all_columns
from nepotism.runtime.devices import accelerator, start
from nepotism.runtime.progress import Progress
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

# Dense peak of matrix products, in TFLOP/s, by device and precision (vendors' data sheets).
PEAKS = {
    "H100": {"fp32": 67, "tf32": 495, "bf16": 989},
    "H200": {"fp32": 67, "tf32": 495, "bf16": 989},
    "A100": {"fp32": 19.5, "tf32": 156, "bf16": 312},
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
    parser.add_argument("--model", type=Path, help="a pipeline folder; without it, Stable Diffusion 2.1's shapes")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16, help="of retraining")
    parser.add_argument("--sample-batch-size", type=int, default=16)
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
        folder = chosen.model or stable_diffusion(Path(scratch))
        bench = Bench(chosen, folder, device, imported)
        results: list[Result] = []
        for result in bench.results():
            results.append(result)
            compare(results)
            if chosen.output:
                write_csv(chosen.output, Result, results)
            if chosen.rates:
                write_csv(chosen.rates, Rate, rates(results, bench), earlier)
    for line in table(results, bench):
        print(line)


def age() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def compare(results: list[Result]) -> None:
    """Fill in how much faster each is than the usual way, as far as that was measured."""
    for result in results:
        first = FIRST[result.what.split(",")[0]]
        usual = next((each.per_second for each in results if (each.what, each.precision) == first), None)
        result.speedup = result.per_second / usual if result.per_second and usual else None


def write_csv(path: Path, kind: type, rows: list, earlier: str = "") -> None:
    """Write rows of a dataclass after what a table had ``earlier``."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(earlier)
        writer = csv.DictWriter(file, [field.name for field in fields(kind)], lineterminator="\n")
        if not earlier:
            writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def stable_diffusion(folder: Path) -> Path:
    """Stable Diffusion 2.1 base with random weights: U-Net of 866 M parameters, autoencoder, OpenCLIP text encoder."""
    torch.manual_seed(0)
    (folder / "words").mkdir()
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "words" / "vocab.json").write_text(str({word: at for at, word in enumerate(words)}).replace("'", '"'))
    tokenizer = CLIPTokenizer({word: at for at, word in enumerate(words)}, [], model_max_length=77, pad_token="!")
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16,
            projection_dim=512, hidden_act="gelu",
        )
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=768,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True
    )
    schedule = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=schedule,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "pipeline", safe_serialization=True)
    return folder / "pipeline"


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
    """Everything that is timed, on one model and device."""

    def __init__(self, chosen: argparse.Namespace, folder: Path, device: torch.device, imported: float) -> None:
        self.chosen, self.folder, self.device = chosen, folder, device
        self._hardware: Accelerator | None = None
        self.name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        began = time.perf_counter()
        pipeline = load_pipeline(folder, None, "DDIMScheduler", device)
        self._synchronize()
        # What a job does before its first step; the files were just written, so that no disk is waited for.
        self.job_seconds = imported + time.perf_counter() - began
        config, vae = pipeline.unet.config, pipeline.vae
        self.parameters = sum(parameter.numel() for parameter in pipeline.unet.parameters()) / 1e6
        shrink = 2 ** (len(vae.config.block_out_channels) - 1)
        self.resolution = chosen.resolution or int(config.sample_size * shrink)
        size = chosen.batch_size
        self.pixels = np.random.default_rng(0).integers(
            0, 256, (size, self.resolution, self.resolution, 3), dtype=np.uint8
        )
        self.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        self.data = TrainingSet(
            [f"group/{index:03d}" for index in range(size)], encode_images(vae, self.pixels),
            vae.config.scaling_factor, encode_prompts(pipeline, ["a photo of a face", ""]).cpu(), [0] * size,
        )  # fmt: skip
        latents = torch.zeros(1, config.in_channels, self.resolution // shrink, self.resolution // shrink)
        text = torch.zeros(1, 77, config.cross_attention_dim)
        with FlopCounterMode(display=False) as counter, torch.device("meta"):
            shape = UNet2DConditionModel.from_config(config)
            shape(latents.to("meta"), torch.zeros(1, device="meta"), text.to("meta"))
        self.forward_tflop = counter.get_total_flops() / 1e12
        fitting.STEPS_BETWEEN_LOSSES = WARM
        fitting.Progress = Clock  # type: ignore[misc]

    def results(self) -> Iterator[Result]:
        """Measure one line after the other, while there is time for it."""
        longest = 0.0
        left = deque(self.plan())
        while left:
            planned = left.popleft()
            began = time.perf_counter()
            needed = longest + (COMPILING[planned.what.split(",")[0]] if planned.compiled else 0.0)
            if self.chosen.seconds and age() + needed > self.chosen.seconds:
                yield Result(planned.what, planned.precision, note="left out for want of time")
                continue
            print(f"... {planned.what}, {planned.precision}", flush=True)
            result = self._measured(planned)
            yield result
            if result.note == TOO_LARGE and planned.smaller:
                left.appendleft(planned.smaller)
            if not planned.compiled:
                longest = max(longest, time.perf_counter() - began)

    def plan(self) -> list[Planned]:
        """What is measured, the most wanted first: the forecast needs our speeds in single precision and in half of it."""
        chosen, lines = self.chosen, list[Planned]()

        def ours(precision: str, **execution: bool) -> None:
            lines.append(self._planned(precision, fitting.ExecutionOptions(**execution)))

        def drawn(precision: str, compiled: bool = False) -> None:
            what = "sampling, ours" + (", compiled" if compiled else "")
            lines.append(Planned(what, precision, lambda: self._sampling(precision, compiled), compiled))

        kinds = ["fp32"] if self.device.type == "cpu" else ["fp16", "bf16", "fp32"]
        ours(chosen.precisions[0])
        drawn(kinds[0])
        for precision in chosen.precisions[1:]:
            ours(precision)
        for kind in kinds[1:]:
            drawn(kind)
        ours("tf32" if "tf32" in chosen.precisions else chosen.precisions[0], gradient_checkpointing=True)
        for precision in chosen.precisions:
            lines.append(Planned(FIRST["retraining"][0], precision, lambda it=precision: self._reference(it)))
        lines.append(Planned(*FIRST["sampling"], lambda: self._sampling("fp32", False, plain=True)))
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
        held = execution.per_device_batch_size or self.chosen.batch_size
        half = self._planned(precision, replace(execution, per_device_batch_size=held // 2)) if held > 1 else None
        note = f"{held} images at a time" if held < self.chosen.batch_size else ""
        return Planned(what, precision, lambda: self._ours(precision, execution), execution.compile, half, note)

    def _reference(self, precision: str) -> Timed:
        hardware = self._hardware = fresh_accelerator(self.device, precision)
        pipeline = load_pipeline(self.folder, None, "DDIMScheduler", self.device)
        if self.device.type == "cuda" and precision == "fp32":
            # The script leaves torch as it is: convolutions in TF32, and no need to be deterministic.
            torch.backends.cudnn.allow_tf32 = True
        torch.use_deterministic_algorithms(False)
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        vae, encoder = pipeline.vae.to(kind), pipeline.text_encoder.to(kind)
        unet = load_denoiser(self.folder, None).to(self.device).train()
        optimizer = torch.optim.AdamW(unet.parameters(), lr=2e-6, weight_decay=1e-2)
        unet, optimizer = hardware.prepare(unet, optimizer)
        tokens = pipeline.tokenizer(
            ["a photo of a face"] * self.chosen.batch_size,
            padding="max_length",
            max_length=pipeline.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        images = torch.from_numpy(self.pixels).permute(0, 3, 1, 2).float() / 127.5 - 1

        def steps(count: int) -> None:
            for _ in range(count):
                with torch.no_grad():
                    batch = images.to(self.device, kind)
                    latents = vae.encode(batch).latent_dist.sample().float() * vae.config.scaling_factor
                    text = encoder(tokens.to(self.device))[0].float()
                noise = torch.randn_like(latents)
                times = torch.randint(0, 1000, (len(latents),), device=self.device)
                with hardware.autocast():
                    noisy = self.scheduler.add_noise(latents, noise, times)
                    predicted = unet(noisy, times, text, return_dict=False)[0]
                    loss = mse_loss(predicted.float(), noise.float())
                hardware.backward(loss)
                hardware.clip_grad_norm_(unet.parameters(), 1.0)
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
        unet = load_denoiser(self.folder, None)

        def timed(warm: int, count: int) -> float:
            # One retraining, because each compiles anew: its own clock tells when the first steps were done.
            Clock.seen = []
            size = self.chosen.batch_size
            settings = fitting.FitSettings(2e-6, warm + count, size, random_flip=True, caption_dropout=0.0)
            began = time.perf_counter()
            fitting.fit(unet, self.scheduler, self.data, settings, 0, 1, hardware, "benchmark", execution)
            ends = dict(Clock.seen)
            return ends[warm + count] - ends.get(warm, began)

        return timed

    # ---- Sampling

    def _sampling(self, precision: str, compiled: bool, plain: bool = False) -> Timed:
        chosen, count = self.chosen, self.chosen.sample_batch_size
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = plain
        self._deterministic(not plain)
        if plain:
            diffusers.utils.logging.disable_progress_bar()
            pipeline = StableDiffusionPipeline.from_pretrained(self.folder, safety_checker=None, local_files_only=True)
            pipeline.set_progress_bar_config(disable=True)
            pipeline.to(self.device)
        else:
            pipeline = load_pipeline(self.folder, None, "DDIMScheduler", self.device, precision, compile=compiled)
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)

        def draw(steps: int) -> None:
            if plain:
                pipeline(
                    ["a photo of a face"] * count, num_inference_steps=steps,
                    guidance_scale=chosen.guidance_scale, height=self.resolution, width=self.resolution,
                )  # fmt: skip
            else:
                sample(
                    pipeline, ["a photo of a face"] * count, [("benchmark", index) for index in range(count)],
                    chosen.guidance_scale, steps, self.resolution, count, "benchmark",
                )  # fmt: skip

        def timed(warm: int, steps: int) -> float:
            if warm:
                draw(1)
            return self._seconds(lambda: draw(steps))

        return timed

    # ---- Measuring

    def _measured(self, planned: Planned) -> Result:
        result = Result(planned.what, planned.precision, note=planned.note)
        try:
            timed = planned.build()
            if self._cuda:
                torch.cuda.reset_peak_memory_stats()
            if planned.what.startswith("retraining"):
                warm, count = (WARM, max(1, self.chosen.steps // WARM) * WARM) if self._cuda else (1, self.chosen.steps)
                result.per_second = self.chosen.batch_size * count / timed(warm, count)
                result.utilisation = self._utilisation(3 * self.forward_tflop * result.per_second, planned.precision)
            else:
                result.per_second = self.chosen.sample_batch_size / self._batch_seconds(timed)
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
        if self._hardware is not None:
            self._hardware.free_memory()
        torch._dynamo.reset()
        gc.collect()
        if self._cuda:
            torch.cuda.empty_cache()
        return result

    def _batch_seconds(self, timed: Timed) -> float:
        """Seconds of a batch of images, from two shorter runs: every step takes as long as another."""
        steps = self.chosen.num_inference_steps
        if steps < 12:
            return timed(1, steps)
        few, more = max(1, steps // 25), steps // 6
        seconds = timed(1, few)
        return seconds + (timed(0, more) - seconds) * (steps - few) / (more - few)

    def _utilisation(self, tflops: float, precision: str) -> float | None:
        peaks = next((peaks for name, peaks in PEAKS.items() if name in self.name), None)
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


def table(results: list[Result], bench: Bench) -> list[str]:
    """The results as Markdown."""

    def told(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    lines = [
        f"{bench.name}, torch {torch.__version__}, diffusers {diffusers.__version__}, {time.strftime('%Y-%m-%d')}: U-Net of "
        f"{bench.parameters:.0f} M parameters, {bench.resolution} x {bench.resolution}, {bench.forward_tflop:.3g} TFLOP a pass, "
        f"batches of {bench.chosen.batch_size} and {bench.chosen.sample_batch_size}, {bench.chosen.num_inference_steps} steps of "
        f"sampling, guidance {bench.chosen.guidance_scale:g}",
        "",
        "| | precision | images/s | against the usual way | FLOP utilisation | idle | peak GiB | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in results:
        numbers = [
            told(each.per_second, ".3g"), told(each.speedup, ".2f"), told(each.utilisation, ".0%"), told(each.idle, ".0%"),
            told(each.peak_gib, ".1f"),
        ]  # fmt: skip
        lines.append(f"| {' | '.join([each.what, each.precision, *numbers, each.note])} |")
    return lines


def held(train: Result, bench: Bench) -> int:
    """How many images a step of retraining held at a time: all, if its note says nothing else."""
    return int(train.note.split()[0]) if train.note.endswith("at a time") else bench.chosen.batch_size


def rates(results: list[Result], bench: Bench) -> list[Rate]:
    """What was measured as lines of the forecast's table: one for every pair of precisions and way of retraining."""
    guided = 2 if bench.chosen.guidance_scale > 1 else 1
    return [
        Rate(
            bench.name, round(bench.parameters, 1), bench.resolution, f"{train.precision}/{draw.precision}{compiled and ' compiled'}",
            round(train.per_second, 3), round(draw.per_second * bench.chosen.num_inference_steps * guided, 3),
            round(bench.job_seconds, 1), f"{time.strftime('%Y-%m-%d')} torch {torch.__version__}",
            training, held(train, bench), train.peak_gib and round(train.peak_gib, 2),
        )
        for compiled in ("", ", compiled")
        for told, training in WAYS.items()
        for train in results
        for draw in results
        if train.what == f"retraining, ours{told}{compiled}" and draw.what == f"sampling, ours{compiled}"
        if train.per_second and draw.per_second
    ]  # fmt: skip


if __name__ == "__main__":
    main()
