"""Where weights come from: a path, or a name that stands for a download; standard library only.

A key of the config that names weights takes a path, or one of

- ``hub:<organisation>/<repository>@<revision>``: a repository of the Hugging Face hub,
- ``clean-fid``: the TorchScript Inception that clean-fid measures with,
- ``torchvision``: torchvision's Inception, for single-image FID,
- ``deepface``: DeepFace's ONNX classifiers of age, gender and race.

Downloads are staged by a rule of their own into ``resources/models/``, where they are found ever after.
"""

import re
from dataclasses import dataclass

FOLDER = "resources/models"
_HUB = re.compile(r"hub:(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")
# What a job opens, inside the staged folder.
_FILES = {"clean-fid": "inception-2015-12-05.pt", "torchvision": "inception_v3.safetensors", "deepface": ""}
# Checksum of clean-fid's file: TorchScript runs code, so that no other file is loaded in its place.
CLEAN_FID_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


@dataclass(frozen=True)
class Hub:
    """A repository of the hub at a revision."""

    repository: str
    revision: str


def hub(source: str) -> Hub | None:
    """What a ``hub:`` source names; None for other sources."""
    found = _HUB.fullmatch(source)
    return Hub(found["repository"], found["revision"]) if found else None


def staged_name(source: str | None) -> str | None:
    """Name of the folder inside ``resources/models/`` that holds a download; None for a path, which needs no staging."""
    if source is None:
        return None
    if source in _FILES:
        return source
    named = hub(source)
    return f"{named.repository}@{named.revision}".replace("/", "--") if named else None


def location(source: str | None) -> str | None:
    """What a job opens: the path itself, or the folder or file of the staged download."""
    name = staged_name(source)
    if source is None or name is None:
        return source
    file = _FILES.get(source)
    return f"{FOLDER}/{name}/{file}" if file else f"{FOLDER}/{name}"
