"""Put what is worth sending of an experiment into a folder and a zip, with checksums and an RO-Crate: ready for Zenodo.

python scripts/publish.py results/faces             # results/faces/publish/ and results/faces/publish.zip
python scripts/publish.py results/faces --hub       # results/faces/hub/: repositories of images and of a model, with cards
python scripts/publish.py results/faces --upload my-organisation/faces    # upload these two, privately; nothing else does
"""

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import yaml
from nepotism.data.tables import provenance, read_text_csv
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.plan.results import read_grid
from nepotism.runtime import cli
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import beside, remove
from nepotism.share import bundle, hub
from nepotism.share.finished import as_yaml, experiment_file, lacking
from nepotism.share.private import Private, here
from nepotism.share.provenance import Versions, metrics_files, versions

ROOT = Path(__file__).parents[1]
# Sources whose rows anybody may have: they are drawn here, come with scikit-learn, or are in the public domain.
FREE = ("portraits", "digits", "resources/austen")
DESCRIPTIONS = {
    "config.json": "The resolved configuration of the run.",
    "experiment.yaml": "The same as an experiment file: what differs from the default.",
    "tables/metrics.csv": "Every score of every cell.",
    "tables/jackknife.csv": "The same scores without each block of images.",
    "tables/claims.csv": "Every claim with its verdict.",
    "tables/claim_details.csv": "Every part of every claim: effect, 90 % interval, bound, verdict.",
    "tables/cost.csv": "Time and memory of the jobs of each rule.",
    "index.html": "All results on one page.",
    "report.html": "Snakemake's report of the run.",
    "environment/constraints.txt": "The version of every package that a full environment holds.",
    "environment/installed.txt": "The packages of the environment that published.",
    "environment/made-with.json": "What the cells say of how they were made, and how many say it.",
}


def main() -> None:
    parser = cli.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="an experiment's results, such as results/faces")
    parser.add_argument("--partial", action="store_true", help="publish what is there, and say what is missing")
    parser.add_argument("--licence", help="SPDX identifier for what is published; needed where images are your own")
    parser.add_argument("--author", action="append", default=[], help="a name; may be given several times")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--hub", action="store_true", help="make repositories for the Hugging Face hub instead")
    choice.add_argument("--upload", metavar="ORGANISATION/NAME", help="upload what --hub made, as private repositories")
    parser.add_argument(
        "--cell", help="of --hub: the cell whose model is published, such as none/ratio-100/seed-0/iteration-3"
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    folder = arguments.folder
    if arguments.upload:
        for address in hub.upload(folder / "hub", arguments.upload):
            print(f"uploaded, private: {address}")
        return
    grid = read_grid(folder)
    config = dict(grid.config)
    licence = licence_of(*source_of(grid), arguments.licence)
    made = versions(metrics_files(folder))
    file = experiment_file(config, ROOT)
    missing = list(lacking(folder, grid, made, file, ROOT))
    if missing and not arguments.partial:
        raise UserError(
            f"{folder} is not finished: {'; '.join(missing)}. Run it, or publish what is there with --partial"
        )
    private = Private(here(ROOT), config)
    if arguments.hub:
        target = hub.write(folder, grid, licence, arguments.cell, private, missing)
        print(f"{target}: dataset and model with their cards; look at them, then: --upload ORGANISATION/NAME")
        return
    published = folder / "publish"
    with beside(published) as temporary:
        made_folder = temporary / published.name
        absent = build(made_folder, folder, grid, made, file, licence, arguments.author, missing, private)
        remove(published)
        os.replace(made_folder, published)
    bundle.write_zip(published, folder / "publish.zip")
    print("\n".join(told(folder, missing, absent)))


def source_of(grid: Grid) -> tuple[str, str]:
    """What figures show of the original rows, and where these are from; empty where an experiment draws its own."""
    if grid.family == DIFFUSION:
        return "images", grid.config["reference"]["source"]
    return "rows", grid.family_block(None).get("data", "").rstrip("/")


def licence_of(rows: str, source: str, given: str | None) -> str:
    """The licence of what is published.

    Raises:
        UserError: if pictures or texts of the user's would be published, and nobody said on which terms.
    """
    if given is None and source and source not in FREE:
        raise UserError(
            f"figures show {rows} of the source `{source}`: say on which terms with --licence, such as CC-BY-NC-SA-4.0"
        )
    return given or "Apache-2.0"


def build(
    target: Path,
    folder: Path,
    grid: Grid,
    made: Versions,
    file: str,
    licence: str,
    authors: Sequence[str],
    missing: Sequence[str],
    private: Private,
) -> list[str]:
    """Fill the folder that is published.

    Returns:
        Which pages are not in it, and why.
    """
    # Here, so that the other ways of publishing need no package for it.
    from nepotism.share.crate import METADATA, About, metadata

    there, absent = bundle.pages(folder)
    for path, name in [*((folder / page, page) for page in there), *bundle.files(folder, grid), *bundle.source(ROOT)]:
        bundle.written(path, target / name, private)
    revisions = sorted(made.get("revision", ()))
    question = bundle.answer(folder) or f"Results of the experiment {grid.experiment}."
    texts = {
        "config.json": json.dumps(private.cleaned(grid.config), indent=2) + "\n",
        # Its long lines are broken, also within a path.
        "experiment.yaml": as_yaml(private.cleaned(yaml.safe_load(file))),
        "environment/installed.txt": bundle.packages(),
        "environment/made-with.json": bundle.made_with(made),
        "README.md": "\n".join(readme(folder, grid, question, licence, revisions, missing, absent)) + "\n",
    }
    for name, text in texts.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(private.removed(text), encoding="utf-8")
        bundle.check(target / name, folder / name, private)
    about = About(
        grid.experiment,
        question,
        bundle.date_of(folder),
        licence,
        authors,
        [private.removed(each) for each in missing],
        revisions,
        provenance()["revision"] or "unknown",
        version("snakemake"),
        DESCRIPTIONS,
    )
    (target / METADATA).write_text(metadata(target, about), encoding="utf-8")
    bundle.write_sums(target)
    return absent


def readme(
    folder: Path,
    grid: Grid,
    question: str,
    licence: str,
    revisions: Sequence[str],
    missing: Sequence[str],
    absent: Iterable[str],
) -> list[str]:
    """The page that one reads first, as lines."""
    path = folder / "tables" / "claims.csv"
    claims = read_text_csv(path) if path.is_file() else []
    sizes = bundle.left_out(folder)
    return [
        f"# nepotism: the experiment {grid.experiment}",
        "",
        *([f"**Not whole**: {'; '.join(missing)}.", ""] if missing else []),
        question,
        "",
        *(["| | claim | verdict |", "| --- | --- | --- |"] if claims else []),
        *(f"| {claim['claim']} | {claim['statement']} | {claim['verdict']} |" for claim in claims),
        "",
        "- `tables/`: scores, claims and costs; `figures/`: each with the table that it was drawn from; `sheets/`: contact sheets",
        "- `config.json`: the resolved configuration; `experiment.yaml`: what in it differs from the default",
        "- `workflow/`: how the workflow is put together; `environment/`: versions of packages, and what made the cells",
        "- `ro-crate-metadata.json`: all of this for machines; `SHA256SUMS`: `sha256sum -c SHA256SUMS` checks it",
        "",
        f"Made by source revision {', '.join(revisions) or 'unknown'}; `workflow/` is of revision {provenance()['revision'] or 'unknown'}.",
        "With the source, `snakemake --cores all --configfile experiment.yaml` makes all of it again.",
        "",
        *(
            f"- {each}"
            for each in [*(f"left out: {size / 1e9:.2g} GB of {kind}" for kind, size in sorted(sizes.items())), *absent]
        ),
        "",
        f"Licence of results: {licence}. Licence of the source: Apache-2.0 (`LICENSE`).",
    ]


def told(folder: Path, missing: Sequence[str], absent: Sequence[str]) -> Iterable[str]:
    """What was published, as lines."""
    published, packed = folder / "publish", folder / "publish.zip"
    count = sum(path.is_file() for path in published.rglob("*"))
    yield f"{published}: {count} files; {packed}: {packed.stat().st_size / 1e6:.1f} MB"
    yield from (f"not whole, and it says so: {each}" for each in missing)
    yield from absent
    yield from (f"left out: {size / 1e9:.2g} GB of {kind}" for kind, size in sorted(bundle.left_out(folder).items()))


if __name__ == "__main__":
    main()
