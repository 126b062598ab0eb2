"""Convert pickled weights of a pipeline, a CLIP or a language model to safetensors, reading nothing but tensors."""

import argparse
import logging
import shutil
from pathlib import Path
from typing import Any

from nepotism.runtime import cli
from nepotism.runtime.errors import UserError
from nepotism.weights.locations import hub
from nepotism.weights.staging import stage

PICKLED = ("*.json", "*.txt", "*pytorch_model*.bin", "*model.safetensors", "*model-*-of-*.safetensors")
# What a pipeline has beside its models.
BESIDE = ("model_index.json", "scheduler")


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("source", help="a folder, or hub:<organisation>/<repository>@<revision>")
    parser.add_argument("--output", type=Path, required=True, help="output: folder for the converted model")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    source = hub(arguments.source)
    if source:
        from nepotism.weights.downloads import snapshot

        folder, _ = snapshot(source, PICKLED)
    else:
        folder = Path(arguments.source)
    if folder.resolve() == arguments.output.resolve():
        raise UserError("`--output`: the converted model goes into a folder of its own")
    stage(arguments.source, arguments.output, lambda target: convert(folder, target))
    logging.info("%s: converted; name this folder in the config", arguments.output)


def convert(folder: Path, target: Path) -> None:
    """Write the model of ``folder`` to ``target`` as safetensors; a model that is in safetensors already is copied.

    Raises:
        UserError: if it is no model that can be used, or its weights cannot be read.
    """
    from nepotism.families.diffusion.backbones import backbone_of, has_part, part_class
    from nepotism.weights import loading
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, CLIPModel, CLIPProcessor, CLIPTokenizer

    if (folder / "model_index.json").is_file():
        backbone = backbone_of(folder)
        for part in backbone.parts:
            if has_part(folder, part):
                convert_model(part_class(folder, part), folder / part, target / part)
        for name in (*BESIDE, *(name for name in backbone.tokenizers if has_part(folder, name))):
            source = folder / name
            if source.is_dir():
                shutil.copytree(source, target / name)
            elif source.exists():
                shutil.copy(source, target / name)
            else:
                raise UserError(f"{folder} has no {name}; copy the model's folder again, whole")
        return
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has neither model_index.json nor config.json, so it is no model of a known format")
    with loading.readable("source", folder):
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    if kind == "clip":
        convert_model(CLIPModel, folder, target)
        loading.tokenizer(CLIPTokenizer, folder, "source")
        with loading.readable("source", folder):
            CLIPProcessor.from_pretrained(folder, local_files_only=True).save_pretrained(target)
    else:
        convert_model(AutoModelForCausalLM, folder, target)
        loading.tokenizer(AutoTokenizer, folder, "source").save_pretrained(target)


def convert_model(model_class: Any, folder: Path, target: Path) -> None:
    """Write the one model of ``folder`` to ``target``."""
    import torch
    from nepotism.weights import loading

    stem = loading.stem(model_class)
    if list(folder.glob(f"{stem}*.safetensors")) and not loading.full_but_pickled(folder, stem):
        target.mkdir(parents=True, exist_ok=True)
        for file in (folder / "config.json", *folder.glob("generation_config.json"), *folder.glob(f"{stem}*.json")):
            shutil.copy(file, target / file.name)
        for file in loading.find(folder, stem, "source").files:
            shutil.copy(file, target / file.name)
    else:
        # A config.json may name fewer bits than its weights have, and transformers would take those.
        model = loading.load_model(model_class, folder, "source", pickled=True, dtype=torch.float32)
        model.save_pretrained(target, safe_serialization=True)


if __name__ == "__main__":
    main()
