"""The interface of a source of real images."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nepotism.data.images import Pixels

# Groups in the order in which they are shown; each holds its images in slot order.
Split = dict[str, list["RealImage"]]


@dataclass(frozen=True)
class RealImage:
    """One real image: uint8 (H, W, 3) pixels, its caption, and a name that finds it again in its source."""

    pixels: Pixels
    prompt: str
    name: str


@dataclass(frozen=True)
class RealImages:
    """The splits of an experiment, all disjoint.

    Attributes:
        reference: to mix in.
        scoring: to measure against.
        fresh: the reserved sets by their names, each with as many images per group as the reference has.
    """

    reference: Split
    scoring: Split
    fresh: Mapping[str, Split] = field(default_factory=dict)
