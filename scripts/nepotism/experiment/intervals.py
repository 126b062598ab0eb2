"""Which steps of sampling an interval of guidance takes. Standard library only."""

from collections.abc import Sequence


def guided(count: int, interval: Sequence[float]) -> list[bool]:
    """Of each of ``count`` calls of the network, whether its middle lies in the interval of shares of them all: 0 is noise, 1 the image."""
    begin, end = interval
    return [begin <= (call + 0.5) / count < end for call in range(count)]
