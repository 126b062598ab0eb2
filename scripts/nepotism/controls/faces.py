"""What a control says about itself, before anything heavy is imported. Standard library only."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Control:
    """What happens to generated rows before they are mixed in, or to the mixture. A rule of the same name does it.

    Attributes:
        name: in the config's `arms`, and of its rule.
        summary: one sentence for people who choose.
        citation: where it comes from.
        families: the kinds of models whose rows it can treat; empty for all.
        parameters: JSON schema of each key of an arm's `parameters` that belongs to it: type, range, default, description.
        treats: generated rows, before they are mixed in, or the whole training set.
        needs_fresh: whether, by its parameters, it takes real rows that no training set has held before.
        idle: the parameters that mean nothing, by the others.
        cited: where the rule comes from that its parameters choose; `citation`, where they choose none.
    """

    name: str
    summary: str
    citation: str
    families: tuple[str, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    treats: Literal["generated", "training_set"] = "generated"
    needs_fresh: Callable[[Mapping[str, Any]], bool] = lambda parameters: False
    idle: Callable[[Mapping[str, Any]], Collection[str]] = lambda parameters: ()
    cited: Callable[[Mapping[str, Any]], str] = lambda parameters: ""

    def filled(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters with the defaults of those that are left out."""
        return {key: schema["default"] for key, schema in self.parameters.items() if "default" in schema} | dict(
            parameters
        )

    def source_of(self, parameters: Mapping[str, Any]) -> str:
        """Where what it does comes from."""
        return self.cited(parameters) or self.citation
