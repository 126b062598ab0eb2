"""Arms: a regime, a control and overrides, under a name. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nepotism.chain.faces import Regime
from nepotism.chain.regimes import REGIMES
from nepotism.controls import CONTROLS
from nepotism.controls.faces import Control
from nepotism.experiment.cells import BASELINE_ARM
from nepotism.experiment.search import Search, certain_ratios, search_of


@dataclass(frozen=True)
class Arm:
    """A named condition: what training sets are made of, what happens to generated rows before, and settings it overrides.

    Attributes:
        name: the {control} of paths.
        regime: what training sets are made of.
        control: what happens to generated rows before they are mixed in.
        ratios: percentages of generated rows; of a regime that branches, those of the cells it goes on from;
            of one that searches, those that are run in any case.
        first: its first iteration: 1, or the one after its branching point.
        last: its last iteration.
        parameters: of regime and control.
        overrides: settings that differ from the config's, by block (`model`, `initial_images`, `sample`, `finetune`, or a family's).
        base: folder of its iteration 0, which it shares with all arms that begin in the same way.
        search: how it finds its other ratios; None where it has no others.
        model: what the names of files end in that are made once for each base model: nothing for the experiment's own.
    """

    name: str
    regime: Regime
    control: Control
    ratios: tuple[str, ...]
    first: int
    last: int
    parameters: Mapping[str, Any]
    overrides: Mapping[str, Mapping[str, Any]]
    base: str = "base"
    model: str = ""
    search: Search | None = None

    def takes(self, ratio: str) -> bool:
        """Whether it has a ratio, or may come to ask for it."""
        return ratio in self.ratios or (self.search is not None and self.search.may_ask(ratio))

    @property
    def is_controlled(self) -> bool:
        """Whether it has a control."""
        return self.control.name != "none"

    @property
    def curates(self) -> bool:
        """Whether generated rows are changed before they are mixed in."""
        return self.is_controlled and self.control.treats == "generated"

    @property
    def filters(self) -> bool:
        """Whether the mixture itself is changed."""
        return self.is_controlled and self.control.treats == "training_set"

    @property
    def borrows_features(self) -> bool:
        """Whether its images are culled by the autoencoder of another model than its own: of the experiment's, as those of all arms."""
        return bool(self.model) and self.parameters.get("features") == "vae"

    @property
    def needs_fresh(self) -> bool:
        """Whether it takes real rows that no training set has held before."""
        return self.regime.needs_fresh or self.control.needs_fresh(self.parameters)

    @property
    def is_plain(self) -> bool:
        """Whether it is a mixture as the papers make it, without a control: what other arms are compared with."""
        return self.regime.name == "replace" and not self.is_controlled

    @property
    def goes_on_from(self) -> str | None:
        """The arm from whose cell it branches; None if it begins at the base model."""
        # The configuration of results from before there was a choice names none.
        return str(self.parameters.get("from", BASELINE_ARM)) if self.regime.branches else None

    def is_of(self, kind: str) -> bool:
        """Whether ``kind`` is its control, in a regime that replaces, or its regime, without a control."""
        if self.is_controlled:
            return kind == self.control.name and self.regime.name == "replace"
        return kind == self.regime.name

    def of_regime(self) -> dict[str, Any]:
        """Its parameters that belong to the regime."""
        return {key: value for key, value in self.parameters.items() if key in self.regime.parameters}

    def of_control(self) -> dict[str, Any]:
        """Its parameters that belong to the control."""
        return {key: value for key, value in self.parameters.items() if key in self.control.parameters}


def arm_of(entry: Mapping[str, Any], iterations: int) -> Arm:
    """The arm that a checked entry of the config's `arms` describes, in chains of ``iterations`` iterations; the grid knows its
    base and its model."""
    parameters, regime = entry["parameters"], REGIMES[entry["regime"]]
    first, last = 1, entry.get("iterations", iterations)
    if regime.branches:
        first, last = parameters["after"] + 1, parameters["after"] + parameters["iterations"]
    return Arm(
        entry["name"], regime, CONTROLS[entry["control"]], tuple(certain_ratios(entry["ratios"])), first, last, parameters,
        entry.get("overrides", {}), search=search_of(entry["ratios"]),
    )  # fmt: skip
