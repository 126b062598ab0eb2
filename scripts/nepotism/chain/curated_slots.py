"""Which images a control treats: those that the cell's ratio mixes in, and no others."""

from collections.abc import Sequence
from pathlib import Path

from nepotism.chain.slots import generated_slots, group_sizes
from nepotism.data.images import ImageSet, Record, read_image_set
from nepotism.runtime.errors import UserError


def read_treated(generated: Path, real: Sequence[Record], ratio: str, seed: int) -> ImageSet:
    """The generated images that will be mixed in.

    Args:
        generated: image set with an image for every slot.
        real: records of the real images, one per slot.
        ratio: percent of generated images.
        seed: replicate seed.

    Raises:
        UserError: if the ratio mixes in none.
    """
    if float(ratio) == 0:
        raise UserError("`--ratio`: at ratio 0 no generated image is mixed in, so a control has nothing to treat")
    return read_image_set(generated, generated_slots(ratio, group_sizes(real), seed))
