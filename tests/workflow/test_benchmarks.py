"""The commands behind the documented measurements still run; what they measure here means nothing."""

import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, benchmark
from nepotism.data.images import Record, write_image_set
from nepotism.data.tables import read_text_csv
from nepotism.plan.rates import read_rates

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "command",
    [
        "dag_speed.py --ratios 1 --iterations 2 --seeds 1",
        "head_cpu.py --jobs 8 --seconds 1",
        "histogram_match_speed.py --groups 2 --side 32",
        "mixture_speed.py --generations 5 --chains 2 --samples 50",
        "model_speed.py --model resources/tiny-diffusion --device cpu --batch-size 4 --sample-batch-size 4 --steps 2 "
        "--num-inference-steps 2 --precisions fp32",
    ],
)
def test_it_runs(command):
    assert benchmark(*command.split())


def test_a_watermark_is_looked_for_after_what_images_go_through(tmp_path):
    random = np.random.default_rng(0)
    records = [Record(f"x/{index}", "", "g", f"g/{index:03d}", "real") for index in range(4)]
    write_image_set(tmp_path / "images.parquet", random.integers(60, 200, (4, 64, 64, 3), np.uint8), records)
    options = [tmp_path / "images.parquet", "--model", "resources/tiny-diffusion", "--keys", 2]
    lines = benchmark("watermark_robustness.py", *options).splitlines()
    assert [line[:16].strip() for line in lines[-7:]] == [
        "nothing", "JPEG 90", "JPEG 75", "JPEG 50", "half and back", "blur of 1 pixel", "autoencoder",
    ]  # fmt: skip


def test_what_does_not_end_in_time_is_left_out_and_named(tmp_path):
    table, rates = tmp_path / "speed.csv", tmp_path / "rates.csv"
    benchmark(
        "model_speed.py", "--model", "resources/tiny-diffusion", "--device", "cpu", "--batch-size", 2, "--seconds", 0.1,
        "--output", table, "--rates", rates,
    )  # fmt: skip
    lines = read_text_csv(table)
    assert {(line["per_second"], line["note"]) for line in lines} == {("", "left out for want of time")}
    assert read_rates(rates) == []


def test_sampling_is_timed_by_two_shorter_runs():
    speed = runpy.run_path(str(ROOT / "tests" / "benchmark" / "model_speed.py"))
    asked = []

    def timed(warm, steps):
        asked.append(steps)
        return 3 + 2 * steps

    bench = SimpleNamespace(chosen=SimpleNamespace(num_inference_steps=50))
    assert speed["Bench"]._batch_seconds(bench, timed) == 3 + 2 * 50
    assert sum(asked) < 12
