"""SIMS: from a finished cell on, sampling is steered away from a copy that was trained on the model's own rows."""

from nepotism.chain.faces import Regime
from nepotism.chain.regimes import branching
from nepotism.chain.regimes.neon import plan

REGIME = Regime(
    "sims",
    "Goes on from a finished cell: a copy is retrained on its own rows only, and sampling is steered away from that.",
    "SIMS: Alemohammad et al., arXiv 2408.16333",
    plan,
    branches=True,
    extrapolates="scores",
    families=("diffusion",),
    elsewhere=("from", "after", "iterations", "weight"),
    parameters={
        "from": branching.FROM,
        "after": branching.AFTER,
        "iterations": {**branching.ITERATIONS, "default": 1, "description": "1: what two models draw trains no further one."},
        "share": branching.SHARE,
        "weight": {
            **branching.WEIGHT,
            "description": "omega: at every step of sampling the score is (1 + omega) times the model's minus omega times the "
            "copy's; 0 draws what the model draws, -1 what the copy draws.",
        },
    },
    required=("after",),
)  # fmt: skip
