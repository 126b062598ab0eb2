"""What a control says about itself, before anything heavy is imported. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Control:
    """What happens to generated rows before they are mixed in. A rule of the same name does it.

    Attributes:
        name: in the config's `arms`, and of its rule.
        summary: one sentence for people who choose.
        citation: where it comes from.
        families: the kinds of models whose rows it can treat; empty for all.
        parameters: JSON schema of each key of an arm's `parameters` that belongs to it: type, range, default, description.
    """

    name: str
    summary: str
    citation: str
    families: tuple[str, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
