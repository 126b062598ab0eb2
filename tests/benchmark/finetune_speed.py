"""Whole-process time of scripts/finetune.py against diffusers' train_text_to_image.py: same model, images and steps.

    python tests/benchmark/finetune_speed.py PATH/train_text_to_image.py

Both train the embedded U-Net for 80 steps of 32 on 300 portraits at 64 x 64 in fp32 on the CPU, in turn, several times.
Ours gets all images as generated ones, so that it encodes every one of them (twice, with its mirror), as in a cell at
ratio 100.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from nepotism.data.images import read_image_set, write_image_set  # noqa: E402
from timing import timed  # noqa: E402

BASE = ROOT / "resources" / "tiny-diffusion"
EPOCHS, BATCH, RATE, STEPS = 8, 32, 2e-4, 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=Path, help="diffusers' examples/text_to_image/train_text_to_image.py")
    parser.add_argument("--runs", type=int, default=3, help="runs of each")
    parser.add_argument("--threads", type=int, default=2, help="torch threads of each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        environment = {"OMP_NUM_THREADS": str(arguments.threads), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        for number in range(arguments.runs):
            times["ours"].append(timed(ours(folder, number, arguments.threads), **environment))
            times["theirs"].append(timed(theirs(arguments.script, folder, number), **environment))
            print(f"run {number + 1}: ours {times['ours'][-1]:.1f} s, theirs {times['theirs'][-1]:.1f} s", flush=True)
    ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["theirs"], strict=True)]
    print(f"theirs / ours: median {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")


def script(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]


def prepare(folder: Path) -> None:
    """Images for both: an image set of "generated" ones with its manifest, and the same as an image folder."""
    real, made = folder / "real.parquet", folder / "made.parquet"
    caption = "a portrait of a {expression} person with {hair} hair and a {face} face"
    options = ["--source", "portraits", "--images-per-group", 10, "--scoring-split", "holdout", "--resolution", 64]
    outputs = ["--real", real, "--holdout", folder / "holdout.parquet"]
    subprocess.run(script("reference", *options, "--caption", caption, *outputs), check=True, capture_output=True)
    images = read_image_set(real)
    write_image_set(made, images.pixels, [replace(record, origin="generated") for record in images.records])
    mixing = ["--real", real, "--generated", made, "--ratio", 100, "--seed", 0, "--output", folder / "mix.parquet"]
    subprocess.run(script("mix", *mixing), check=True, capture_output=True)
    encoding = ["--base-model", BASE, "--real", real, "--output", folder / "latents.safetensors"]
    subprocess.run(script("encode", *encoding), check=True, capture_output=True)
    subprocess.run(script("export_images", real, folder / "images"), check=True, capture_output=True)
    # The script takes one caption column; other columns of metadata.csv are of no use to it.
    rows = (folder / "images" / "metadata.csv").read_text().splitlines()
    (folder / "images" / "metadata.csv").write_text("\n".join(",".join(row.split(",")[:2]) for row in rows) + "\n")


def ours(folder: Path, number: int, threads: int) -> list[str]:
    settings = [
        "--base-model",
        BASE,
        "--learning-rate",
        RATE,
        "--epochs",
        EPOCHS,
        "--batch-size",
        BATCH,
        "--random-flip",
    ]
    settings += ["--precision", "fp32", "--caption-dropout", 0.0, "--budget", "steps", "--threads", threads]
    inputs = ["--mix", folder / "mix.parquet", "--latents", folder / "latents.safetensors"]
    place = ["--cell", "benchmark", "--seed", 0, "--iteration", 1]
    outputs = ["--model", folder / f"ours-{number}", "--losses", folder / f"losses-{number}.csv"]
    return script("finetune", *settings, *inputs, *place, *outputs)


def theirs(path: Path, folder: Path, number: int) -> list[str]:
    output = folder / "theirs"
    shutil.rmtree(output, ignore_errors=True)
    return [
        sys.executable, str(path), "--pretrained_model_name_or_path", str(BASE), "--train_data_dir", str(folder / "images"),
        "--caption_column", "text", "--resolution", "64", "--random_flip", "--train_batch_size", str(BATCH),
        "--max_train_steps", str(STEPS), "--learning_rate", str(RATE), "--lr_scheduler", "constant", "--lr_warmup_steps", "0",
        "--mixed_precision", "no", "--seed", "0", "--output_dir", str(output), "--cache_dir", str(folder / "cache"),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
