"""A detector of generated images: logistic regression on frozen image features, its confidence calibrated on held-out images.

The idea of Ojha et al. (arXiv 2302.10174), by whom a linear probe on CLIP's features tells generated images of many models; the
temperature is that of Guo et al. (arXiv 1706.04599).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import write_text

Features = NDArray[np.float32]

# One image in three calibrates and measures; the others train.
HELD_OUT = 3
# Temperatures that are tried.
COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Detector:
    """A trained detector.

    Attributes:
        mean, scale: of every feature in training.
        weights, bias: of the standardised features.
        temperature: that the logit is divided by.
        auc: area under the curve on held-out images.
        held_out: how many those are.
    """

    mean: list[float]
    scale: list[float]
    weights: list[float]
    bias: float
    temperature: float
    auc: float
    held_out: int

    def confidence(self, features: Features) -> NDArray[np.float64]:
        """That images are generated: float64 (N,), 0 to 1, of their features (N, D)."""
        return np.asarray(expit(self._logits(features) / self.temperature), dtype=np.float64)

    def _logits(self, features: Features) -> NDArray[np.float64]:
        standardised = (features.astype(np.float64) - self.mean) / self.scale
        return np.asarray(standardised @ np.array(self.weights) + self.bias)


def trained(real: Features, generated: Features, seed: int) -> Detector:
    """A detector that tells ``generated`` (M, D) from ``real`` (N, D) features.

    As many of both are taken for pairs, such as real images and those that were made from them: pairs are held out together.

    Raises:
        UserError: if there are too few of either to train and to hold out.
    """
    if min(len(real), len(generated)) < HELD_OUT:
        raise UserError(
            f"a detector needs {HELD_OUT} of each kind at least, and has {len(real)} real and {len(generated)} generated; raise "
            "`reference.images_per_group`, of text `lm.split.detector`"
        )
    # Importing it draws from Python's random numbers.
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    features = np.concatenate([real, generated]).astype(np.float64)
    labels = np.repeat([0, 1], [len(real), len(generated)])
    out = np.concatenate([_held_out(len(real), seed), _held_out(len(generated), seed)])
    mean, scale = features[~out].mean(0), features[~out].std(0)
    scale[scale == 0] = 1
    probe = LogisticRegression(max_iter=10_000).fit((features[~out] - mean) / scale, labels[~out])
    logits = (features[out] - mean) / scale @ probe.coef_[0] + probe.intercept_[0]
    return Detector(
        mean.tolist(), scale.tolist(), probe.coef_[0].tolist(), float(probe.intercept_[0]),
        _temperature(logits, labels[out]), float(roc_auc_score(labels[out], logits)), int(out.sum()),
    )  # fmt: skip


def _held_out(count: int, seed: int) -> NDArray[np.bool_]:
    order = streams.generator(seed, "detector").permutation(count)
    return np.asarray(order % HELD_OUT == 0)


def _temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature of the least cross-entropy on held-out images."""
    signs = np.where(labels == 1, 1.0, -1.0)

    def loss(logarithm: float) -> float:
        return float(np.logaddexp(0, -signs * logits / np.exp(logarithm)).mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def write(path: Path, detector: Detector) -> None:
    """Write as JSON, whole or not at all."""
    write_text(path, json.dumps(asdict(detector), indent=1) + "\n")


def read(path: Path) -> Detector:
    """Read a file that `write` wrote."""
    return Detector(**json.loads(path.read_text(encoding="utf-8")))
