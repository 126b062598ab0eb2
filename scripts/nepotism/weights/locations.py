"""Where weights and data sets come from: a path, or a name that stands for a download; standard library only.

A key of the config that names weights or data takes a path, or one of

- ``hub:<organisation>/<repository>@<revision>``: a repository of the Hugging Face hub,
- ``dataset:<organisation>/<repository>[/<folder>]@<revision>``: the Parquet files of a data set of the hub, or of a folder
  of it,
- ``clean-fid``: the TorchScript Inception that clean-fid measures with,
- ``torchvision``: torchvision's Inception, for single-image FID,
- ``deepface``: DeepFace's ONNX classifiers of age, gender and race.

Downloads are staged by a rule of their own into ``resources/models/`` and reused by later runs. Relative paths are
relative to the project's folder, wherever Snakemake is started.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = "resources/models"
# Data that come with Python packages: neither a path nor a download.
PACKAGED = ("digits",)
_HUB = re.compile(r"hub:(?P<repository>[\w.-]+/[\w.-]+)(?P<folder>)@(?P<revision>[\w./-]+)")
_DATASET = re.compile(r"dataset:(?P<repository>[\w.-]+/[\w.-]+)(?P<folder>(/[\w.-]+)*)@(?P<revision>[\w./-]+)")
# What a job opens, inside the staged folder.
_FILES = {"clean-fid": "inception-2015-12-05.pt", "torchvision": "inception_v3.safetensors", "deepface": ""}
# Checksum of clean-fid's file: TorchScript runs code, so that no other file is loaded in its place.
CLEAN_FID_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


@dataclass(frozen=True)
class Hub:
    """A repository of the hub at a revision: of weights or, with the folder that is taken of it, of a data set."""

    repository: str
    revision: str
    is_data: bool = False
    folder: str = ""

    def at(self, revision: str) -> str:
        """How the config names it, at a revision."""
        place = "/".join(filter(None, [self.repository, self.folder]))
        return f"{'dataset' if self.is_data else 'hub'}:{place}@{revision}"


def hub(source: str) -> Hub | None:
    """What a ``hub:`` or ``dataset:`` source names; None for other sources."""
    is_data = source.startswith("dataset:")
    found = (_DATASET if is_data else _HUB).fullmatch(source)
    return Hub(found["repository"], found["revision"], is_data, found["folder"].strip("/")) if found else None


def staged_name(source: str | None) -> str | None:
    """Name of the folder inside ``resources/models/`` that holds a download; None for a path, which needs no staging."""
    if source is None:
        return None
    if source in _FILES:
        return source
    named = hub(source)
    if named is None:
        return None
    place = "/".join(filter(None, ["datasets" if named.is_data else "", named.repository, named.folder]))
    return f"{place}@{named.revision}".replace("/", "--")


def location(source: str | None) -> str | None:
    """What a job opens: the path itself, or the folder or file of the staged download."""
    if source is None or source in PACKAGED:
        return source
    name = staged_name(source)
    if name is None:
        return in_project(source)
    file = _FILES.get(source)
    return in_project(f"{FOLDER}/{name}/{file}" if file else f"{FOLDER}/{name}")


def in_project(path: str) -> str:
    """A path of the config as the working directory sees it: as it stands, unless Snakemake runs in another folder than ours."""
    root = Path(__file__).parents[3]
    return path if os.path.samefile(root, os.curdir) else os.path.join(root, path)
