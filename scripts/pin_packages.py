"""Write what is installed here into envs/constraints.txt, and what direct pins pull in into the conda environments.

`make pins` runs it in a new environment.
"""

import argparse
import platform
import sysconfig
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from nepotism.runtime import cli
from nepotism.runtime.files import write_text
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ENVS = Path(__file__).resolve().parents[1] / "envs"
CONSTRAINTS = ENVS / "constraints.txt"
# The oldest of every Python that the project runs with.
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")
# Snakemake copies a conda environment's file elsewhere before it is read, so that it cannot refer to another file.
CONDA = ("light", "torch", "faces")
CONDA_PYTHON = "3.12.0"
PULLED_IN = "      # What these pull in, written by scripts/pin_packages.py.\n"
# What environments are made with; no requirement asks for them.
TOOLS = {"pip", "wheel"}


def main() -> None:
    cli.run(run, cli.parser(__doc__).parse_args())


def run(arguments: argparse.Namespace) -> None:
    versions = {name: each.version for name, each in installed().items() if name not in TOOLS}
    write_text(CONSTRAINTS, renewed(CONSTRAINTS.read_text(encoding="utf-8"), versions))
    for env in CONDA:
        path = ENVS / f"{env}.yaml"
        write_text(path, with_pulled_in(path.read_text(encoding="utf-8"), env))


def installed() -> dict[str, Distribution]:
    """What is in the environment's own folders, by canonical name.

    Not `sys.path`: setuptools puts a folder of its own copies of packages there once something imports it.
    """
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return {canonicalize_name(each.metadata["Name"]): each for each in distributions(path=sorted(folders))}


def lines_of(name: str) -> list[str]:
    """Lines of a requirements file, with those of the files that it includes in their places; each once."""
    found: list[str] = []
    for line in (ENVS / name).read_text(encoding="utf-8").splitlines():
        found += lines_of(line.removeprefix("-r ")) if line.startswith("-r ") else [line]
    return list(dict.fromkeys(found))


def direct(name: str) -> list[str]:
    """The pins of a requirements file and of those that it includes."""
    return [line for line in lines_of(name) if "==" in line and not line.startswith("#")]


def pinned(python: str) -> dict[str, str]:
    """Versions by canonical name that the constraints ask for, with a version of Python on Linux."""
    requirements = [Requirement(line) for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines()]
    return {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in requirements
        if applies(each, python)
    }


def needed(requirements: Iterable[str], python: str) -> set[str]:
    """Canonical names of requirements and of all that they pull in, with a version of Python on Linux.

    A package that is not installed here is among them, but nobody knows here what it pulls in.
    """
    here = installed()
    left = [Requirement(line) for line in requirements]
    seen: set[tuple[str, str]] = set()
    while left:
        asked = left.pop()
        name = canonicalize_name(asked.name)
        theirs = (here[name].requires or []) if name in here else []
        for extra in ("", *asked.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            left += [each for each in map(Requirement, theirs) if applies(each, python, extra)]
    return {name for name, _ in seen}


def renewed(text: str, versions: Mapping[str, str]) -> str:
    """The constraints' text with these versions, sorted.

    A marker stays with its package, and a line whose marker does not hold here is another Python's and stays as it is.

    Args:
        text: of the constraints so far.
        versions: by canonical name, of all that is to be pinned.
    """
    markers: dict[str, str] = {}
    lines: list[str] = []
    for line in text.splitlines():
        old = Requirement(line)
        if not applies(old, platform.python_version()):
            lines.append(line)
        elif old.marker is not None:
            markers[canonicalize_name(old.name)] = f" ; {old.marker}"
    # A build for one kind of processor or GPU, such as 2.0+cpu, is not to be asked of others.
    lines += [f"{name}=={Version(version).public}{markers.get(name, '')}" for name, version in versions.items()]
    return "".join(f"{line}\n" for line in sorted(lines, key=lambda line: (line.partition("==")[0], line)))


def with_pulled_in(text: str, env: str) -> str:
    """A conda environment's text that ends with pins of what its direct pins pull in.

    Args:
        text: of the file.
        env: its name, which is that of a requirements file.
    """
    versions = pinned(CONDA_PYTHON)
    asked = direct(f"{env}.txt")
    others = needed(asked, CONDA_PYTHON) - {canonicalize_name(Requirement(line).name) for line in asked}
    return (
        text.partition(PULLED_IN)[0]
        + PULLED_IN
        + "".join(f"      - {each}=={versions[each]}\n" for each in sorted(others))
    )


def applies(requirement: Requirement, python: str, extra: str = "") -> bool:
    """Whether a requirement's marker holds on Linux with a version of Python, if it has one.

    Args:
        requirement: a constraint, or what a package asks for.
        python: all three numbers.
        extra: of the package that asks.
    """
    if requirement.marker is None:
        return True
    version = {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python}
    system = {"sys_platform": "linux", "platform_system": "Linux"}
    return requirement.marker.evaluate({**version, **system, "extra": extra})


if __name__ == "__main__":
    main()
