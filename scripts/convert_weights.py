"""Convert pickled weights of a pipeline, a CLIP or a language model to safetensors, reading nothing but tensors."""

import argparse
import logging
from pathlib import Path

from nepotism import cli
from nepotism.errors import UserError
from nepotism.staging import stage
from nepotism.weights import hub

PICKLED = ["*.json", "*.txt", "*pytorch_model*.bin"]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("source", help="a folder, or hub:<organisation>/<repository>@<revision>")
    parser.add_argument("--output", type=Path, required=True, help="output: folder for the converted model")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    source = hub(arguments.source)
    if source:
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(source.repository, revision=source.revision, allow_patterns=PICKLED))
    else:
        folder = Path(arguments.source)
    stage(arguments.source, arguments.output, lambda target: convert(folder, target, arguments.source))
    logging.info("%s: converted; name this folder in the config", arguments.output)


def convert(folder: Path, target: Path, source: str) -> None:
    """Write the model of ``folder`` to ``target`` as safetensors."""
    from diffusers import StableDiffusionPipeline
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, CLIPModel, CLIPProcessor

    options = {"use_safetensors": False, "local_files_only": True}
    if (folder / "model_index.json").is_file():
        without = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = StableDiffusionPipeline.from_pretrained(folder, **options, **without)
        pipeline.save_pretrained(target, safe_serialization=True)
    elif not (folder / "config.json").is_file():
        raise UserError(f"{source}: it has neither model_index.json nor config.json")
    elif AutoConfig.from_pretrained(folder, local_files_only=True).model_type == "clip":
        CLIPModel.from_pretrained(folder, weights_only=True, **options).save_pretrained(target)
        CLIPProcessor.from_pretrained(folder, local_files_only=True).save_pretrained(target)
    else:
        AutoModelForCausalLM.from_pretrained(folder, weights_only=True, **options).save_pretrained(target)
        AutoTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(target)


if __name__ == "__main__":
    main()
