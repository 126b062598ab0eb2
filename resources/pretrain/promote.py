"""Copy what the Snakefile beside this script trained into resources/, with checksums, so that experiments use it."""

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nepotism.runtime import cli
from nepotism.runtime.files import sha256, write_text


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--source", type=Path, default=Path("results/pretrain"), help="where the trained models are")
    parser.add_argument("--target", type=Path, default=Path("resources"), help="where they go")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    for name in ("tiny-diffusion", "tiny-clip"):
        source, target = arguments.source / name, arguments.target / name
        if not source.is_dir():
            raise cli.UserError(f"there is no {source}; run: snakemake --cores all -s resources/pretrain/Snakefile")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        for file in target.rglob("*.json"):
            forget_origin(file)
        files = sorted(path for path in target.rglob("*") if path.is_file())
        write_text(target / "SHA256SUMS", "".join(f"{sha256(path)}  {path.relative_to(target)}\n" for path in files))
    for file in sorted((arguments.source / "card").iterdir()):
        shutil.copy(file, arguments.target / "tiny-diffusion" / file.name)


def forget_origin(file: Path) -> None:
    """Drop from a configuration where the weights lay while they were trained."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if content.pop("_name_or_path", None) is not None:
        write_text(file, json.dumps(content, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
