"""Versions of the stages, and how a stage's settings become one string that Snakemake tracks."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

# Bump a stage's number when its results change. Comments and refactorings of the library rerun nothing; a changed
# algorithm reruns its stage and all that follows. A stage that is not listed is at version 1. Of stages that are every
# family's in its own way, each family has a number: <stage>.<family>.
STAGE_VERSIONS = {
    "classify_faces": 2,
    "select_images": 2,
    "family_figure": 2,
    "family_reference.lm": 2,
    "family_reference.vae": 2,
    "embed_reference": 3,
    "score": 6,
    "score_generations.lm": 2,
    "vae_round_trips": 4,
    "metrics_table": 2,
    "claims": 6,
    "answer": 4,
    "finetune": 3,
    "figure_1": 2,
    "figure_2": 3,
    "figure_3": 3,
    "figure_4": 4,
    "figure_5": 2,
    "figure_6": 3,
    "generations.gmm": 2,
    "generations.lm": 4,
    "generations.vae": 2,
    "histogram_match": 2,
    "page": 3,
    "sample": 2,
    "initial_images": 2,
    "sifid_cull": 2,
    "profile_table": 2,
    "search": 2,
    "threshold": 2,
    "figure_10": 2,
}


def stage_version(stage: str, family: str = "") -> int:
    """Version of a stage's algorithm, as a family has it."""
    return STAGE_VERSIONS.get(f"{stage}.{family}" if family else stage, 1)


def compact_json(values: Mapping[str, Any]) -> str:
    """What is nested, as one word: JSON with sorted keys."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def options(values: Mapping[str, Any]) -> str:
    """Command-line options for ``values``, sorted by name and quoted for a POSIX shell.

    True and False become ``--name`` and ``--no-name``, a list becomes several values, a mapping JSON; None and empty lists are
    left out.
    """
    words: list[str] = []
    for name, value in sorted(values.items()):
        flag = "--" + name.replace("_", "-")
        if value is None or value == []:
            continue
        if isinstance(value, bool):
            words.append(flag if value else "--no-" + flag[2:])
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        elif isinstance(value, Mapping):
            words += [flag, compact_json(value)]
        else:
            words += [flag, repr(value) if isinstance(value, float) else str(value)]
    return shlex.join(words)
