"""What a regime says about itself, before anything heavy is imported. Standard library only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nepotism.chain.slots import Slots, Source


@dataclass(frozen=True)
class Regime:
    """What training sets are made of.

    Attributes:
        name: in the config's `arms`.
        summary: one sentence for people who choose.
        citation: where it comes from.
        plan: the sources of an iteration's training set, from slots, ratio, iteration and parameters: a pure function.
        accumulates: whether a training set holds rows of all earlier models, not of the last one only.
        takes_ratio: whether the ratio says how many generated rows there are; where not, it is 100.
        adds: whether generated rows come on top of all original ones, so that a ratio may exceed 100.
        generates: whether generated rows are trained on at all.
        needs_fresh: whether it takes real rows that no training set has held before.
        branches: whether it goes on from a finished cell of the arm `from`, after its iteration `after` and for `iterations`
            more, all among its parameters; the ratio is that cell's.
        extrapolates: what goes on from the model that was retrained, away from the retrained one, by its parameter `weight`:
            the weights, once, or the scores, at every step of sampling.
        listens: whether it also takes rows that another chain drew, which its parameters ``other`` and ``seed`` name.
        families: the kinds of models that it is for; empty for all.
        elsewhere: the parameters that ``plan`` does not look at: what they decide is no training set.
        parameters: JSON schema of each key of an arm's `parameters` that belongs to it: type, range, default, description.
        required: the keys without a default.
    """

    name: str
    summary: str
    citation: str
    plan: Callable[["Slots", str, int, Mapping[str, Any]], "list[Source]"]
    accumulates: bool = False
    takes_ratio: bool = True
    adds: bool = False
    generates: bool = True
    needs_fresh: bool = False
    branches: bool = False
    extrapolates: Literal["", "weights", "scores"] = ""
    listens: bool = False
    families: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def source_of(self, parameters: Mapping[str, Any]) -> str:
        """Where what it does comes from."""
        return self.citation

    def filled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters, with the defaults of those that are left out."""
        defaults = {key: declared["default"] for key, declared in self.parameters.items() if "default" in declared}
        return {**defaults, **given}
