"""LoRA: training low-rank updates of some layers in place of all weights, by the library peft."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import beside, remove, remove_leftovers, share

# Layers that can be updated.
LAYERS = (torch.nn.Linear, torch.nn.Conv2d)


@dataclass(frozen=True)
class Lora:
    """Keys of the config's `finetune.lora`.

    Attributes:
        rank: of an update.
        alpha: an update is scaled by alpha / rank.
        target_modules: names of layers, or ends of names from a dot on.
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...]


@dataclass(frozen=True)
class Adapter:
    """Trained updates by themselves, as peft's own files hold them.

    Attributes:
        config: content of adapter_config.json.
        tensors: those of adapter_model.safetensors, on the CPU: of every updated layer, ``lora_A`` and ``lora_B``.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, adapted: Any) -> "Adapter":
        """The updates of a PeftModel, as they are now."""
        from peft import get_peft_model_state_dict

        config = adapted.peft_config["default"]
        base = type(adapted.get_base_model())
        described = config.to_dict() | {
            # As peft writes it: whoever loads the files draws, and what the updates were added to is a UNet2DConditionModel.
            "inference_mode": True,
            "auto_mapping": {"base_model_class": base.__name__, "parent_library": base.__module__},
            # Sets have another order in every process, and files are to be the same bytes.
            "target_modules": sorted(config.target_modules),
        }
        found = get_peft_model_state_dict(adapted)
        return cls(described, {name: value.detach().cpu().clone().contiguous() for name, value in found.items()})

    def scaled(self, factor: float) -> "Adapter":
        """The updates times a factor."""
        return Adapter(
            self.config, {name: factor * value if ".lora_B." in name else value for name, value in self.tensors.items()}
        )

    def save(self, folder: Path) -> None:
        """Write both files, whole or not at all, in place of others: ``PeftModel.from_pretrained(parent, folder)`` loads them."""
        discard(folder)
        with beside(folder) as temporary:
            text = json.dumps(self.config, indent=2, sort_keys=True, default=sorted)
            (temporary / "adapter_config.json").write_text(text, encoding="utf-8")
            save_file(dict(self.tensors), temporary / "adapter_model.safetensors", metadata={"format": "pt"})
            for file in temporary.iterdir():
                share(file)
            os.rename(temporary, folder)


def discard(folder: Path) -> None:
    """Remove the files of an adapter, and what a killed process had half written of them, if there are any."""
    if folder.exists():
        # Not file by file under its own name, which a kill would leave half there.
        aside = folder.with_name(f".{folder.name}.old")
        remove(aside)
        os.rename(folder, aside)
    remove(folder.with_name(f".{folder.name}.old"))
    if folder.parent.is_dir():
        remove_leftovers(folder)


def adapted(network: torch.nn.Module, lora: Lora, seed: int, iteration: int) -> Any:
    """Freeze ``network``, in place, and put trainable low-rank updates beside its layers (Hu et al., arXiv 2106.09685).

    An update is B A alpha / rank, with A drawn from a normal distribution and B zero, as in diffusers'
    train_text_to_image_lora.py: at first it changes nothing.

    Args:
        network: float32.
        lora: which updates.
        seed, iteration: key the random numbers.

    Returns:
        peft's PeftModel; its `merge_and_unload()` adds the updates to the weights: ``network`` is what it was, with other weights.

    Raises:
        UserError: if the updates do not fit the network.
    """
    for problem in lora_problems(network, lora):
        raise UserError(problem)
    # Here, for whoever trains all weights needs no peft.
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.target_modules), init_lora_weights="gaussian"
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(streams.integer_seed(seed, iteration, "finetune", "lora"))
        return get_peft_model(network, config)


def lora_problems(network: torch.nn.Module, lora: Lora) -> Iterator[str]:
    """What is wrong with a LoRA for this network; nothing if it fits."""
    for wanted in lora.target_modules:
        found = {name: module for name, module in network.named_modules() if f".{name}".endswith(f".{wanted}")}
        layers = {name: module for name, module in found.items() if isinstance(module, LAYERS)}
        if not found:
            known = ", ".join(_ends(network))
            yield f"`finetune.lora.target_modules`: no layer of the denoiser is called '{wanted}'; there are: {known}"
        elif other := next((name for name in found if name not in layers), None):
            kind = type(found[other]).__name__
            yield f"`finetune.lora.target_modules`: '{wanted}' is {other}, a {kind}; name linear layers or convolutions, such as to_q"
        narrowest = min(layers, key=lambda name: _width(layers[name]), default=None)
        if narrowest and lora.rank > (width := _width(layers[narrowest])):
            yield (
                f"`finetune.lora.rank`: {lora.rank}, but the weights of {narrowest} have rank {width} at most; lower it, or leave "
                f"'{wanted}' out"
            )


def _width(layer: Any) -> int:
    """The largest rank that a layer's weights, as a matrix, can have."""
    return min(layer.weight.flatten(1).shape)


def _ends(network: torch.nn.Module) -> Sequence[str]:
    """What layers are called that can be updated, from the last name that is no number on."""
    found = set()
    for name, module in network.named_modules():
        if isinstance(module, LAYERS):
            parts = name.split(".")
            last = max(index for index, part in enumerate(parts) if not part.isdigit())
            found.add(".".join(parts[last:]))
    return sorted(found)
