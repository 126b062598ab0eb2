"""Disjoint splits by content: which image lands where depends on the pictures alone, never on file order."""

from collections.abc import Mapping, Sequence

# Fewer real images of a group cannot be measured against.
MINIMUM_SCORING = 4


def unique(digests: Sequence[str]) -> list[int]:
    """Indices of the first image of every distinct digest, in order."""
    first: dict[str, int] = {}
    for index, digest in enumerate(digests):
        first.setdefault(digest, index)
    return sorted(first.values())


def split_by_digest(digests: Sequence[str], sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """Deal distinct images to the named splits, in the order of their digests.

    Args:
        digests: content digest of every image; duplicates are dealt once.
        sizes: number of images per split, in the order in which the splits are filled.

    Returns:
        Indices per split. Later splits run short if there are too few images.
    """
    order = sorted(unique(digests), key=lambda index: digests[index])
    dealt, start = {}, 0
    for split, size in sizes.items():
        dealt[split] = order[start : start + size]
        start += size
    return dealt
