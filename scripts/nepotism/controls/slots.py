"""Which images a control treats: those that the cell's ratio mixes in, and no others."""

from collections.abc import Sequence
from pathlib import Path

from nepotism.images import ImageSet, Record, read_image_set
from nepotism.mix import generated_slots, group_sizes


def read_treated(generated: Path, real: Sequence[Record], ratio: str, seed: int) -> ImageSet:
    """The generated images that will be mixed in.

    Args:
        generated: image set with an image for every slot.
        real: records of the real images, one per slot.
        ratio: percent of generated images.
        seed: replicate seed.
    """
    return read_image_set(generated, generated_slots(ratio, group_sizes(real), seed))
