"""The commands behind the documented measurements still run; what they measure here means nothing."""

import pytest
from conftest import benchmark

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
