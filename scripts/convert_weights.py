"""Convert pickled weights of a pipeline or a CLIP model to safetensors, reading nothing but tensors from the pickle."""

import argparse
import logging
from pathlib import Path

from nepotism import cli
from nepotism.errors import UserError
from nepotism.weights import hub

PICKLED = ["*.json", "*.txt", "*pytorch_model*.bin"]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("source", help="a folder, or hub:<organisation>/<repository>@<revision>")
    parser.add_argument("--output", type=Path, required=True, help="output: folder for the converted model")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPModel, CLIPProcessor

    source = hub(arguments.source)
    if source:
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(source.repository, revision=source.revision, allow_patterns=PICKLED))
    else:
        folder = Path(arguments.source)
    options = {"use_safetensors": False, "local_files_only": True}
    if (folder / "model_index.json").is_file():
        without = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = StableDiffusionPipeline.from_pretrained(folder, **options, **without)
        pipeline.save_pretrained(arguments.output, safe_serialization=True)
    elif (folder / "config.json").is_file():
        CLIPModel.from_pretrained(folder, weights_only=True, **options).save_pretrained(arguments.output)
        CLIPProcessor.from_pretrained(folder, local_files_only=True).save_pretrained(arguments.output)
    else:
        raise UserError(f"{arguments.source}: it has neither model_index.json nor config.json")
    logging.info("%s: converted; name this folder in the config", arguments.output)


if __name__ == "__main__":
    main()
