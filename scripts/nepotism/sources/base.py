"""The interface of a source of real images."""

from dataclasses import dataclass

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
        fresh: reserved for single training sets, as many per group as the reference has.
    """

    reference: Split
    scoring: Split
    fresh: tuple[Split, ...] = ()
