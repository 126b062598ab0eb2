"""Images are built from the pins, by a Python that is supported; the catalogue is told what is true."""

import getpass
import re

import pytest
import yaml
from conftest import ROOT
from pin_packages import CONDA_PYTHON, CONSTRAINTS, lines_of

ENVS = ROOT / "envs"
DOCKER, APPTAINER = (ENVS / "Dockerfile").read_text(), (ENVS / "apptainer.def").read_text()
INSTALLED = ("torch.txt", "faces.txt")


def included(name):
    """A requirements file and what it includes, by names."""
    text = (ENVS / name).read_text()
    inner = re.findall(r"^-[rc] (\S+)$", text, re.MULTILINE)
    return {name}.union(*(included(each) for each in inner))


@pytest.mark.parametrize("definition", [DOCKER, APPTAINER], ids=["Dockerfile", "apptainer.def"])
def test_an_image_is_installed_from_the_pins_and_nothing_else(definition):
    (command,) = re.findall(r"pip install((?:.*\\\n)*.*)", definition)
    assert re.findall(r"-r /opt/nepotism/envs/(\S+)", command) == list(INSTALLED)
    words = set(command.replace("\\\n", " ").split())
    assert {word for word in words if word.startswith("-")} == {"--no-cache-dir", "--disable-pip-version-check", "-r"}
    needed = set().union(*(included(name) for name in INSTALLED))
    assert CONSTRAINTS.name in needed
    assert set(re.findall(r"(?<!nepotism/)envs/(\w+\.txt)", definition)) == needed
    # No package index, proxy or registry of anybody's.
    assert not re.search(r"https?://|index-url|@sha256", definition)


def test_both_images_have_the_python_of_the_conda_environments():
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKER, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)$", DOCKER, re.MULTILINE) == ["${BASE}"]
    assert re.findall(r"^From: (\S+)$", APPTAINER, re.MULTILINE) == [base]
    assert base.split(":")[1].split("-")[0] == ".".join(CONDA_PYTHON.split(".")[:2])


def test_a_user_that_the_image_does_not_know_has_a_name(monkeypatch):
    """Without one, Snakemake ends as soon as it begins to run something."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    (given,) = re.findall(r"^ENV (.*)$", DOCKER, re.MULTILINE)
    for name, value in (each.split("=") for each in given.split()):
        monkeypatch.setenv(name, value)
    assert getpass.getuser() == "nepotism"


def test_an_image_has_what_every_rule_imports():
    """Rules name conda environments of the same pins."""
    rules = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    used = {name.removesuffix(".yaml") for name in re.findall(r'"\.\./envs/(\S+)"', rules)}
    held = {line for name in INSTALLED for line in lines_of(name)}
    assert used == {"light", "torch", "faces"}
    assert all(set(lines_of(f"{name}.txt")) <= held for name in used)


def test_the_catalogue_is_told_of_what_is_there():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"] == {
        "conda": True,
        "apptainer": False,
        "apptainer+conda": False,
        "report": True,
    }
    assert (ROOT / "Snakefile").is_file()
    assert list((ROOT / "rules").glob("*.smk"))
    assert {"snakemake", "workflow"} <= set(re.findall(r"\w+?(?=_|\b)", (ROOT / "README.md").read_text().lower()))
