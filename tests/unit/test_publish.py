"""What is published of an experiment: the same bytes from the same results, whole, and no path of this machine."""

import csv
import hashlib
import html
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
import yaml
from conftest import ROOT
from huggingface_hub.errors import HFValidationError
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import escape
from nepotism.experiment.search import ROUNDS
from nepotism.plan import configfiles
from nepotism.plan.config import checked
from nepotism.plan.grid import Grid
from nepotism.runtime.errors import UserError
from nepotism.share import hub
from nepotism.share.finished import experiment_file
from nepotism.share.private import Private
from publish import licence_of, source_of

MODEL = "/srv/of someone/models/tiny"
PROVENANCE = {"revision": "abc", "stage_versions": {"score": 4}, "libraries": {"torch": "2.0"}, "python": "3.11"}
ARMS = [
    {"name": "none", "ratios": [0, 50]},
    {"name": "heal", "regime": "heal", "ratios": [50], "parameters": {"after": 1, "iterations": 1}},
]
ANSWER = (
    ".. raw:: html\n\n    <style></style>\n\nWhat happens?\n=============\n\nIt *collapses*\\_.\n\nBeside this page.\n"
)


def configuration(**keys):
    named = {"experiment": "one", "seeds": [0, 1], "iterations": 1, "arms": ARMS, **keys}
    return checked(configfiles.laid_over(configfiles.read(ROOT / "workflow_config.yaml"), named))


@pytest.fixture
def results(tmp_path):
    """An experiment whose files are all there; nothing of it was computed."""

    def make(**keys):
        folder = tmp_path / "results" / "one"
        config = configuration(**{"model": {"path": MODEL}, **keys})
        grid = Grid(config)
        for name in ("tables", "figures", "report"):
            (folder / name).mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tables" / "metrics.csv").write_text("experiment,value\none,1\n")
        with open(folder / "tables" / "claims.csv", "w", newline="") as file:
            csv.writer(file).writerows([["claim", "statement", "verdict"], ["1", "flat", "holds"]])
        (folder / "figures" / "figure-1.svg").write_text(f"<svg><!-- {ROOT}/x {MODEL} --></svg>")
        (folder / "figures" / "figure-1.png").write_bytes(b"\x89PNG")
        (folder / "report" / "answer.rst").write_text(ANSWER)
        for cell in [*(cell.path for cell in grid.cells()), *(f"base/seed-{seed}" for seed in grid.seeds)]:
            (folder / cell / "model").mkdir(parents=True)
            (folder / cell / "metrics.json").write_text(json.dumps({"rows": [], "provenance": PROVENANCE}))
            (folder / cell / "samples.png").write_bytes(b"sheet")
            for name in ("mix.parquet", "losses.csv", "samples.parquet"):
                (folder / cell / name).write_bytes(b"samples")
            said = {"_name_or_path": f"{MODEL}/unet", "sample_size": 8}
            (folder / cell / "model" / "config.json").write_text(json.dumps(said))
        (folder / "report.html").write_text(f"<p>{Path.home()}/x {tmp_path}</p>")
        return folder

    return make


def publish(folder, *arguments, cwd=None, **environment):
    command = [sys.executable, str(ROOT / "scripts" / "publish.py"), str(folder), *map(str, arguments)]
    given = {**os.environ, **environment}
    done = subprocess.run(command, cwd=cwd or folder.parents[1], capture_output=True, text=True, env=given)
    return done.returncode, done.stdout, done.stderr


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_folder_stands_by_itself_and_the_same_results_give_the_same_bytes(results):
    folder = results()
    code, printed, error = publish(folder, "--author", "A. Person")
    assert code == 0, error
    published = contents(folder / "publish")
    assert {
        "README.md",
        "LICENSE",
        "SHA256SUMS",
        "config.json",
        "experiment.yaml",
        "report.html",
        "ro-crate-metadata.json",
        "tables/metrics.csv",
        "tables/claims.csv",
        "figures/figure-1.svg",
        "figures/figure-1.png",
        "sheets/base/seed-0/samples.png",
        "sheets/none/ratio-50/seed-0/iteration-1/samples.png",
        "sheets/heal/ratio-50/seed-0/iteration-2/samples.png",
        "workflow/Snakefile",
        "workflow/rules/common.smk",
        "environment/constraints.txt",
        "environment/torch.txt",
        "environment/installed.txt",
        "environment/made-with.json",
    } <= published.keys()
    assert not [name for name in published if "seed-1" in name or name.endswith((".parquet", ".safetensors"))]
    # What sends it says what is not in it, and what makes that.
    assert "index.html is not there: `snakemake --cores all" in printed
    assert "left out: " in printed
    # No path of this machine, in whichever file.
    places = [str(ROOT), str(Path.home()), str(folder.parents[1]), "of someone"]
    assert not [(name, place) for name, text in published.items() for place in places if place.encode() in text]
    assert json.loads(published["config.json"])["model"]["path"] == "(private)/tiny"
    assert published["report.html"] == b"<p>~/x .</p>"
    sums = dict(line.split("  ")[::-1] for line in published["SHA256SUMS"].decode().splitlines())
    assert sums == {name: hashlib.sha256(text).hexdigest() for name, text in published.items() if name != "SHA256SUMS"}
    with zipfile.ZipFile(folder / "publish.zip") as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == published
    packed = (folder / "publish.zip").read_bytes()
    assert publish(folder, "--author", "A. Person")[0] == 0
    assert contents(folder / "publish") == published
    assert (folder / "publish.zip").read_bytes() == packed


def test_the_crate_says_what_was_made_by_what(results):
    """By the profile Workflow Run Crate 0.5: what its validator requires of one, which wants other packages than ours."""
    folder = results()
    assert publish(folder, "--author", "A. Person")[0] == 0
    crate = json.loads((folder / "publish" / "ro-crate-metadata.json").read_text())
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {each["@id"]: each for each in crate["@graph"]}
    root, run = entities["./"], entities["#run"]
    workflow = entities[root["mainEntity"]["@id"]]
    profiles = {each["@id"] for each in root["conformsTo"]}
    assert "https://w3id.org/ro/wfrun/workflow/0.5" in profiles
    assert profiles <= entities.keys()
    assert workflow["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    assert "Snakemake" in entities[workflow["programmingLanguage"]["@id"]]["name"]
    assert run["@type"] == "CreateAction"
    assert run["instrument"]["@id"] == workflow["@id"]
    assert run["object"]["@id"] == "config.json"
    assert {"tables/metrics.csv", "figures/figure-1.svg"} <= {each["@id"] for each in run["result"]}
    assert root["license"]["@id"] == "https://spdx.org/licenses/Apache-2.0"
    assert entities[root["author"]["@id"]]["name"] == "A. Person"
    assert root["description"] == "It *collapses*_."
    # By the results, not by the clock.
    newest = max(path.stat().st_mtime for path in (folder / "tables").iterdir())
    assert root["datePublished"].startswith("20")
    os.utime(folder / "tables" / "metrics.csv", (newest, newest + 3600))
    assert publish(folder)[0] == 0
    later = json.loads((folder / "publish" / "ro-crate-metadata.json").read_text())
    assert later["@graph"][0]["datePublished"] > root["datePublished"]
    # Every file but those that come after it.
    files = {name for name in contents(folder / "publish")} - {"SHA256SUMS", "ro-crate-metadata.json"}
    assert files == {each["@id"] for each in root["hasPart"]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "none/ratio-50/seed-1/iteration-1/metrics.json").unlink(), "1 of 6 cells are not done"),
        (lambda folder: (folder / "tables/claims.csv").unlink(), "there is no tables/claims.csv"),
        (
            lambda folder: (folder / "base/seed-0/metrics.json").write_text(
                json.dumps({"provenance": {**PROVENANCE, "stage_versions": {"score": 3}}})
            ),
            "cells were made by different versions of score",
        ),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_refused_unless_one_says_so(results, change, told):
    folder = results()
    change(folder)
    code, _, error = publish(folder)
    assert code == 2
    assert len(error.strip().splitlines()) == 1
    assert f"{folder} is not finished: {told}" in error
    assert not (folder / "publish").exists()
    code, printed, error = publish(folder, "--partial")
    assert code == 0, error
    assert told in printed
    assert told in (folder / "publish" / "README.md").read_text()
    root = json.loads((folder / "publish" / "ro-crate-metadata.json").read_text())["@graph"][0]
    assert root["creativeWorkStatus"] == f"Incomplete: {told}"


@pytest.mark.parametrize(
    ("change", "arguments", "told"),
    [
        (lambda folder: (folder / "config.json").unlink(), (), "there is no {folder}/config.json; give"),
        (lambda folder: (folder / "config.json").write_text("{}"), (), "is no configuration of this version"),
        (lambda folder: (folder / "figures/figure-1.png").write_bytes(MODEL.encode()), (), "figure-1.png names /srv/of"),
        (lambda folder: None, ("--upload", "me/one"), "there is no {folder}/hub with both repositories"),
        (lambda folder: None, ("--hub", "--cell", "none/ratio-7/seed-0/iteration-1"), "no cell of the experiment"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(results, change, arguments, told):
    folder = results()
    change(folder)
    code, _, error = publish(folder, *arguments)
    assert code == 2
    assert told.format(folder=folder) in error
    assert len(error.strip().splitlines()) == 1
    assert not (folder / "publish").exists()


def test_pictures_of_others_need_a_licence(results, tmp_path):
    folder = results(reference={"source": "folder", "folder": {"path": str(tmp_path / "pictures")}})
    code, _, error = publish(folder)
    assert code == 2
    assert "figures show images of the source `folder`: say on which terms with --licence" in error
    code, _, error = publish(folder, "--licence", "CC-BY-4.0")
    assert code == 0, error
    root = json.loads((folder / "publish" / "ro-crate-metadata.json").read_text())["@graph"][0]
    assert root["license"]["@id"] == "https://spdx.org/licenses/CC-BY-4.0"


def test_figures_of_other_versions_are_no_cells_of_other_versions(results):
    """Snakemake makes these anew as a whole, whichever version the cells were scored by."""
    folder = results()
    versions = {**PROVENANCE["stage_versions"], "figure_3": 9, "page": 9}
    (folder / "base/seed-0/metrics.json").write_text(
        json.dumps({"provenance": {**PROVENANCE, "stage_versions": versions}})
    )
    versions |= {"figure_3": 8, "page": 8}
    (folder / "base/seed-1/metrics.json").write_text(
        json.dumps({"provenance": {**PROVENANCE, "stage_versions": versions}})
    )
    code, _, error = publish(folder)
    assert code == 0, error


def test_without_any_table_there_is_nothing_to_publish(results):
    folder = results()
    for path in (folder / "tables").iterdir():
        path.unlink()
    code, _, error = publish(folder, "--partial")
    assert code == 2
    assert error.strip().endswith(
        f"error: there is no table in {folder}/tables, and so nothing to publish; run the experiment first"
    )
    assert not (folder / "publish").exists()


@pytest.mark.parametrize(("family", "own"), [("lm", "/people/texts"), ("vae", "/people/digits")])
def test_texts_and_digits_of_others_need_a_licence_too(family, own):
    """Figures of language models show a block of the original text."""
    experiment = configfiles.read(ROOT / "resources" / "experiments" / f"{family}.yaml")
    config = checked(configfiles.laid_over(configfiles.read(ROOT / "workflow_config.yaml"), experiment))
    assert licence_of(*source_of(Grid(config)), None) == "Apache-2.0"
    config[family]["data"] = own
    with pytest.raises(UserError, match=f"figures show rows of the source `{own}`: say on which terms with --licence"):
        licence_of(*source_of(Grid(config)), None)
    assert licence_of(*source_of(Grid(config)), "MIT") == "MIT"


def test_an_old_page_is_not_published(results):
    folder = results()
    os.utime(folder / "report.html", (1, 1))
    code, printed, _ = publish(folder)
    assert code == 0
    assert "report.html is older than the claims: `snakemake --report" in printed
    assert not (folder / "publish" / "report.html").exists()


def test_the_experiment_file_makes_the_same_configuration():
    config = configuration(finetune={"epochs": 7})
    file = experiment_file(config, ROOT)
    again = configfiles.laid_over(configfiles.read(ROOT / "workflow_config.yaml"), yaml.safe_load(file))
    assert checked(again) == config
    assert yaml.safe_load(file)["finetune"] == {"epochs": 7}


def test_paths_are_found_whole():
    private = Private(
        {Path("/people"): "~", Path("/"): "!"}, {"model": {"path": "/people/deep/model"}, "more": ["/data/x"]}
    )
    text = "/people/deep/model /people/deep /peoples /people /data/xy '/data/x' and/or"
    assert private.removed(text) == "(private)/model ~/deep /peoples ~ /data/xy '(private)/x' and/or"
    assert private.found(b"\x00/people\x00") == "/people"
    assert private.found(text.replace("/people", "/p").encode()) == "/data/x"


@pytest.mark.parametrize("path", ["/people/josé/tiny", '/d/a & "b"\'s <x>/tiny', "~/models/tiny", "../../people/tiny"])
def test_paths_are_found_however_a_file_writes_them(path):
    private = Private({}, {"models": [{"path": path}]})
    ways = {
        "plain": path, "json": json.dumps(path), "html": html.escape(json.dumps(path)), "text": html.escape(path), "address": quote(path),
        "page": str(escape(json.dumps(path))), "script": str(htmlsafe_json_dumps(path)),
    }  # fmt: skip
    for way, text in ways.items():
        assert private.found(text.encode()), way
        cleaned = private.removed(text)
        assert private.found(cleaned.encode()) is None
        assert "people" not in cleaned
        assert "tiny" in cleaned, way
    assert private.cleaned({"models": [{"path": path, "n": 1}]}) == {"models": [{"path": "(private)/tiny", "n": 1}]}


def test_no_line_break_hides_a_path(results):
    folder = results(model={"path": "/srv/a long name of a folder/" * 6 + "tiny"})
    code, _, error = publish(folder)
    assert code == 0, error
    assert yaml.safe_load((folder / "publish/experiment.yaml").read_text())["model"] == {"path": "(private)/tiny"}
    assert not [name for name, text in contents(folder / "publish").items() if b"long name of a" in text]


def test_the_sheets_of_ratios_that_a_search_asked_for_are_published(results):
    arms = [{"name": "none", "ratios": {"search": [0, 100], "until": 50}}]
    folder = results(arms=arms)
    asked = {"low": "0", "high": "100", "next": "50", "outcome": "searching", "tried": []}
    (folder / ROUNDS / "none").mkdir(parents=True)
    (folder / ROUNDS / "none" / "round-1.json").write_text(json.dumps(asked))
    code, _, error = publish(folder)
    assert code == 2
    assert "is not finished: 2 of 6 cells are not done" in error
    sheet = "none/ratio-50/seed-0/iteration-1/samples.png"
    (folder / sheet).parent.mkdir(parents=True)
    (folder / sheet).write_bytes(b"sheet")
    assert publish(folder, "--partial")[0] == 0
    assert (folder / "publish" / "sheets" / sheet).is_file()


# ---- The hub


class FakeApi:
    """What is asked of the hub; nothing leaves the machine."""

    def __init__(self):
        self.calls = []

    def create_repo(self, name, **options):
        self.calls.append(("create", name, options))

    def upload_folder(self, **options):
        self.calls.append(("upload", options["repo_id"], options))
        return f"address of {options['repo_type']}"


def test_a_card_names_a_licence_that_the_hub_knows(results):
    folder = results()
    assert publish(folder, "--hub", "--licence", "GPL-3.0-only")[0] == 0
    for kind in ("dataset", "model"):
        head = yaml.safe_load((folder / "hub" / kind / "README.md").read_text().split("---\n")[1])
        assert (head["license"], head["license_name"]) == ("other", "gpl-3.0-only")
        assert head["license_link"] == "https://spdx.org/licenses/GPL-3.0-only"


def test_repositories_are_made_and_only_uploaded_on_command(results, monkeypatch):
    folder = results()
    code, _, error = publish(folder, "--hub")
    assert code == 0, error
    made = contents(folder / "hub")
    assert {
        "dataset/README.md",
        "dataset/samples/none/ratio-50/seed-1/iteration-1.parquet",
        "dataset/tables/metrics.csv",
    } <= made.keys()
    assert {"model/README.md", "model/config.json"} <= made.keys()
    assert not [name for name in made if "reference" in name]
    head, card = made["dataset/README.md"].decode().removeprefix("---\n").split("\n---\n")
    head = yaml.safe_load(head)
    assert head["license"] == "apache-2.0"
    subsets = {each["config_name"]: each["data_files"][0]["path"] for each in head["configs"]}
    assert set(subsets) == {"base", "none-ratio-0", "none-ratio-50", "heal-ratio-50", "metrics", "claims"}
    assert all((folder / "hub" / "dataset" / file).is_file() for files in subsets.values() for file in files)
    assert "It *collapses*_." in card
    head, card = made["model/README.md"].decode().removeprefix("---\n").split("\n---\n")
    assert yaml.safe_load(head)["library_name"] == "diffusers"
    assert "Cell `none/ratio-50/seed-0/iteration-1`" in card
    # Diffusers writes into it what it was loaded from; the results keep that.
    assert json.loads(made["model/config.json"]) == {"sample_size": 8}
    assert MODEL in (folder / "none/ratio-50/seed-0/iteration-1/model/config.json").read_text()
    assert not [name for name, text in made.items() if b"of someone" in text]

    api = FakeApi()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    assert list(hub.upload(folder / "hub", "me/one")) == ["address of dataset", "address of model"]
    assert [call[:2] for call in api.calls] == [("create", "me/one"), ("upload", "me/one")] * 2
    assert all(options["private"] for kind, _, options in api.calls if kind == "create")
    assert [options["folder_path"] for kind, _, options in api.calls if kind == "upload"] == [
        folder / "hub" / "dataset",
        folder / "hub" / "model",
    ]
    with pytest.raises(UserError, match="write ORGANISATION/NAME"):
        list(hub.upload(folder / "hub", "one"))

    # The package's own errors of networks and names are no OSError; some say nothing.
    refused = {
        OSError("no network\nmore"): "no network",
        httpx2.ConnectError("refused"): "refused",
        TimeoutError(): "TimeoutError",
    }
    for error, first in {**refused, HFValidationError("bad name"): "bad name"}.items():

        def refuse(*arguments, error=error, **options):
            raise error

        monkeypatch.setattr(api, "create_repo", refuse)
        with pytest.raises(UserError, match=f"the hub refused the dataset me/one: {first}; log in"):
            list(hub.upload(folder / "hub", "me/one"))
