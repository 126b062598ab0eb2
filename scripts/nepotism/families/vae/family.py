"""The family of variational autoencoders: each generation is trained from scratch on digits that the one before drew.

Shumailov et al., Nature 631 (2024), section "Variational autoencoders".
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from nepotism.chain.engine import Arrays, Rows, Score
from nepotism.data.images import Pixels, Record, image_table, images_of, read_image_set, write_image_set
from nepotism.families.vae import CLASSES, CLASSIFIER, GENERATION_0, LOST, data, networks
from nepotism.measure.neighbours import Neighbourhood, distances, within_group_distance
from nepotism.measure.scores import frechet
from nepotism.runtime import streams
from nepotism.runtime.files import atomic_write
from nepotism.runtime.resume.checkpoints import NOWHERE, Store
from nepotism.weights.locations import location

logger = logging.getLogger(__name__)


class Family:
    """Autoencoders of one cell; see `nepotism.chain.engine.Family`. Rows are uint8 (N, side, side).

    Args:
        settings: the config's block `vae`.
        seed: replicate seed.
        reference: image sets ``real`` and ``holdout``, and the weights ``classifier``.
    """

    def __init__(self, settings: Mapping[str, Any], seed: int, reference: Mapping[str, Path]) -> None:
        self._settings, self._seed = settings, seed
        real, self._holdout = (_grey(read_image_set(reference[name]).pixels) for name in ("real", "holdout"))
        # Digits that are reserved for single training sets come after those of the slots.
        self._real, self._reserved = np.split(real, [settings["split"]["real"]])
        side = self._real.shape[1]
        self._classifier = networks.restored(networks.Classifier(side), load_file(reference["classifier"]))
        network = (settings[key] for key in ("width", "latent", "decoder_relu"))
        self._network = (side, *network)

    def _restored(self, model: Arrays) -> networks.Autoencoder:
        return networks.restored(networks.Autoencoder(*self._network), model)

    @cached_property
    def _holdout_features(self) -> NDArray[np.float64]:
        return networks.classify(self._classifier, self._holdout)[0]

    @cached_property
    def _within_holdout(self) -> NDArray[np.float64]:
        return distances(self._holdout_features, self._holdout_features)

    def originals(self) -> Rows:
        """The training digits."""
        return self._real

    def fresh(self, iteration: int) -> Rows:
        """Digits that no training set has held before."""
        return self._reserved[(iteration - 1) * len(self._real) :][: len(self._real)]

    def fit(self, rows: Rows, parent: Arrays | None, iteration: int, checkpoints: Store = NOWHERE) -> Arrays:
        """An autoencoder, from scratch."""
        keys = (
            "width",
            "latent",
            "decoder_relu",
            "pixel_weight",
            "steps",
            "batch_size",
            "learning_rate",
            "weight_decay",
        )
        chosen = [self._settings[key] for key in keys]
        return networks.arrays(
            networks.train_autoencoder(rows, *chosen, self._seed, iteration, "fit", checkpoints=checkpoints)
        )

    def sample(self, model: Arrays, iteration: int, checkpoints: Store = NOWHERE, draw: int = 0) -> Rows:
        """As many digits as it was trained on at first: seconds, for as many as MNIST has."""
        stream = self.stream(iteration, draw)
        return networks.sample(self._restored(model), len(self._real), self._settings["latent"], *stream)

    def stream(self, iteration: int, draw: int = 0) -> streams.StreamKey:
        """Of the latents."""
        return (self._seed, iteration, streams.of_draw("sample", draw))

    def is_shown(self, iteration: int) -> bool:
        """Snapshots are kept for the figures."""
        return iteration in self._settings["snapshots"]

    def score(self, model: Arrays, rows: Callable[[], Rows], iteration: int, first: Arrays) -> Iterator[Score]:
        """Scores of the samples; of generation 0, also those of the training digits: what is expected of a perfect model."""
        sets = {"samples": rows()} | ({"real": self._real} if iteration == 0 else {})
        encoder = self._restored(first)
        whole_spread = _spread(networks.encode(encoder, self._real))
        for name, images in sets.items():
            features, classes = networks.classify(self._classifier, images)
            count = min(len(images), len(self._holdout))
            for metric, value in self._distances(features[:count], classes[:count]).items():
                yield Score(metric, value, count, name, CLASSIFIER.name)
            for metric, value in _classes(classes).items():
                yield Score(metric, value, len(images), name, CLASSIFIER.name)
            spread = _spread(networks.encode(encoder, images)) / whole_spread
            yield Score("latent_spread", spread, len(images), name, GENERATION_0.name)

    def _distances(self, features: NDArray[np.float64], classes: NDArray[np.int64]) -> dict[str, float]:
        """Measures of pairs, of as many samples as there are held-out digits: their cost grows with the square."""
        count = len(features)
        real = self._holdout_features[:count]
        inside, across = distances(features, features), distances(features, real)
        neighbours = Neighbourhood(inside, self._within_holdout[:count, :count], across, across)
        everything = np.arange(count)
        digits = np.flatnonzero(classes < CLASSES)
        within = within_group_distance(inside[np.ix_(digits, digits)], [str(found) for found in classes[digits]])
        # Of no class are there two digits left.
        known = {} if math.isnan(within) else {"within_class_distance": within}
        return known | {
            "fid": frechet(features, real),
            "precision": neighbours.precision(everything),
            "recall": neighbours.recall(everything),
        }

    def table(self, rows: Rows, records: Sequence[Record]) -> pa.Table:
        """An image set; the group is what the classifier takes a digit for."""
        classes = networks.classify(self._classifier, rows)[1]
        named = [replace(record, group=class_name(found)) for record, found in zip(records, classes, strict=True)]
        return image_table(_rgb(rows), named)

    def rows(self, table: pa.Table) -> Rows:
        """The images of such a table."""
        return _grey(images_of(table, "samples.parquet").pixels)


def class_name(found: int) -> str:
    """The digit, or ``rejected``."""
    return str(found) if found < CLASSES else "rejected"


def write_originals(settings: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Split the digits, and train the classifier on a split of its own."""
    source = settings["data"]
    # Fresh digits last: how many there are changes no other split.
    sizes = {name: settings["split"][name] for name in ("classifier", "holdout", "real", "fresh")}
    splits = data.split(*data.read_digits(str(location(source))), sizes)
    real, fresh = splits["real"], splits["fresh"]
    whole_real = (np.concatenate([real[0], fresh[0]]), np.concatenate([real[1], fresh[1]]))
    for name, (images, labels) in (("real", whole_real), ("holdout", splits["holdout"])):
        records = [
            Record(f"{name}/{slot:05d}", "", str(label), f"{slot:05d}", "real") for slot, label in enumerate(labels)
        ]
        write_image_set(files[name], _rgb(images), records)
    classifier = networks.train_classifier(*splits["classifier"], settings["classifier"]["steps"])
    images, labels = splits["holdout"]
    right = (networks.classify(classifier, images)[1] == labels).mean()
    others = networks.no_digits(images, streams.generator("vae", "classifier", "check"))
    rejected = (networks.classify(classifier, others)[1] == networks.REJECTED).mean()
    logger.info(
        "classifier: %.1f %% of held-out digits right, %.1f %% of non-digits rejected", 100 * right, 100 * rejected
    )
    with atomic_write(files["classifier"]) as temporary:
        save_file(networks.arrays(classifier), temporary)


def _classes(classes: NDArray[np.int64]) -> dict[str, float]:
    shares = np.bincount(classes, minlength=CLASSES + 1) / len(classes)
    digits = shares[:CLASSES]
    present = digits[digits > 0] / max(digits.sum(), 1e-12)
    return {
        "class_entropy": float(max(0.0, -(present * np.log(present)).sum()) / np.log(CLASSES)),
        "lost_classes": float((digits < LOST / CLASSES).sum()),
        "rejected": float(shares[CLASSES]),
        **{f"class_share_{digit}": float(share) for digit, share in enumerate(digits)},
    }


def _spread(means: NDArray[np.float64]) -> float:
    return float(means.var(axis=0).sum())


def _rgb(images: Pixels) -> Pixels:
    return np.repeat(images[..., None], 3, axis=3)


def _grey(images: Pixels) -> Pixels:
    return np.ascontiguousarray(images[..., 0])
