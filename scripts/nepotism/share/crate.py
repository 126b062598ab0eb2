"""The RO-Crate of a published experiment: what each file is, which workflow made it and by which configuration.

By the profile Workflow Run Crate 0.5, which is one of a workflow and a single run of it (Leo et al., PLOS ONE 19, 2024).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nepotism.runtime.errors import UserError

try:
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate
except ImportError:
    raise UserError("the package rocrate is not installed; `make .venv/publish` installs it") from None

METADATA = "ro-crate-metadata.json"
WORKFLOW = "workflow/Snakefile"
CONFIG = "config.json"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
FORMATS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".html": "text/html",
    ".md": "text/markdown",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
    ".smk": "text/plain",
    "": "text/plain",
}


@dataclass(frozen=True)
class About:
    """What a crate says of an experiment as a whole.

    Attributes:
        name, description: of the experiment; the latter is its answer.
        date: of its newest table, as in 2026-01-31T12:00:00+00:00.
        licence: SPDX identifier.
        authors: names.
        lacking: why it is not whole; nothing where it is.
        revisions: of the source that made its cells.
        source: revision of the source here.
        snakemake: version of Snakemake here.
        descriptions: of files, by path.
    """

    name: str
    description: str
    date: str
    licence: str
    authors: Sequence[str]
    lacking: Sequence[str]
    revisions: Sequence[str]
    source: str
    snakemake: str
    descriptions: Mapping[str, str]


def metadata(folder: Path, about: About) -> str:
    """The text of ro-crate-metadata.json for the files of a folder: the same for the same ones.

    Args:
        folder: all that is published, with `WORKFLOW` and `CONFIG`.
        about: the rest.
    """
    crate = ROCrate(version="1.1")
    crate.name, crate.description = f"nepotism: the experiment {about.name}", about.description
    crate.datePublished = about.date
    crate.keywords = "generative models, model collapse, self-consuming training"
    if about.lacking:
        crate.creativeWorkStatus = f"Incomplete: {'; '.join(about.lacking)}"
    licence = _add(crate, f"https://spdx.org/licenses/{about.licence}", "CreativeWork", name=about.licence)
    crate.license = licence
    people = [_add(crate, f"#author-{number}", "Person", name=name) for number, name in enumerate(about.authors, 1)]
    if people:
        crate.root_dataset["author"] = people if len(people) > 1 else people[0]
    crate.root_dataset["conformsTo"] = [
        _add(crate, key, "CreativeWork", name=name, version=version) for key, (name, version) in PROFILES.items()
    ]
    workflow = crate.add_workflow(
        folder / WORKFLOW,
        WORKFLOW,
        main=True,
        lang="snakemake",
        lang_version=about.snakemake,
        properties=_told(folder, WORKFLOW, about),
    )
    workflow["version"] = about.source
    workflow["license"] = _add(crate, "https://spdx.org/licenses/Apache-2.0", "CreativeWork", name="Apache-2.0")
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    files = {
        name: crate.add_file(folder / name, name, properties=_told(folder, name, about))
        for name in names
        if name not in (WORKFLOW, METADATA)
    }
    made = [
        each for name, each in files.items() if not name.startswith(("workflow/", "environment/")) and name != CONFIG
    ]
    run = _add(crate, "#run", "CreateAction", name=f"Run of the experiment {about.name}", endTime=about.date)
    run["instrument"], run["object"], run["result"] = workflow, files[CONFIG], made
    run["description"] = f"By source revision {', '.join(about.revisions) or 'unknown'}."
    if not about.lacking:
        run["actionStatus"] = "http://schema.org/CompletedActionStatus"
    if people:
        run["agent"] = crate.root_dataset["author"]
    crate.root_dataset["mentions"] = run
    files["README.md"]["about"] = crate.root_dataset
    return json.dumps(crate.metadata.generate(), indent=2, ensure_ascii=False) + "\n"


def _told(folder: Path, name: str, about: About) -> dict[str, Any]:
    path = folder / name
    told: dict[str, Any] = {"name": name, "contentSize": str(path.stat().st_size)}
    if path.suffix in FORMATS:
        told["encodingFormat"] = FORMATS[path.suffix]
    if name in about.descriptions:
        told["description"] = about.descriptions[name]
    return told


def _add(crate: Any, key: str, kind: str, **properties: Any) -> Any:
    return crate.dereference(key) or crate.add(ContextEntity(crate, key, properties={"@type": kind, **properties}))
