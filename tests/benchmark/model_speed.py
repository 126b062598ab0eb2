"""Retraining and sampling at full size against the usual way, on random weights of the true shapes.

    python tests/benchmark/model_speed.py                                   # Stable Diffusion 2.1's shapes, on a GPU
    python tests/benchmark/model_speed.py --model resources/tiny-diffusion  # the embedded model, on the CPU
    python tests/benchmark/model_speed.py --rates resources/rates.csv       # and add the speeds to the forecast's table

The reference loop encodes images and captions at every step, as diffusers' train_text_to_image.py does; ours encodes
them once. Everything runs in one process, one after the other, and prints one table.
"""

import argparse
import csv
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import diffusers
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from nepotism.devices import accelerator, start
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion.latents import encode_images
from nepotism.families.diffusion.pipeline import encode_prompts, load_pipeline, load_unet, load_vae
from nepotism.families.diffusion.sample import sample
from nepotism.forecast import Rate
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

# Dense peak of matrix products, in TFLOP/s, by device and precision (vendors' data sheets).
PEAKS = {
    "H100": {"fp32": 67, "tf32": 495, "bf16": 989},
    "H200": {"fp32": 67, "tf32": 495, "bf16": 989},
    "A100": {"fp32": 19.5, "tf32": 156, "bf16": 312},
}


@dataclass
class Result:
    """One line of the table."""

    what: str
    precision: str
    per_second: float
    speedup: float
    utilisation: float | None
    idle: float | None
    peak_gib: float | None


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
    parser.add_argument("--output", type=Path, help="the table as CSV")
    parser.add_argument("--rates", type=Path, help="table of the forecast, to add the speeds to")
    chosen = parser.parse_args()
    device = start(chosen.device, chosen.threads)
    if device.type == "cpu":
        chosen.precisions, chosen.compile = ["fp32"], False
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.model or stable_diffusion(Path(scratch))
        bench = Bench(chosen, folder, device)
        results = [*bench.retraining(), *bench.sampling()]
    for line in table(results, bench):
        print(line)
    if chosen.output:
        with open(chosen.output, "w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Result)])
            writer.writeheader()
            writer.writerows(asdict(result) for result in results)
    if chosen.rates:
        add_rate(chosen.rates, results, bench)


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


class Bench:
    """Everything that is timed, on one model and device."""

    def __init__(self, chosen: argparse.Namespace, folder: Path, device: torch.device) -> None:
        self.chosen, self.folder, self.device = chosen, folder, device
        self._hardware: Accelerator | None = None
        unet = load_unet(folder, None)
        self.parameters = sum(parameter.numel() for parameter in unet.parameters()) / 1e6
        vae = load_vae(folder)
        shrink = 2 ** (len(vae.config.block_out_channels) - 1)
        self.resolution = chosen.resolution or int(unet.config.sample_size * shrink)
        self.pixels = np.random.default_rng(0).integers(
            0, 256, (chosen.batch_size, self.resolution, self.resolution, 3), dtype=np.uint8
        )
        self.name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        latents = torch.zeros(1, unet.config.in_channels, self.resolution // shrink, self.resolution // shrink)
        text = torch.zeros(1, 77, unet.config.cross_attention_dim)
        with FlopCounterMode(display=False) as counter, torch.device("meta"):
            shape = UNet2DConditionModel.from_config(unet.config)
            shape(latents.to("meta"), torch.zeros(1, device="meta"), text.to("meta"))
        self.forward_tflop = counter.get_total_flops() / 1e12

    # ---- Retraining

    def retraining(self) -> list[Result]:
        """The reference loop and ours, at every precision."""
        results: list[Result] = []
        # The script's default is what speed-ups are told against; at equal precision, compare line by line.
        for precision in self.chosen.precisions:
            results.append(
                self._timed("retraining, encoding at every step", precision, self._reference(precision), 1, results)
            )
        for precision in self.chosen.precisions:
            for compiled in [False, True] if self.chosen.compile else [False]:
                name = "retraining, ours" + (", compiled" if compiled else "")
                results.append(self._timed(name, precision, self._ours(precision, compiled), 3, results))
        return results

    def _reference(self, precision: str) -> Callable[[int], None]:
        hardware = self._hardware = fresh_accelerator(self.device, precision)
        pipeline = load_pipeline(self.folder, None, "DDIMScheduler", self.device)
        scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        if self.device.type == "cuda" and precision == "fp32":
            # The script leaves torch as it is: convolutions in TF32, and no need to be deterministic.
            torch.backends.cudnn.allow_tf32 = True
        torch.use_deterministic_algorithms(False)
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        vae, encoder = pipeline.vae.to(kind), pipeline.text_encoder.to(kind)
        unet = load_unet(self.folder, None).to(self.device).train()
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

        def run(steps: int) -> None:
            for _ in range(steps):
                with torch.no_grad():
                    batch = images.to(self.device, kind)
                    latents = vae.encode(batch).latent_dist.sample().float() * vae.config.scaling_factor
                    text = encoder(tokens.to(self.device))[0].float()
                noise = torch.randn_like(latents)
                times = torch.randint(0, 1000, (len(latents),), device=self.device)
                with hardware.autocast():
                    predicted = unet(scheduler.add_noise(latents, noise, times), times, text, return_dict=False)[0]
                    loss = mse_loss(predicted.float(), noise.float())
                hardware.backward(loss)
                hardware.clip_grad_norm_(unet.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                # The script logs its loss at every step.
                loss.item()

        return run

    def _ours(self, precision: str, compiled: bool) -> Callable[[int], None]:
        hardware = self._hardware = fresh_accelerator(self.device, precision)
        torch.use_deterministic_algorithms(self.device.type == "cuda", warn_only=True)
        pipeline = load_pipeline(self.folder, None, "DDIMScheduler", self.device)
        scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        size = self.chosen.batch_size
        data = fitting.TrainingSet(
            [f"group/{index:03d}" for index in range(size)], encode_images(pipeline.vae, self.pixels),
            pipeline.vae.config.scaling_factor, encode_prompts(pipeline, ["a photo of a face", ""]), [0] * size,
        )  # fmt: skip
        unet = load_unet(self.folder, None)

        def run(steps: int) -> None:
            settings = fitting.FitSettings(2e-6, steps, size, flip=True, caption_dropout=0.0)
            fitting.fit(unet, scheduler, data, settings, 0, 1, hardware, "benchmark", fitting.Means(compile=compiled))

        return run

    # ---- Sampling

    def sampling(self) -> list[Result]:
        """A plain pipeline call, and ours in half precision, with and without compiling."""
        results = [self._sampled("sampling, a plain pipeline call", "fp32", False, [], plain=True)]
        kinds = ["fp32"] if self.device.type == "cpu" else ["fp32", "fp16", "bf16"]
        for precision in kinds:
            results.append(self._sampled("sampling, ours", precision, False, results))
            if self.chosen.compile:
                results.append(self._sampled("sampling, ours, compiled", precision, True, results))
        return results

    def _sampled(self, what: str, precision: str, compiled: bool, before: list[Result], plain: bool = False) -> Result:
        chosen, count = self.chosen, self.chosen.sample_batch_size
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = plain
        torch.use_deterministic_algorithms(self.device.type == "cuda" and not plain, warn_only=True)
        if plain:
            diffusers.utils.logging.disable_progress_bar()
            pipeline = StableDiffusionPipeline.from_pretrained(self.folder, safety_checker=None, local_files_only=True)
            pipeline.set_progress_bar_config(disable=True)
            pipeline.to(self.device)
        else:
            pipeline = load_pipeline(self.folder, None, "DDIMScheduler", self.device, precision, compile=compiled)
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)

        def run(times: int) -> None:
            for _ in range(times):
                if plain:
                    pipeline(
                        ["a photo of a face"] * count, num_inference_steps=chosen.num_inference_steps,
                        guidance_scale=chosen.guidance_scale, height=self.resolution, width=self.resolution,
                    )  # fmt: skip
                else:
                    sample(
                        pipeline, ["a photo of a face"] * count, [("benchmark", index) for index in range(count)],
                        chosen.guidance_scale, chosen.num_inference_steps, self.resolution, count, "benchmark",
                    )  # fmt: skip

        return self._measured(what, precision, run, 1, 1, count, before, None)

    # ---- Measuring

    def _timed(self, what: str, precision: str, run: Callable[[int], None], warm: int, before: list[Result]) -> Result:
        return self._measured(
            what, precision, run, warm, self.chosen.steps, self.chosen.batch_size, before, 3 * self.forward_tflop
        )

    def _measured(
        self, what: str, precision: str, run: Callable[[int], None], warm: int, times: int, images: int,
        before: list[Result], tflop: float | None,
    ) -> Result:  # fmt: skip
        print(f"... {what}, {precision}", flush=True)
        run(warm)
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        run(times)
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else None
        idle = self._idle(run, times) if cuda else None
        rate = images * times / seconds
        base = before[0].per_second if before else rate
        used = self._utilisation(rate, tflop, precision) if tflop else None
        del run
        if self._hardware is not None:
            self._hardware.free_memory()
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()
        return Result(what, precision, rate, rate / base, used, idle, peak)

    def _utilisation(self, rate: float, tflop: float, precision: str) -> float | None:
        peaks = next((peaks for name, peaks in PEAKS.items() if name in self.name), None)
        return rate * tflop / peaks[precision] if peaks else None

    def _idle(self, run: Callable[[int], None], times: int) -> float:
        """Share of the wall-clock in which no kernel ran, in another run under the profiler."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            began = time.perf_counter()
            run(max(2, times // 4))
            torch.cuda.synchronize()
            wall = (time.perf_counter() - began) * 1e6
        busy = sum(event.self_device_time_total for event in profiled.key_averages())
        return max(0.0, 1 - busy / wall)


def table(results: list[Result], bench: Bench) -> list[str]:
    """The results as Markdown."""

    def percent(value: float | None) -> str:
        return "" if value is None else f"{value:.0%}"

    lines = [
        f"{bench.name}, torch {torch.__version__}, diffusers {diffusers.__version__}, {time.strftime('%Y-%m-%d')}: U-Net of "
        f"{bench.parameters:.0f} M parameters, {bench.resolution} x {bench.resolution}, {bench.forward_tflop:.3g} TFLOP a pass",
        "",
        "| | precision | images/s | against the first | FLOP utilisation | idle | peak GiB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in results:
        memory = "" if each.peak_gib is None else f"{each.peak_gib:.1f}"
        lines.append(
            f"| {each.what} | {each.precision} | {each.per_second:.3g} | {each.speedup:.2f} | {percent(each.utilisation)} | "
            f"{percent(each.idle)} | {memory} |"
        )
    return lines


def add_rate(path: Path, results: list[Result], bench: Bench) -> None:
    """Add what was measured to the forecast's table: a line for every pair of precisions."""
    guided = 2 if bench.chosen.guidance_scale > 1 else 1
    rates = [
        Rate(
            bench.name, round(bench.parameters, 1), bench.resolution, f"{train.precision}/{draw.precision}{compiled and ' compiled'}",
            round(train.per_second, 3), round(draw.per_second * bench.chosen.num_inference_steps * guided, 3), 30.0,
            f"{time.strftime('%Y-%m-%d')} torch {torch.__version__}",
        )
        for compiled in ("", ", compiled")
        for train in results
        for draw in results
        if train.what == f"retraining, ours{compiled}" and draw.what == f"sampling, ours{compiled}"
    ]  # fmt: skip
    new = not path.is_file()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Rate)], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(asdict(rate) for rate in rates)


if __name__ == "__main__":
    main()
