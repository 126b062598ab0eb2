"""What is known of every image of a set: its features, and values of its own. Needs no torch, so that figures can read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nepotism.runtime.files import atomic_write

# Values of single images that are stored beside the features.
PER_IMAGE = ("clip_score", "saturation", "contrast")


@dataclass(frozen=True)
class Embedded:
    """Features of one image set.

    Attributes:
        spaces: float32 (N, D) per feature space.
        values: float64 (N,) per name in `PER_IMAGE`; ``clip_score`` is each image's with its caption.
        groups: N group names.
        ids: N image ids.
    """

    spaces: dict[str, NDArray[np.float32]]
    values: dict[str, NDArray[np.float64]]
    groups: list[str]
    ids: list[str]


def write_embedded(path: Path, sets: Mapping[str, Embedded]) -> None:
    """Write named sets as ``.npz``: arrays ``<set>/<space>``, ``<set>/<value of each image>``, ``<set>/group``, ``<set>/id``."""
    arrays: dict[str, NDArray] = {}
    for name, embedded in sets.items():
        arrays |= {f"{name}/{space}": values for space, values in embedded.spaces.items()}
        arrays |= {f"{name}/{value}": embedded.values[value] for value in PER_IMAGE}
        arrays[f"{name}/group"] = np.array(embedded.groups)
        arrays[f"{name}/id"] = np.array(embedded.ids)
    with atomic_write(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


def read_embedded(path: Path, name: str) -> Embedded:
    """Read one set of a file that `write_embedded` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        parts = {key.removeprefix(name + "/"): arrays[key] for key in arrays.files if key.startswith(name + "/")}
    groups, ids = parts.pop("group"), parts.pop("id")
    values = {value: parts.pop(value) for value in PER_IMAGE}
    return Embedded(parts, values, [str(group) for group in groups], [str(identity) for identity in ids])
