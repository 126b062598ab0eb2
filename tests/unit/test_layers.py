"""Which package of the library may import which: downwards only, and never in a circle."""

import ast
import graphlib

import pytest
from conftest import ROOT

LIBRARY = ROOT / "scripts" / "nepotism"
PRETRAINING = ROOT / "resources" / "pretrain"

# From the bottom to the top; packages of one layer do not import each other.
LAYERS = (
    {"experiment"},
    {"runtime"},
    {"data"},
    {"weights"},
    {"sources", "measure", "judge"},
    {"draw", "chain"},
    {"controls", "page"},
    {"families"},
    {"plan"},
    {"share"},
)
LEVEL = {package: level for level, layer in enumerate(LAYERS) for package in layer}


def module_name(path):
    return ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(LIBRARY.rglob("*.py"))}


def imported(path):
    """The modules of the library that one imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nepotism":
            names = [f"{node.module}.{each.name}" for each in node.names]
            found |= {name if name in MODULES else node.module for name in names}
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names if each.name.split(".")[0] == "nepotism"}
    return found


GRAPH = {name: imported(path) for name, path in MODULES.items()}


def package(module):
    return module.split(".")[1]


def test_every_module_belongs_to_a_layer():
    assert {package(name) for name in MODULES if "." in name} == set(LEVEL)


def test_no_module_imports_upwards():
    upwards = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if package(name) != package(other) and LEVEL[package(name)] <= LEVEL[package(other)]
    ]
    assert not upwards


def test_no_import_goes_in_a_circle():
    graphlib.TopologicalSorter(GRAPH).prepare()


def test_nothing_imports_pretraining_but_its_own_scripts():
    names = {path.stem for path in PRETRAINING.iterdir()}
    assert {"pretraining", "promote"} < names
    for path in (ROOT / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not names & {name.split(".")[0] for name in found}, path


@pytest.mark.parametrize(
    "path", [*(ROOT / "scripts").rglob("*.py"), *PRETRAINING.rglob("*.py")], ids=lambda path: path.name
)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 350
