"""Write an image set as a folder of PNG files with a metadata.csv (Hugging Face imagefolder columns and provenance)."""

import argparse
from pathlib import Path

from nepotism.data.images import encode_png, read_image_set
from nepotism.data.tables import write_csv
from nepotism.runtime import cli
from nepotism.runtime.files import atomic_write
from nepotism.runtime.progress import Progress

COLUMNS = ["file_name", "text", "group", "id", "slot", "origin", "iteration", "parents", "model", "rng", "sha256"]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("image_set", type=Path, help="a Parquet file, such as results/faces/reference/real.parquet")
    parser.add_argument("folder", type=Path, help="output folder; must not exist or be empty")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.folder
    if not arguments.image_set.is_file():
        raise cli.UserError(f"there is no image set {arguments.image_set}")
    if folder.exists() and any(folder.iterdir()):
        raise cli.UserError(f"{folder} is not empty; give a new folder, nothing is overwritten")
    images = read_image_set(arguments.image_set)
    rows = []
    with Progress(len(images.records), "writing", "image") as progress:
        for pixels, record in zip(images.pixels, images.records, strict=True):
            name = f"{record.slot}.png"
            with atomic_write(folder / name) as temporary:
                temporary.write_bytes(encode_png(pixels))
            rows.append([
                name, record.prompt, record.group, record.id, record.slot, record.origin, record.iteration,
                ";".join(record.parents), record.model, record.rng, record.sha256,
            ])  # fmt: skip
            progress.advance()
    # Last, so that a folder with metadata.csv is complete.
    write_csv(folder / "metadata.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
