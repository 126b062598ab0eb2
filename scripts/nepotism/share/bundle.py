"""What is published of an experiment: a folder that stands by itself, and a zip of it. The same results give the same bytes."""

import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import atomic_write, sha256
from nepotism.share.private import Private
from nepotism.share.provenance import Versions

SUMS = "SHA256SUMS"
# Pages, and what makes each.
PAGES = {
    "index.html": "`snakemake --cores all {folder}/index.html`",
    "report.html": "`snakemake --report {folder}/report.html`, or `make run EXPERIMENT={name}`",
}
TEXTS = (".csv", ".html", ".json", ".md", ".rst", ".smk", ".svg", ".txt", ".yaml", "")
# Kinds of files that are left out, by their endings.
LEFT_OUT = {
    "images and other rows": (".parquet",),
    "weights": (".safetensors", ".bin", ".pt"),
    "features": (".npz",),
}


def pages(folder: Path) -> tuple[list[str], list[str]]:
    """Pages that are published, and those that are not, with the reason.

    Args:
        folder: results of the experiment.
    """
    there, why = [], []
    newest = max((path.stat().st_mtime for path in (folder / "tables").glob("claims.csv")), default=0.0)
    for page, maker in PAGES.items():
        path, how = folder / page, maker.format(folder=folder, name=folder.name)
        if not path.is_file():
            why.append(f"{page} is not there: {how} makes it")
        elif path.stat().st_mtime < newest:
            why.append(f"{page} is older than the claims: {how} makes it anew")
        else:
            there.append(page)
    return there, why


def files(folder: Path, grid: Grid) -> Iterator[tuple[Path, str]]:
    """Tables, figures and contact sheets of an experiment: where each is, and what it is called when it is published."""
    for part, endings in (("tables", (".csv",)), ("figures", (".svg", ".png", ".csv"))):
        for path in sorted((folder / part).glob("*")):
            if path.suffix in endings:
                yield path, f"{part}/{path.name}"
    if grid.family != DIFFUSION:
        return
    # As in the report: iteration 0, and the end of each arm at each ratio, for the first seed.
    seed = grid.seeds[0]
    ends = [
        f"{arm.name}/ratio-{ratio}/seed-{seed}/iteration-{arm.last}"
        for arm in grid.arms
        for ratio in grid.ratios_of(arm)
    ]
    for place in [*(f"{base}/seed-{seed}" for base in grid.bases), *ends]:
        for path in sorted((folder / place).glob("*.png")):
            yield path, f"sheets/{place}/{path.name}"


def source(root: Path) -> Iterator[tuple[Path, str]]:
    """What of the project is published: how the workflow is put together, what it needs, and its licence."""
    yield root / "LICENSE", "LICENSE"
    for path in [root / "Snakefile", root / "workflow_config.yaml", *sorted((root / "rules").glob("*.smk"))]:
        yield path, f"workflow/{path.relative_to(root)}"
    for path in sorted((root / "envs").glob("*.txt")):
        yield path, f"environment/{path.name}"


def written(path: Path, target: Path, private: Private) -> None:
    """Copy a file, without paths of this machine.

    Raises:
        UserError: if it has one and is no text.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in TEXTS:
        target.write_text(private.removed(path.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        shutil.copyfile(path, target)
    check(target, path, private)


def check(target: Path, path: Path, private: Private) -> None:
    """Make sure that no path of this machine is in a file.

    Raises:
        UserError: naming it.
    """
    if found := private.found(target.read_bytes()):
        raise UserError(
            f"{path} names {found}, a path of this machine, and would be published; make it anew without that"
        )


def packages() -> str:
    """Name and version of each package here, sorted; no addresses that they came from."""
    found = {each.metadata["Name"].lower().replace("_", "-"): each.version for each in distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def made_with(made: Versions) -> str:
    """What the cells say of how they were made, as JSON: of each key how many cells have which value."""
    return json.dumps({key: dict(sorted(values.items())) for key, values in sorted(made.items())}, indent=1) + "\n"


def date_of(folder: Path) -> str:
    """When the newest table was made, to the second; it is part of what is published, and the clock is not.

    Raises:
        UserError: if there is no table.
    """
    times = [path.stat().st_mtime for path in (folder / "tables").glob("*.csv")]
    if not times:
        raise UserError(
            f"there is no table in {folder / 'tables'}, and so nothing to publish; run the experiment first"
        )
    newest = max(times)
    return datetime.fromtimestamp(int(newest), UTC).isoformat()


def left_out(folder: Path) -> Counter[str]:
    """Bytes of what is left out, by kind."""
    sizes: Counter[str] = Counter()
    kinds = {ending: kind for kind, endings in LEFT_OUT.items() for ending in endings}
    for path in folder.rglob("*"):
        # What --hub has made are links to some of these.
        if path.suffix in kinds and path.is_file() and path.relative_to(folder).parts[0] != "hub":
            sizes[kinds[path.suffix]] += path.stat().st_size
    return sizes


def answer(folder: Path) -> str:
    """The answer in a paragraph, as the report's first page has it; empty where there is none."""
    path = folder / "report" / "answer.rst"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    _, title, rest = text.partition("\n====")
    paragraphs = [part.strip() for part in rest.split("\n\n")[1:]] if title else []
    return " ".join(paragraphs[0].replace("\\", "").split()) if paragraphs else ""


def write_sums(folder: Path) -> None:
    """Write the checksums of all files, as `sha256sum -c` reads them."""
    names = _names(folder)
    lines = [f"{sha256(folder / name)}  {name}\n" for name in names if name != SUMS]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def write_zip(folder: Path, path: Path) -> None:
    """Write a zip of a folder, the same for the same files."""
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in _names(folder):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, (folder / name).read_bytes())


def _names(folder: Path) -> Sequence[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
