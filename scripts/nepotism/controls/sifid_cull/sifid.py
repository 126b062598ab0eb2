"""Single-image FID (Rott Shaham et al. 2019, SinGAN): the Frechet distance between the feature Gaussians of two images.

The features of one image, at every position of an early layer and without pooling, are rows of one matrix; its mean and
covariance describe the image's patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from nepotism.data.images import Record
from nepotism.runtime.files import atomic_write

Pair = Literal["slot", "nearest_in_group", "group_mean"]


@dataclass(frozen=True)
class Patches:
    """Statistics of N images: ``mean`` is float64 (N, C), ``covariance`` float64 (N, C, C)."""

    mean: torch.Tensor
    covariance: torch.Tensor


def patches(features: torch.Tensor) -> Patches:
    """Mean and covariance over the positions of each image's features, float (N, C, H, W)."""
    means, covariances = [], []
    # Image by image: at 512 x 512, one has a quarter of a million positions in float64.
    for image in features:
        rows = image.flatten(1).double()
        means.append(rows.mean(1))
        rows = rows - means[-1][:, None]
        covariances.append(rows @ rows.mT / (rows.shape[1] - 1))
    return Patches(torch.stack(means), torch.stack(covariances))


def roots(covariance: torch.Tensor) -> torch.Tensor:
    """Symmetric square roots of covariances (N, C, C): real also where rounding makes an eigenvalue negative."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()[:, None, :] @ vectors.mT


def sifid(
    mean: torch.Tensor, covariance: torch.Tensor, other_mean: torch.Tensor, other_root: torch.Tensor
) -> torch.Tensor:
    """Frechet distances of B pairs of images.

    The term tr((S1 S2)^1/2) is the sum of the roots of the eigenvalues of R2 S1 R2, with R2 the root of S2: symmetric, so
    that its eigenvalues are real and computed as such, also for a constant image, whose covariance is 0.

    Args:
        mean: float64 (B, C) or broadcastable to it.
        covariance: float64 (B, C, C).
        other_mean: float64 (B, C).
        other_root: float64 (B, C, C), from `roots`.

    Returns:
        float64 (B,), at least 0; lower is more alike.
    """
    product = other_root @ covariance @ other_root
    cross = torch.linalg.eigvalsh((product + product.mT) / 2).clamp(min=0).sqrt().sum(-1)
    traces = torch.einsum("...ii->...", covariance) + (other_root**2).sum((-2, -1))
    return (((mean - other_mean) ** 2).sum(-1) + traces - 2 * cross).clamp(min=0)


@dataclass(frozen=True)
class RealPatches:
    """The real side of all comparisons, computed once: ``mean`` float64 (M, C), ``root`` float64 (M, C, C)."""

    mean: torch.Tensor
    root: torch.Tensor


def write_real(path: Path, real: RealPatches) -> None:
    """Write as safetensors, whole or not at all."""
    with atomic_write(path) as temporary:
        save_file({"mean": real.mean.contiguous(), "root": real.root.contiguous()}, temporary)


def read_real(path: Path) -> RealPatches:
    """Read a file that `write_real` wrote."""
    tensors = load_file(path)
    return RealPatches(tensors["mean"], tensors["root"])


@dataclass(frozen=True)
class SifidScores:
    """SIFID of N images: by the arm's pairing, and to the nearest real image of the group; float64 (N,) each."""

    sifid: np.ndarray
    nearest_in_group: np.ndarray


def score(
    images: Patches, records: Sequence[Record], real: RealPatches, real_records: Sequence[Record], pair: Pair
) -> SifidScores:
    """SIFID of every image against the real images of its group.

    Args:
        images: statistics of N images.
        records: their N rows.
        real: statistics of the real images.
        real_records: their rows.
        pair: ``slot`` takes the real image of the same slot, ``nearest_in_group`` the least distance in the group,
            ``group_mean`` the mean distance to the group's images.
    """
    groups: dict[str, list[int]] = {}
    for index, record in enumerate(real_records):
        groups.setdefault(record.group, []).append(index)
    slot_of = {record.slot: index for index, record in enumerate(real_records)}
    chosen, nearest = [], []
    for index, record in enumerate(records):
        others = groups[record.group]
        values = sifid(images.mean[index], images.covariance[index], real.mean[others], real.root[others])
        nearest.append(float(values.min()))
        match pair:
            case "slot":
                chosen.append(float(values[others.index(slot_of[record.slot])]))
            case "nearest_in_group":
                chosen.append(nearest[-1])
            case "group_mean":
                chosen.append(float(values.mean()))
    return SifidScores(np.array(chosen), np.array(nearest))
