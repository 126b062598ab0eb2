"""The grid of an experiment: configuration, cells, parents and paths.

Imported by the Snakefile, so it needs the standard library only and does no work beyond arithmetic. Every cluster job
parses the Snakefile again.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

# Bump a stage's number when its results change. Comments and refactorings of the library rerun nothing; a changed
# algorithm reruns its stage and all that follows.
STAGE_VERSIONS = {
    "reference": 1,
    "encode": 1,
    "embed_reference": 2,
    "seed_images": 1,
    "mix": 1,
    "finetune": 1,
    "sample": 1,
    "score": 2,
    "metrics_table": 1,
    "figure_2": 1,
    "figure_3": 2,
}

# What each family calls the files of a retrained model, inside the cell's folder `model/`.
MODEL_FILES = {"diffusion": ("config.json", "diffusion_pytorch_model.safetensors")}

Config = Mapping[str, Any]


def canonical_ratio(ratio: float | str) -> str:
    """The only spelling of a ratio that paths use: ``0``, ``3.3``, ``25``."""
    return f"{float(ratio):g}"


def generated_count(ratio: float | str, slots: int) -> int:
    """How many of ``slots`` hold generated images at ``ratio`` percent, rounded half up (3.3 % of 900 is 30)."""
    return int(Fraction(canonical_ratio(ratio)) * slots / 100 + Fraction(1, 2))


@dataclass(frozen=True)
class Cell:
    """One (control, ratio, seed, iteration); iteration counts retrainings, so it is at least 1."""

    control: str
    ratio: str
    seed: int
    iteration: int

    @property
    def path(self) -> str:
        """Folder of the cell inside the experiment's results."""
        return f"{self.control}/ratio-{self.ratio}/seed-{self.seed}/iteration-{self.iteration}"


_CELL_PATH = re.compile(r"([^/]+)/ratio-([^/]+)/seed-(\d+)/iteration-(\d+)(?:/|$)")


def cell_in(path: str) -> Cell | None:
    """The cell that a path lies in; None outside the cells, such as in ``base/``."""
    found = _CELL_PATH.search(path)
    return Cell(found[1], found[2], int(found[3]), int(found[4])) if found else None


@dataclass(frozen=True)
class Arm:
    """A named condition: its control's type and the ratios it runs at."""

    name: str
    type: str
    ratios: tuple[str, ...]


class Grid:
    """What a configuration asks for. It must have passed `nepotism.config.check`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.experiment: str = config["experiment"]
        self.seeds: list[int] = list(config["seeds"])
        self.iterations: int = config["iterations"]
        self.arms = [
            Arm(arm["name"], arm["type"], tuple(canonical_ratio(ratio) for ratio in arm["ratios"]))
            for arm in config["arms"]
        ]

    @property
    def folder(self) -> str:
        """Where the results of the experiment are."""
        return f"results/{self.experiment}"

    def cells(self) -> list[Cell]:
        """Every cell, chain by chain: by arm, ratio and seed, then by iteration."""
        return [
            Cell(arm.name, ratio, seed, iteration)
            for arm in self.arms
            for ratio in arm.ratios
            for seed in self.seeds
            for iteration in range(1, self.iterations + 1)
        ]

    def parent(self, cell: Cell) -> Cell | None:
        """The cell whose model and samples ``cell`` starts from; None is the base model.

        Raises:
            ValueError: if the grid has no such cell, with what it does have.
        """
        arms = {arm.name: arm for arm in self.arms}
        if cell.control not in arms:
            raise ValueError(f"no arm is called '{cell.control}'; the config's `arms` has: {', '.join(arms)}")
        ratios = arms[cell.control].ratios
        if cell.ratio not in ratios:
            raise ValueError(f"arm '{cell.control}' has no ratio {cell.ratio}; its `ratios` are: {', '.join(ratios)}")
        if cell.seed not in self.seeds:
            raise ValueError(f"no seed {cell.seed}; the config's `seeds` are: {', '.join(map(str, self.seeds))}")
        if not 1 <= cell.iteration <= self.iterations:
            raise ValueError(f"no iteration {cell.iteration}; the config's `iterations` is {self.iterations}")
        if cell.iteration == 1:
            return None
        return Cell(cell.control, cell.ratio, cell.seed, cell.iteration - 1)

    def urgency(self, cell: Cell) -> int:
        """How many retrainings and samplings of its chain wait for ``cell``, one after the other.

        Scheduling the most urgent first keeps all cores busy to the end: a chain cannot be cut up, the rest fits in anywhere.
        At ratio 0 retraining needs no samples, so its chain is half as long.
        """
        return (1 if cell.ratio == "0" else 2) * (self.iterations - cell.iteration + 1)

    def generated_images(self, cell: Cell) -> str | None:
        """The image set that fills the generated slots of ``cell``'s training set; None at ratio 0."""
        parent = self.parent(cell)
        if cell.ratio == "0":
            return None
        if parent is None:
            return f"{self.folder}/base/seed-{cell.seed}/seed_images.parquet"
        return f"{self.folder}/{parent.path}/samples.parquet"

    def parent_model(self, cell: Cell) -> list[str]:
        """The model files that retraining ``cell`` starts from; none when it starts from the base model."""
        parent = self.parent(cell)
        if parent is None or self.config["finetune"]["start_from"] == "base":
            return []
        return self.model_files(parent)

    def model_files(self, cell: Cell) -> list[str]:
        """The files of ``cell``'s retrained model."""
        return [f"{self.folder}/{cell.path}/model/{name}" for name in MODEL_FILES[self.config["model"]["family"]]]

    def settings(self, stage: str) -> str:
        """The stage's version and its slice of the configuration, as command-line options in sorted order.

        This one string is what Snakemake tracks: what is not in it cannot rerun the stage.
        """
        return options({"stage_version": STAGE_VERSIONS[stage], **self._slice(stage)})

    def how(self, *names: str) -> str:
        """Options that change how a result is computed but not the result; Snakemake does not track them."""
        return options({name: self.config["how"][name] for name in names})

    def ratios_option(self) -> str:
        """All ratios of the grid, for the check of their size; a new ratio must not rerun the reference."""
        ratios = {ratio for arm in self.arms for ratio in arm.ratios}
        return options({"ratios": sorted(ratios, key=float)})

    def _slice(self, stage: str) -> dict[str, Any]:
        config = self.config
        model = {"base_model": config["model"]["path"]}
        sampling = {**model, **config["sample"], "resolution": config["model"]["resolution"]}
        match stage:
            case "reference":
                reference = config["reference"]
                source = reference["source"]
                return {
                    "source": source,
                    "images_per_group": reference["images_per_group"],
                    "scoring_split": reference["scoring_split"],
                    "resolution": config["model"]["resolution"],
                    **reference[source],
                }
            case "encode":
                return model
            case "seed_images":
                return {**sampling, **config["seed_images"]}
            case "finetune":
                return {**model, **{key: value for key, value in config["finetune"].items() if key != "start_from"}}
            case "sample":
                return sampling
            case "embed_reference":
                return {**config["score"]}
            case "score":
                return {**sampling, **config["unseen"], **config["score"]}
            case "figure_2":
                return {**config["figures"]}
            case "figure_3":
                return {"dpi": config["figures"]["dpi"], "clip": config["score"]["clip"]}
            case _:
                return {}


def options(values: Mapping[str, Any]) -> str:
    """Command-line options for ``values``, sorted by name and quoted for a POSIX shell.

    True and False become ``--name`` and ``--no-name``, a list becomes several values, None and empty lists are left out.
    """
    words: list[str] = []
    for name, value in sorted(values.items()):
        flag = "--" + name.replace("_", "-")
        if value is None or value == []:
            continue
        if isinstance(value, bool):
            words.append(flag if value else "--no-" + flag[2:])
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        else:
            words += [flag, repr(value) if isinstance(value, float) else str(value)]
    return shlex.join(words)
