import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = ["Snakefile", "workflow_config.yaml", "rules", "scripts", "envs", "resources", "LICENSE"]

# Hypothesis and torch share two cores with everything else.
os.environ.setdefault("OMP_NUM_THREADS", "1")


class Project:
    """A copy of the project in which tests run Snakemake and may change anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def snakemake(self, *arguments: str, check: bool = True, timeout: float = 1500) -> subprocess.CompletedProcess:
        command = [str(Path(sys.executable).parent / "snakemake"), *arguments]
        result = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=timeout)
        if check and result.returncode:
            raise AssertionError(f"{' '.join(arguments)} failed:\n{result.stdout[-4000:]}\n{result.stderr[-6000:]}")
        return result

    def script(self, name: str, *arguments: str, folder: str = "scripts") -> subprocess.CompletedProcess:
        command = [sys.executable, f"{folder}/{name}.py", *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=600)

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Number of jobs per rule that a dry run plans; empty if nothing is to be done."""
        output = self.snakemake("--quiet", "host", "-n", *arguments).stdout
        if "Nothing to be done" in output:
            return {}
        lines = output.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
        counts = {line.split()[0]: int(line.split()[1]) for line in lines}
        return {rule: count for rule, count in counts.items() if rule not in ("all", "total")}


def copy_project(folder: Path) -> Project:
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "models"), dirs_exist_ok=True
            )
        else:
            shutil.copy(source, folder / name)
    return Project(folder)


def benchmark(name: str, *arguments: object) -> str:
    """Run a script of tests/benchmark and return what it printed."""
    command = [sys.executable, ROOT / "tests" / "benchmark" / name, *map(str, arguments)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stdout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The smoke experiment takes longest: one of two workers starts it at once, the other runs the quick tests."""
    items.sort(key=lambda item: item.path.name != "test_smoke.py")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of the project, without results."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project in which the smoke experiment has run. Tests leave its files as they are.

    SMOKE_FOLDER names a folder to make it in; several test runs, one after the other, then share it.
    """
    folder = Path(os.environ.get("SMOKE_FOLDER") or tmp_path_factory.mktemp("smoke"))
    folder.mkdir(parents=True, exist_ok=True)
    made = copy_project(folder)
    made.snakemake("--cores", "2", *SMOKE)
    return made


SMOKE = ("--configfile", "resources/experiments/smoke.yaml")
PRETRAINING = ("-s", "resources/pretrain/Snakefile")


@pytest.fixture(scope="session")
def tiny_diffusion() -> Path:
    return ROOT / "resources" / "tiny-diffusion"


@pytest.fixture(scope="session")
def tiny_flow() -> Path:
    return ROOT / "resources" / "tiny-flow"


@pytest.fixture(scope="session")
def tiny_clip() -> Path:
    return ROOT / "resources" / "tiny-clip"
