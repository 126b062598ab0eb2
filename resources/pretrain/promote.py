"""Copy what the Snakefile beside this script trained into resources/, with checksums, so that experiments use it."""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from nepotism.runtime.files import sha256, write_text

# The trained models, and the folder of the card of each, where it has one of its own.
CARDS = {"tiny-diffusion": "card", "tiny-clip": None, "tiny-flow": "flow-card", "tiny-opt": "lm-card"}
AUTOENCODER = "vae/diffusion_pytorch_model.safetensors"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--source", type=Path, default=Path("results/pretrain"), help="where the trained models are")
    parser.add_argument("--target", type=Path, default=Path("resources"), help="where they go")
    parser.add_argument("--models", nargs="+", choices=CARDS, default=list(CARDS), help="which of them; by default all")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    for name in arguments.models:
        source, target = arguments.source / name, arguments.target / name
        if not source.is_dir():
            raise cli.UserError(f"there is no {source}; run: snakemake --cores all -s resources/pretrain/Snakefile")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        for file in target.rglob("*.json"):
            forget_origin(file)
        if name == "tiny-flow":
            share_autoencoder(target / AUTOENCODER, arguments.target / "tiny-diffusion" / AUTOENCODER)
        files = sorted(path for path in target.rglob("*") if path.is_file())
        write_text(target / "SHA256SUMS", "".join(f"{sha256(path)}  {path.relative_to(target)}\n" for path in files))
        if card := CARDS[name]:
            for file in sorted((arguments.source / card).iterdir()):
                shutil.copy(file, target / file.name)


def share_autoencoder(file: Path, other: Path) -> None:
    """Make ``file`` a link to ``other`` if both hold the same."""
    if other.is_file() and sha256(file) == sha256(other):
        file.unlink()
        file.symlink_to(os.path.relpath(other, file.parent))


def forget_origin(file: Path) -> None:
    """Drop from a configuration where the weights lay while they were trained."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if content.pop("_name_or_path", None) is not None:
        write_text(file, json.dumps(content, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
