"""Every package is pinned, also what the requirements pull in, in a way that every supported Python can install."""

import re
import sys
from collections import Counter
from importlib.metadata import PathDistribution

import pin_packages
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pin_packages import (
    CONDA,
    CONSTRAINTS,
    ENVS,
    PYTHONS,
    TOOLS,
    applies,
    direct,
    installed,
    lines_of,
    needed,
    pinned,
    renewed,
)

REQUIREMENTS = sorted(path.name for path in ENVS.glob("*.txt") if path != CONSTRAINTS)
HERE = ".".join(map(str, sys.version_info[:3]))


def by_name(lines):
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in map(Requirement, lines)}


def test_constraints_are_sorted_lines_of_name_and_version():
    lines = CONSTRAINTS.read_text().splitlines()
    for line in lines:
        assert re.fullmatch(r'[a-z0-9]+(-[a-z0-9]+)*==[0-9][a-z0-9.]*( ; [a-z_]+ [<>=]+ "[0-9.]+")?', line), line
    assert lines == sorted(lines, key=lambda line: (line.split("==")[0], line))
    for python in PYTHONS:
        names = Counter(line.split("==")[0] for line in lines if applies(Requirement(line), python))
        assert set(names.values()) == {1}, names.most_common(3)


def test_all_that_is_installed_is_pinned():
    """Something new here is missing in envs/constraints.txt: CONTRIBUTING.md says how to renew it."""
    pins = pinned(HERE)
    found = {name: each.version for name, each in installed().items() if name not in TOOLS}
    assert {"numpy", "torch", "smmap"} <= found.keys()
    # 2.0+cpu is 2.0.
    wrong = {name: version for name, version in found.items() if version not in SpecifierSet(f"=={pins.get(name, 0)}")}
    assert not wrong


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_ask_for_the_constraints_and_agree_with_them(name):
    assert "-c constraints.txt" in lines_of(name)
    asked = direct(name)
    assert len(by_name(asked)) == len(asked)
    for python in PYTHONS:
        assert by_name(asked).items() <= pinned(python).items()


def test_pins_can_be_installed_with_every_supported_python():
    """A version that wants a newer Python would fail there, unless a marker leaves its line out."""
    for python in PYTHONS:
        pins = pinned(python)
        for name, each in installed().items():
            if pins.get(name) == each.version and each.metadata["Requires-Python"]:
                assert python in SpecifierSet(each.metadata["Requires-Python"]), f"{name} with Python {python}"


@pytest.mark.parametrize("python", PYTHONS)
def test_what_another_python_pulls_in_is_pinned_too(python):
    asked = [pin for name in REQUIREMENTS for pin in direct(name)]
    pulled_in = needed(asked, python)
    assert {"smmap", "nvidia-cublas", "pysocks"} <= pulled_in
    assert pulled_in <= pinned(python).keys()


@pytest.mark.parametrize("env", CONDA)
def test_conda_environments_are_in_step(env):
    text = (ENVS / f"{env}.yaml").read_text()
    own, _, _ = text.partition(pin_packages.PULLED_IN)
    assert re.findall(r"^ +- (\S+==\S+)$", own, re.MULTILINE) == direct(f"{env}.txt")
    assert f"- python={pin_packages.CONDA_PYTHON.removesuffix('.0')}\n" in own
    assert pin_packages.with_pulled_in(text, env) == text, "python scripts/pin_packages.py"


def test_renewing_keeps_markers_and_lines_of_other_pythons(monkeypatch):
    monkeypatch.setattr(pin_packages.platform, "python_version", lambda: "3.12.4")
    old = 'a==1\nb==1 ; python_version < "3.12"\nb==2 ; python_version >= "3.12"\ngone==1\n'
    assert renewed(old, {"c": "1+cpu", "b": "3", "a": "2", "a-b": "1"}) == (
        'a==2\na-b==1\nb==1 ; python_version < "3.12"\nb==3 ; python_version >= "3.12"\nc==1\n'
    )


def test_extras_and_markers_decide_what_is_needed(tmp_path, monkeypatch):
    def package(name, *requirements):
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        lines = [f"Name: {name}", "Version: 1", *(f"Requires-Dist: {each}" for each in requirements)]
        (folder / "METADATA").write_text("\n".join(lines))
        return PathDistribution(folder)

    here = {
        "a": package("a", "B_x[fast]", "old; python_version < '3.12'", "windows; sys_platform == 'win32'"),
        "b-x": package("b-x", "a", "quick; extra == 'fast'", "slow; extra == 'small'"),
    }
    monkeypatch.setattr(pin_packages, "installed", lambda: here)
    assert needed(["a==1"], "3.12.0") == {"a", "b-x", "quick"}
    assert needed(["a==1"], "3.11.0") == {"a", "b-x", "quick", "old"}
    assert needed(["b-x==1"], "3.12.0") == {"a", "b-x", "quick"}


def test_the_makefile_installs_anew_after_a_change_of_constraints():
    (rule,) = re.findall(r"^\.venv/%:(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {f"envs/{name}" for name in {*REQUIREMENTS, CONSTRAINTS.name} - {"dev.txt"}} <= set(rule.split())
