"""How large the networks are that experiments retrain, from their files or, before those are there, from a table. Standard library only."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nepotism.weights.locations import hub, location

# Folders of a pipeline that may hold the denoiser.
FOLDERS = ("unet", "transformer")
# Retrained weights are float32, whatever those of the base model are.
WEIGHT_BYTES = 4
# How files of weights begin, and of which precision they may be where there is no other.
_STEM, _VARIANTS = "diffusion_pytorch_model", ("", ".fp16", ".bf16")
# Sines of positions: in the files of Stable Diffusion 3, but not trained.
_CONSTANTS = ("pos_embed.pos_embed",)
# No header of a safetensors file is longer, by its format.
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class Denoiser:
    """A network's size.

    Attributes:
        folder: of it in a pipeline.
        parameters: numbers that can be trained.
        constants: other numbers in its files.
        widths: rows plus columns of all layers of a kind, which an update of rank 1 has as numbers; by the end of their names.
    """

    folder: str
    parameters: int
    constants: int = 0
    widths: Mapping[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of a retrained model."""
        return WEIGHT_BYTES * (self.parameters + self.constants)

    def updates(self, rank: int, target_modules: Sequence[str]) -> int | None:
        """Parameters of low-rank updates of some layers; None if it is not known of all of these how wide they are."""
        if any(name not in self.widths for name in target_modules):
            return None
        return rank * sum(self.widths[name] for name in target_modules)


def _attention(queries: int, others: int | None = None) -> dict[str, int]:
    """Widths of the layers that most networks' attention has; those of keys and values differ where they read the text."""
    return {"to_q": queries, "to_out.0": queries} | dict.fromkeys(("to_k", "to_v"), others or queries)


_STABLE_DIFFUSION_2 = Denoiser("unet", 865_910_724, widths=_attention(49_920, 53_824))
_STABLE_DIFFUSION_XL = Denoiser("unet", 2_567_463_684, widths=_attention(332_800, 392_960))
_ADDED = dict.fromkeys(("add_q_proj", "add_k_proj", "add_v_proj"), 73_728) | {"to_add_out": 70_656}
_STABLE_DIFFUSION_35_MEDIUM = Denoiser("transformer", 2_243_171_520, 226_492_416, _attention(113_664) | _ADDED)
_PRX = Denoiser(
    "transformer", 1_170_691_648, widths={"img_qkv_proj": 114_688, "txt_kv_proj": 86_016, "to_out.0": 57_344}
)
_FLUX2_KLEIN_4B = Denoiser(
    "transformer", 3_875_544_576,
    widths=_attention(30_720)
    | dict.fromkeys(("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"), 30_720)
    | {"to_qkv_mlp_proj": 614_400},
)  # fmt: skip
_Z_IMAGE = Denoiser("transformer", 6_154_908_736, widths=_attention(261_120))

# By repository of the hub. Counted on models without weights, made by diffusers 0.42.1 from the configurations of these
# repositories (`tests/unit/test_denoisers.py` counts again). Photoroom calls its 1,171 million 1.3 billion.
KNOWN: Mapping[str, Denoiser] = {
    **dict.fromkeys(
        (f"{owner}/stable-diffusion-2-1{kind}" for owner in ("sd2-community", "stabilityai") for kind in ("", "-base")),
        _STABLE_DIFFUSION_2,
    ),
    "stabilityai/stable-diffusion-xl-base-1.0": _STABLE_DIFFUSION_XL,
    "stabilityai/stable-diffusion-3.5-medium": _STABLE_DIFFUSION_35_MEDIUM,
    **dict.fromkeys((f"Photoroom/prx-{size}-t2i{kind}" for size in (256, 512) for kind in ("", "-sft")), _PRX),
    "black-forest-labs/FLUX.2-klein-base-4B": _FLUX2_KLEIN_4B,
    "Tongyi-MAI/Z-Image": _Z_IMAGE,
}


def denoiser(source: str) -> Denoiser | None:
    """The denoiser of what `model.path` names, by its files or, where there are none, by `KNOWN`; None if neither knows it."""
    on_disk = of_files(Path(str(location(source))))
    named = hub(source)
    return on_disk or (KNOWN.get(named.repository) if named else None)


def of_files(model: Path) -> Denoiser | None:
    """The denoiser of a pipeline's folder; None if it has no weights in safetensors."""
    for folder in FOLDERS:
        if files := _weights(model / folder):
            shapes = [each for file in files for each in _shapes(file).items()]
            if not shapes:
                # Not whole: they are what their size says.
                return Denoiser(folder, sum(file.stat().st_size for file in files) // WEIGHT_BYTES)
            counts = {name: math.prod(shape) for name, shape in shapes}
            constants = sum(count for name, count in counts.items() if name in _CONSTANTS)
            return Denoiser(folder, sum(counts.values()) - constants, constants, _Widths(shapes))
    return None


class _Widths(dict[str, int]):
    """Widths of layers by any end of their names."""

    def __init__(self, shapes: Iterable[tuple[str, Sequence[int]]]) -> None:
        for name, shape in shapes:
            if name.endswith(".weight") and len(shape) > 1:
                parts = name.removesuffix(".weight").split(".")
                for begin in range(len(parts)):
                    end = ".".join(parts[begin:])
                    self[end] = self.get(end, 0) + shape[0] + math.prod(shape[1:])


def _weights(folder: Path) -> list[Path]:
    """The files of a network's weights that are loaded: of full precision, if there are such."""
    for variant in _VARIANTS:
        one, index = folder / f"{_STEM}{variant}.safetensors", folder / f"{_STEM}.safetensors.index{variant}.json"
        if one.is_file():
            return [one]
        if index.is_file():
            try:
                names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            except (ValueError, KeyError, AttributeError, TypeError):
                names = set()
            if files := [folder / name for name in sorted(names) if (folder / name).is_file()]:
                return files
    return sorted(folder.glob("*.safetensors"))


def _shapes(file: Path) -> dict[str, list[int]]:
    """The shapes of the tensors in a safetensors file, by its header; nothing if it has none that can be read."""
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header: Any = json.loads(stream.read(length)) if 0 < length <= _LONGEST_HEADER else {}
            return {name: list(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, KeyError, AttributeError, TypeError):
            return {}
