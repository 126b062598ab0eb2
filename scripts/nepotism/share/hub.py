"""Repositories for the Hugging Face hub: a data set of what models drew, a retrained model, and a card for each.

They are made as folders. Uploading is another step, which nobody takes by accident.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from nepotism.experiment.cells import BASELINE_ARM, Cell, cell_in
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import beside, remove
from nepotism.share.bundle import TEXTS, answer, written
from nepotism.share.private import Private

# Folder of each repository, by its type on the hub.
KINDS = {"dataset": "dataset", "model": "model"}
# Licences of data and models that the hub has by their SPDX identifiers (docs/hub/repositories-licenses there).
LICENCES = {
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-3.0", "cc-by-sa-3.0", "cc-by-nc-3.0", "cc-by-nc-sa-3.0", "cc-by-2.0",
    "cc-by-nc-2.0", "cc-by-nc-sa-2.0",
}  # fmt: skip


def write(folder: Path, grid: Grid, licence: str, cell: str | None, private: Private, missing: Sequence[str]) -> Path:
    """Make both repositories, anew.

    Args:
        folder: results of the experiment.
        grid: of it.
        licence: SPDX identifier.
        cell: path of the one whose model is published; without it, the plain mixture's last at its largest ratio.
        private: what is not published.
        missing: why results are not whole.

    Returns:
        The folder of both.

    Raises:
        UserError: if the experiment is not of images, or has no such model.
    """
    if grid.family != DIFFUSION:
        raise UserError(
            f"`--hub` is for models of images, and {folder} is of the family {grid.family}; publish its tables"
        )
    chosen = _chosen(grid, cell)
    model = folder / chosen.path / "model"
    if not model.is_dir():
        raise UserError(f"there is no {model}; ask Snakemake for {model}, or name another cell with --cell")
    target = folder / "hub"
    with beside(target) as temporary:
        made = temporary / target.name
        told = {"licence": licence, "answer": answer(folder), "missing": missing, "experiment": grid.experiment}
        tables = _dataset(folder, made / KINDS["dataset"], grid, private)
        _card(made / KINDS["dataset"], private, *_dataset_card(tables, told))
        shutil.copytree(model, made / KINDS["model"], copy_function=lambda source, to: _shared(source, to, private))
        _card(made / KINDS["model"], private, *_model_card(grid, chosen, told))
        remove(target)
        os.replace(made, target)
    return target


def upload(folder: Path, name: str) -> Iterator[str]:
    """Upload what `write` made to private repositories; they are made where they are not there.

    Args:
        folder: of both.
        name: of the repositories, with the organisation or user.

    Yields:
        The address of each.

    Raises:
        UserError: if there is nothing to upload, the name is none, or the hub refuses.
    """
    if not all((folder / place / "README.md").is_file() for place in KINDS.values()):
        raise UserError(f"there is no {folder} with both repositories; make it with --hub and look at it first")
    if name.count("/") != 1 or not all(name.split("/")):
        raise UserError(f"--upload {name}: write ORGANISATION/NAME, or USER/NAME")
    from huggingface_hub import HfApi

    api = HfApi()
    for kind, place in KINDS.items():
        try:
            api.create_repo(name, repo_type=kind, private=True, exist_ok=True)
            made = api.upload_folder(
                repo_id=name, repo_type=kind, folder_path=folder / place, commit_message="Results of nepotism"
            )
        except Exception as error:
            # Whatever the package raises: of its network, whose errors have no class of Python's, of the name, of the account.
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"the hub refused the {kind} {name}: {first}; log in with `hf auth login`") from error
        yield str(made)


def _chosen(grid: Grid, cell: str | None) -> Cell:
    cells = grid.cells()
    if cell is None:
        arm = next((arm for arm in grid.arms if arm.name == BASELINE_ARM), grid.arms[0])
        return Cell(arm.name, max(arm.ratios, key=float), grid.seeds[0], arm.last)
    found = cell_in(cell.rstrip("/"))
    if found not in cells:
        raise UserError(f"--cell {cell}: no cell of the experiment; write one like {cells[-1].path}")
    assert found is not None
    return found


def _dataset(folder: Path, target: Path, grid: Grid, private: Private) -> dict[str, list[str]]:
    """Link samples of every cell and copy the tables.

    Returns:
        Files of each subset, by its name.
    """
    subsets: dict[str, list[str]] = {}
    places = [f"{base}/seed-{seed}" for base in grid.bases for seed in grid.seeds]
    for place in [*places, *(cell.path for cell in grid.cells())]:
        path = folder / place / "samples.parquet"
        if path.is_file():
            name = f"samples/{place}.parquet"
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            _linked(path, target / name)
            subsets.setdefault(
                "-".join(part for part in Path(place).parts if part[:5] not in ("seed-", "itera")), []
            ).append(name)
    for table in ("metrics", "claims", "claim_details"):
        path = folder / "tables" / f"{table}.csv"
        if path.is_file():
            written(path, target / "tables" / path.name, private)
            subsets[table] = [f"tables/{path.name}"]
    return subsets


def _shared(source: str | Path, target: str | Path, private: Private) -> str:
    """Link weights, and copy texts without paths of this machine: libraries write into them what a model was loaded from."""
    path = Path(source)
    if path.suffix not in TEXTS:
        return _linked(path, target)
    written(path, Path(target), private)
    if path.suffix == ".json":
        said = json.loads(Path(target).read_text(encoding="utf-8"))
        # A folder of whichever machine retrained it.
        if isinstance(said, dict) and said.pop("_name_or_path", None) is not None:
            Path(target).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    return str(target)


def _linked(source: str | Path, target: str | Path) -> str:
    """Link a file, or copy it where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return str(target)


def _dataset_card(subsets: dict[str, list[str]], told: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    head = {
        **_licence(told["licence"]),
        "tags": ["model-collapse", "synthetic"],
        "task_categories": ["text-to-image"],
        "configs": [
            {"config_name": name, "data_files": [{"split": "train", "path": files}]} for name, files in subsets.items()
        ],
    }
    return head, [
        f"# {told['experiment']}: images of models that were retrained on their own",
        "",
        *_whole(told),
        told["answer"],
        "",
        "A subset for each arm and ratio, with the samples of all seeds and iterations; `metrics` and `claims` are tables. Each row names",
        "the caption, the iteration, the digest of the model that drew it, its random stream, and the images it was made from.",
        "All images are generated, none is real.",
        "",
        "```python",
        "from datasets import load_dataset",
        f'load_dataset("path/to/this", "{next(iter(subsets), "metrics")}")',
        "```",
    ]


def _model_card(grid: Grid, cell: Cell, told: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    arm = grid.arm(cell.control)
    base = Path(str(grid.base_model_of(arm))).name
    head = {
        **_licence(told["licence"]),
        "library_name": "diffusers",
        "tags": ["model-collapse", "text-to-image"],
    }
    return head, [
        f"# {told['experiment']}: {cell.control}, {cell.ratio} % generated images, after {cell.iteration} retrainings",
        "",
        *_whole(told),
        told["answer"],
        "",
        f"The retrained denoiser of `{base}`, and nothing else: put it in the place of that pipeline's. It was retrained to measure how a",
        "model degrades on its own images, and is no better model for anything.",
        "",
        f"Cell `{cell.path}`. Settings of its retraining:",
        "",
        "```json",
        json.dumps(grid.block("finetune", arm), indent=1),
        "```",
    ]


def _licence(identifier: str) -> dict[str, str]:
    """An SPDX identifier as the hub takes it, which refuses cards with a licence that is not in its list."""
    if identifier.lower() in LICENCES:
        return {"license": identifier.lower()}
    link = f"https://spdx.org/licenses/{identifier}"
    return {"license": "other", "license_name": identifier.lower(), "license_link": link}


def _whole(told: dict[str, Any]) -> list[str]:
    return [f"**Not whole**: {'; '.join(told['missing'])}.", ""] if told["missing"] else []


def _card(folder: Path, private: Private, head: dict[str, Any], lines: Sequence[str]) -> None:
    text = (
        "---\n"
        + yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=120)
        + "---\n\n"
        + "\n".join(lines)
        + "\n"
    )
    (folder / "README.md").write_text(private.removed(text), encoding="utf-8")
