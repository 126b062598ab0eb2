"""The grid of an experiment: its cells, their parents and paths.

Imported by the Snakefile, so it needs the standard library only and does no work beyond arithmetic. Every cluster job
parses the Snakefile again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nepotism.chain.regimes import REGIMES
from nepotism.experiment.cells import BASELINE_ARM, Cell, draw_count
from nepotism.plan.arms import Arm, arm_of
from nepotism.plan.bases import block, model_source, with_bases
from nepotism.plan.knobs import at_iteration
from nepotism.plan.populations import feeding
from nepotism.weights.locations import location

DIFFUSION = "diffusion"
# The files of a retrained model, inside the cell's folder `model/`: diffusion's, and one of all generations of a chunk.
MODEL_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
CHUNK_FILES = ("generations.safetensors",)

Config = Mapping[str, Any]


class Grid:
    """What a configuration asks for: what `nepotism.plan.config.checked` returns."""

    def __init__(self, config: Config) -> None:
        self.config, self.experiment = config, str(config["experiment"])
        self.seeds: list[int] = list(config["seeds"])
        self.iterations: int = config["iterations"]
        self.family: str = config["model"]["family"]
        self.arms = list(with_bases(config, (arm_of(entry, self.iterations) for entry in config["arms"])))
        # Sources of the base models, by what the names of their files end in: nothing for the experiment's own, which is the first.
        self.models: dict[str, str] = {"": config["model"]["path"]}
        for arm in self.arms:
            self.models.setdefault(arm.model, model_source(config, arm.overrides))
        self._arms = {arm.name: arm for arm in self.arms}
        self._branches = {name: [arm for arm in self.arms if arm.goes_on_from == name] for name in self._arms}
        # Ratios that searches have asked for so far, by arm: by who knows the results.
        self.found: dict[str, tuple[str, ...]] = {}
        # Generations that one job makes: other families than diffusion make many.
        self.chunk: int = 1 if self.family == DIFFUSION else config[self.family]["chunk"]

    @property
    def folder(self) -> str:
        """Where the results of the experiment are."""
        return f"results/{self.experiment}"

    @property
    def bases(self) -> list[str]:
        """Folders of iteration 0: the plain one, and those of arms that begin in another way."""
        return list(dict.fromkeys(["base", *(arm.base for arm in self.arms)]))

    def block(self, name: str, arm: Arm | None) -> Config:
        """One of the config's blocks, as an arm has it."""
        return block(self.config, name, arm.overrides if arm else {})

    def sampling(self, arm: Arm | None, iteration: int) -> Config:
        """The config's `sample` as an arm has it at an iteration, with one scale of guidance; without an arm, as the plain
        mixture has it: the base model is drawn once more as the cells that it is compared with."""
        chain = arm or self._arms.get(BASELINE_ARM)
        return at_iteration(self.block("sample", arm), iteration, chain.last if chain else self.iterations)

    def family_block(self, arm: Arm | None) -> Config:
        """The settings of the experiment's family, as an arm has them."""
        return self.block(self.family, arm)

    def cells(self) -> list[Cell]:
        """Every cell, chain by chain: by arm, ratio and seed, then by iteration; of searches, what they have asked for so far."""
        return [cell for arm in self.arms for ratio in self.ratios_of(arm) for cell in self.chains(arm, ratio)]

    def certain_cells(self) -> list[Cell]:
        """The cells that are run whatever searches find."""
        return [cell for arm in self.arms for ratio in arm.ratios for cell in self.chains(arm, ratio)]

    def chains(self, arm: Arm, ratio: str) -> list[Cell]:
        """The cells of an arm at one ratio, seed by seed."""
        return [Cell(arm.name, ratio, seed, iteration) for seed in self.seeds for iteration in self.iterations_of(arm)]

    def ratios_of(self, arm: Arm) -> list[str]:
        """The ratios of an arm; of one that searches, its ends and those that it has asked for so far, in order."""
        found = self.found.get(arm.name)
        return sorted({*arm.ratios, *found}, key=float) if found else list(arm.ratios)

    def searching(self) -> list[Arm]:
        """The arms that search for a ratio."""
        return [arm for arm in self.arms if arm.search]

    def redrawn(self) -> list[int]:
        """Iterations that claims compare with the base model: it is sampled with their noise, too, so that they are paired.

        Its own images are of the first one's noise.
        """
        baseline = self._arms.get(BASELINE_ARM)
        if self.family != DIFFUSION or baseline is None:
            return []
        judged = [self.judged_arm(regime.name) for regime in REGIMES.values() if regime.branches]
        ends = {end for branch in judged if branch for end in (branch.first - 1, branch.last)}
        return sorted(({baseline.last} | ends) - {1})

    def iterations_of(self, arm: Arm) -> list[int]:
        """The iterations that have a cell: all, or the last of every chunk."""
        return [*range(arm.first + self.chunk - 1, arm.last, self.chunk), arm.last]

    def first_iteration(self, cell: Cell) -> int:
        """The first generation that the cell's job makes; the cell is called after the last."""
        parent = self.parent(cell)
        return parent.iteration + 1 if parent and parent.control == cell.control else self.arm(cell.control).first

    @property
    def base_model(self) -> str:
        """Folder of the pipeline of the experiment's own base model."""
        return self.base_model_of(None)

    def base_model_of(self, arm: Arm | None) -> str:
        """Folder of the pipeline of an arm's base model; without an arm, of the experiment's own."""
        return str(location(self.models[arm.model if arm else ""]))

    def arm_of_model(self, model: str) -> Arm | None:
        """The first of the arms of a base model, by its name in paths, that begin with it; None for the experiment's own.

        Raises:
            ValueError: if no arm has a base model of that name.
        """
        if model not in self.models:
            named = ", ".join(filter(None, self.models)) or "none"
            raise ValueError(f"no arm has a base model whose files end in '{model}'; such endings are: {named}")
        return next(arm for arm in self.arms if arm.model == model and arm.first == 1) if model else None

    def shards(self) -> int:
        """How many jobs classify faces; 0 where nothing needs to be classified."""
        reference = self.config["reference"]
        ffhq = reference["ffhq"]
        if reference["source"] != "ffhq" or ffhq["labels"] != "deepface":
            return 0
        return -(-int(ffhq["images"]) // int(ffhq["shard_size"]))

    def last_cells(self, cells: Sequence[Cell] | None = None) -> list[Cell]:
        """The cells, of those given or of all, whose models nothing is retrained from: the end of every chain."""
        cells = self.cells() if cells is None else cells
        parents = {self.parent(cell) for cell in cells}
        return [cell for cell in cells if cell not in parents]

    def treated_by(self, control: str) -> list[Arm]:
        """The arms of a control, whatever their regime."""
        return [arm for arm in self.arms if arm.control.name == control]

    def judged_arm(self, kind: str) -> Arm | None:
        """The arm of a control that claims are about, in the regime that replaces; or that of a regime, without a control.

        It is the first without overrides, for it is compared with plain mixtures, from which it goes on if it branches, and on
        all rows, for claims are about the whole dose.
        """
        plain = (arm for arm in self.arms if not arm.overrides and arm.goes_on_from in (None, BASELINE_ARM))
        whole = (arm for arm in plain if arm.parameters.get("share", 100) == 100)
        return next((arm for arm in whole if arm.is_of(kind)), None)

    def shown_arm(self) -> Arm:
        """The arm of figure 2: the plain mixture, or else the first that begins at iteration 1."""
        return self._arms.get(BASELINE_ARM) or next(arm for arm in self.arms if arm.first == 1)

    def arm(self, name: str) -> Arm:
        """The arm of that name.

        Raises:
            ValueError: if there is none, with those there are.
        """
        if name not in self._arms:
            raise ValueError(f"no arm is called '{name}'; the config's `arms` has: {', '.join(self._arms)}")
        return self._arms[name]

    def arm_of_base(self, base: str) -> Arm | None:
        """The first of the arms that share an iteration 0; None for the plain one.

        Raises:
            ValueError: if no arm has an iteration 0 of that name.
        """
        if base not in self.bases:
            raise ValueError(f"no arm has an iteration 0 called '{base}'; there are: {', '.join(self.bases)}")
        return None if base == "base" else next(arm for arm in self.arms if arm.base == base)

    def parent(self, cell: Cell) -> Cell | None:
        """The cell whose model and samples ``cell`` starts from; None is the base model.

        Raises:
            ValueError: if the grid has no such cell, with what it does have.
        """
        arm = self.arm(cell.control)
        if not arm.takes(cell.ratio):
            named = ", ".join(arm.ratios) + (", and what halving between them asks for" if arm.search else "")
            raise ValueError(f"arm '{cell.control}' has no ratio {cell.ratio}; its `ratios` are: {named}")
        if cell.seed not in self.seeds:
            raise ValueError(f"no seed {cell.seed}; the config's `seeds` are: {', '.join(map(str, self.seeds))}")
        if not arm.first <= cell.iteration <= arm.last:
            raise ValueError(
                f"no iteration {cell.iteration}; those of arm '{cell.control}' are {arm.first} to {arm.last}"
            )
        iterations = self.iterations_of(arm)
        if cell.iteration not in iterations:
            holder = next(last for last in iterations if last > cell.iteration)
            raise ValueError(
                f"iteration {cell.iteration} has no file of its own: `{self.family}.chunk` is {self.chunk}, and it is a row of "
                f"iteration-{holder}/metrics.json"
            )
        position = iterations.index(cell.iteration)
        if position:
            return Cell(cell.control, cell.ratio, cell.seed, iterations[position - 1])
        if arm.goes_on_from is None:
            return None
        # Of a chunk, the cell is called after the last generation.
        held = next(last for last in self.iterations_of(self.arm(arm.goes_on_from)) if last >= arm.first - 1)
        return Cell(arm.goes_on_from, cell.ratio, cell.seed, held)

    def trains_on_generated(self, cell: Cell) -> bool:
        """Whether the cell's training set holds generated rows. Of a cell that branches, the ratio is that of its branch."""
        regime = self.arm(cell.control).regime
        return regime.generates and (regime.branches or cell.ratio != "0")

    def urgency(self, cell: Cell) -> int:
        """How many retrainings, samplings and controls of its chain wait for ``cell``, one after the other.

        Scheduling the most urgent first keeps all cores busy to the end: a chain cannot be cut up, the rest fits in anywhere.
        """
        arm, step = self.arm(cell.control), self._step(cell)
        # A chunk is called after its last generation.
        begun = self.first_iteration(cell) if self.chunk > 1 else cell.iteration
        waiting = step * (arm.last - begun + 1)
        for branch in self._branches[arm.name]:
            if cell.ratio in branch.ratios and cell.iteration < branch.first:
                own = step * (branch.first - begun)
                waiting = max(waiting, own + self.urgency(Cell(branch.name, cell.ratio, cell.seed, branch.first)))
        return waiting

    def _step(self, cell: Cell) -> int:
        """How many jobs of an iteration wait for each other: on real images only, one; a detector that is trained anew has two more."""
        if not self.trains_on_generated(cell):
            return 1
        arm = self.arm(cell.control)
        return 5 if arm.parameters.get("retrained") else 2 + arm.is_controlled

    def generated_images(self, cell: Cell) -> str | None:
        """The image set that the last model drew for ``cell``'s training set; None where it has real images only."""
        drawn = self._last_drawn(cell)
        return drawn if self.trains_on_generated(cell) else None

    def _last_drawn(self, cell: Cell) -> str:
        """The image set that the model before ``cell`` drew."""
        parent = self.parent(cell)
        if parent is None:
            return f"{self.folder}/{self.arm(cell.control).base}/seed-{cell.seed}/initial_images.parquet"
        return f"{self.folder}/{parent.path}/samples.parquet"

    def curated_images(self, cell: Cell) -> str | None:
        """The same images after the cell's control; None where the control leaves them as they are."""
        if self.generated_images(cell) is None or not self.arm(cell.control).curates:
            return None
        return f"{self.folder}/{cell.path}/curated.parquet"

    def mixed_images(self, cell: Cell) -> list[str]:
        """All image sets that generated rows of ``cell``'s training set come from."""
        fed = self.fed_images(cell)
        return [*self.drawn_images(cell), *self.further_draws(cell), *([fed] if fed else [])]

    def other(self, cell: Cell) -> Cell | None:
        """The cell at the same iteration of the chain that feeds ``cell``'s; None where its arm listens to no other."""
        # Told if there is no such cell.
        self.parent(cell)
        return feeding(self.arm(cell.control), cell, self.seeds)

    def fed_images(self, cell: Cell) -> str | None:
        """The image set of another chain that ``cell``'s training set takes from; None where it takes none."""
        other = self.other(cell) if self.trains_on_generated(cell) else None
        return self._last_drawn(other) if other and self.arm(cell.control).parameters["share"] else None

    def further_draws(self, cell: Cell) -> list[str]:
        """The image sets of the last model's further draws, from the second on, that a ratio above 100 takes."""
        first = self.generated_images(cell)
        if first is None:
            return []
        path, dot, suffix = first.rpartition(".")
        return [f"{path}-{draw}{dot}{suffix}" for draw in range(1, draw_count(cell.ratio))]

    def drawn_images(self, cell: Cell) -> list[str]:
        """The image sets of the chain's models, after the control: the last model's, or, where its regime accumulates, those
        of all models so far, in order."""
        cells = [cell]
        while self.arm(cell.control).regime.accumulates and (parent := self.parent(cells[0])):
            cells.insert(0, parent)
        return [file for each in cells if (file := self.curated_images(each) or self.generated_images(each))]

    def training_set(self, cell: Cell) -> str:
        """The manifest that ``cell``'s model is trained on: the mixture, or what its control leaves of it."""
        filtered = self.arm(cell.control).filters and self.trains_on_generated(cell)
        return f"{self.folder}/{cell.path}/{'filtered' if filtered else 'mix'}.parquet"

    def detectors(self) -> list[Arm]:
        """The arms that filter or select by a detector, which has to be trained."""
        return [arm for arm in self.arms if "detector" in (arm.parameters.get("source"), arm.parameters.get("score"))]

    def detector(self, cell: Cell) -> str | None:
        """The detector by which ``cell``'s training set is filtered or selected; None where there is none."""
        arm = self.arm(cell.control)
        if arm not in self.detectors():
            return None
        trained = cell.path if arm.parameters.get("retrained") else f"{arm.base}/seed-{cell.seed}"
        return f"{self.folder}/{trained}/detector.json"

    def fresh_sets(self) -> list[str]:
        """The sets of real images that are reserved, in the order in which they are taken: the detectors', and one for the
        training sets of each iteration. More iterations leave those before as they are."""
        last = max((arm.last for arm in self.arms if arm.needs_fresh), default=0)
        return ["detector"] * bool(self.detectors()) + [f"{iteration}" for iteration in range(1, last + 1)]

    def fresh_images(self, cell: Cell) -> str | None:
        """The real images that are reserved for ``cell``'s training set; None where its arm needs none."""
        if not self.arm(cell.control).needs_fresh:
            return None
        return f"{self.folder}/reference/fresh/iteration-{cell.iteration}.parquet"

    def parent_model(self, cell: Cell) -> list[str]:
        """The model files that retraining ``cell`` starts from; none when it starts from the base model."""
        finetune = self.block("finetune", self.arm(cell.control))
        return [] if finetune["start_from"] == "base" else self.sampled_model(cell)

    def sampled_model(self, cell: Cell) -> list[str]:
        """The model files that ``cell``'s generated images were drawn from; none for the base model."""
        parent = self.parent(cell)
        return self.model_files(parent) if parent else []

    def extrapolated_model(self, cell: Cell) -> list[str]:
        """The model files that draw ``cell``'s images together with its own model; none where that draws alone."""
        return self.sampled_model(cell) if self.arm(cell.control).regime.extrapolates == "scores" else []

    def model_files(self, cell: Cell) -> list[str]:
        """The files of ``cell``'s retrained model."""
        names = MODEL_FILES if self.family == DIFFUSION else CHUNK_FILES
        return [f"{self.folder}/{cell.path}/model/{name}" for name in names]

    def earlier_chunks(self, cell: Cell) -> list[str]:
        """Folders of generation 0 and of the chunks before ``cell``'s that it needs: the last, or all if its arm accumulates."""
        arm = self.arm(cell.control)
        chain: list[str] = []
        parent = self.parent(cell)
        while parent:
            chain.insert(0, f"{self.folder}/{parent.path}")
            parent = self.parent(parent)
        before = chain if arm.regime.accumulates else chain[-1:]
        return [f"{self.folder}/{arm.base}/seed-{cell.seed}", *before]
