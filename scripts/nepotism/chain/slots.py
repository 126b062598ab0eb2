"""The slots of a training set: which of them generated rows take, at any ratio, and where each row comes from."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nepotism.data.images import ImageSet, Record, read_image_set
from nepotism.experiment.cells import canonical_ratio, generated_count
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError

Indices = NDArray[np.int64]
# real: of the reference; fresh: real rows that no training set has held before; generated: by a model of the chain; other: by
# one of another chain.
Origin = Literal["real", "fresh", "generated", "other"]


@dataclass(frozen=True)
class Source:
    """Where some rows of a training set come from.

    Attributes:
        origin: see `Origin`.
        iteration: of the model that drew them, or of the training set that fresh rows are reserved for; 0 of the reference.
        slots: which of its rows.
        draw: which of the rows that the model drew for each slot; 0 is the first, which all models draw.
    """

    origin: Origin
    iteration: int
    slots: Indices
    draw: int = 0


class Slots:
    """The slots of a cell's training sets: what a regime chooses from.

    Args:
        groups: number of slots per group, in the order of the reference; rows without groups are one group without a name.
        seed: replicate seed.
    """

    def __init__(self, groups: Mapping[str, int], seed: int) -> None:
        self.groups, self._seed = dict(groups), seed
        self.everything: Indices = np.arange(sum(self.groups.values()))

    def __len__(self) -> int:
        return len(self.everything)

    def real(self, slots: Indices | None = None) -> Source:
        """Rows of the reference; all without ``slots``."""
        return Source("real", 0, self.everything if slots is None else slots)

    def fresh(self, iteration: int, slots: Indices) -> Source:
        """Rows that are reserved for the training set of an iteration."""
        return Source("fresh", iteration, slots)

    def generated(self, iteration: int, slots: Indices | None = None, draw: int = 0) -> Source:
        """Rows that the model of an iteration drew, the first of each slot or another ``draw``; all without ``slots``."""
        return Source("generated", iteration, self.everything if slots is None else slots, draw)

    def other(self, iteration: int, slots: Indices) -> Source:
        """Rows that the model of an iteration of another chain drew."""
        return Source("other", iteration, slots)

    def split(self, ratio: str, *redrawn: int, key: str = "arms.ratios") -> tuple[Indices, Indices]:
        """The slots of generated rows at a ratio, and the others: a pure function of groups, ratio, seed and ``redrawn``.

        ``key`` is that of the config that the ratio comes from, for the error.

        Raises:
            UserError: if a ratio above 0 gives no row at all, or one below 100 all of them.
        """
        count = generated_count(ratio, len(self))
        if count == 0 and float(ratio) > 0:
            raise UserError(
                f"`{key}`: {ratio} % of {len(self)} slots is no row at all; raise the ratio or the number of rows "
                "(of images, `reference.images_per_group`)"
            )
        if count == len(self) and float(ratio) < 100:
            raise UserError(f"`{key}`: {ratio} % of {len(self)} slots is all of them; choose 100, or more rows")
        taken = self._order(*redrawn)
        return np.sort(taken[:count]), np.sort(taken[count:])

    def shared(self, ratio: str, share: float) -> tuple[Indices, Indices]:
        """The generated slots at a ratio, shared with another chain: its own, and the other's ``share`` percent of them.

        The other's are the first of the order that `split` follows, so that they are balanced over the groups, and nested: those
        at a lower share, or a lower ratio, are among those at a higher one.

        Raises:
            UserError: as `split`; or if a share above 0 gives no slot at all, or one below 100 all of them.
        """
        generated, _ = self.split(ratio)
        count = generated_count(share, len(generated))
        told = f"`arms.parameters.share`: {share:g} % of {len(generated)} generated slots"
        if len(generated) and share > 0 and count == 0:
            raise UserError(f"{told} is none at all; raise it, the ratio, or the number of images")
        if len(generated) and share < 100 and count == len(generated):
            raise UserError(f"{told} is all of them; choose 100, a higher ratio, or more images")
        fed = np.sort(self._order()[:count])
        return np.setdiff1d(generated, fed), fed

    def draws(self, ratio: str) -> list[Indices]:
        """The slots of every draw at a ratio that may exceed 100: all slots of draws 0 and 1 at 250 %, and of draw 2 those
        that `split` takes at 50 %. They are nested: what a ratio takes is among what a higher one does.

        Raises:
            UserError: as `split`, of the part of the ratio that is beyond whole draws.
        """
        whole, rest = divmod(Fraction(canonical_ratio(ratio)), 100)
        taken = [self.everything] * whole
        if not rest:
            return taken
        try:
            return [*taken, self.split(canonical_ratio(float(rest)))[0]]
        except UserError as error:
            raise UserError(
                f"{error}; it is what {ratio} % takes beyond whole draws" if whole else str(error)
            ) from None

    def _order(self, *redrawn: int) -> Indices:
        """All slots in the order in which generated rows take them over.

        Every prefix is balanced over the groups, so that ratios are nested: the generated slots at 3.3 % are among those at
        10 %. For equal groups a prefix is what the largest remainder gives each group; for unequal ones it is Webster's
        divisor method, which unlike the largest remainder never takes a slot back when the ratio rises. Within a group, and
        between groups of equal claim, the order is random, keyed by the seed alone (and by ``redrawn``).
        """
        claims: list[tuple[float, float, int]] = []
        start = 0
        for group, size in self.groups.items():
            key: streams.StreamKey = (self._seed, *redrawn, "mix", *_named(group))
            taken = streams.generator(*key, "slots").permutation(size)
            if len(self.groups) == 1:
                return taken
            tie = streams.generator(*key).random()
            claims += [((rank + 0.5) / size, tie, start + int(index)) for rank, index in enumerate(taken)]
            start += size
        return np.array([slot for _, _, slot in sorted(claims)])

    def subsample(self, sources: int, iteration: int) -> list[Indices]:
        """As many rows as there are slots, drawn from several full sets without repetition, each group from its own rows.

        Args:
            sources: number of sets, each with a row for every slot.
            iteration: of the training set; it keys the draw together with the seed.

        Returns:
            The slots taken from each set.
        """
        parts: list[list[Indices]] = [[] for _ in range(sources)]
        start = 0
        for group, size in self.groups.items():
            key: streams.StreamKey = (self._seed, iteration, "mix", *_named(group), "subsample")
            drawn = streams.generator(*key).permutation(sources * size)[:size]
            for index in range(sources):
                parts[index].append(start + drawn[drawn // size == index] % size)
            start += size
        return [np.sort(np.concatenate(part)) for part in parts]


def _named(group: str) -> tuple[str, ...]:
    return (group,) if group else ()


def slots_of(real: Sequence[Record], seed: int) -> Slots:
    """The slots of a reference of images, one record per slot."""
    return Slots(group_sizes(real), seed)


def group_sizes(records: Iterable[Record]) -> dict[str, int]:
    """Number of slots per group, in the order of ``records``."""
    return dict(Counter(record.group for record in records))


def generated_slots(ratio: str, real: Sequence[Record], seed: int) -> set[str]:
    """Names of the slots that hold generated images at a ratio; ``real`` has one record per slot."""
    chosen, _ = slots_of(real, seed).split(ratio)
    return {real[index].slot for index in chosen}


def read_treated(generated: Path, real: Sequence[Record], ratio: str, seed: int) -> ImageSet:
    """The generated images that a control treats: those that the cell's ratio mixes in, and no others.

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
    return read_image_set(generated, generated_slots(ratio, real, seed))


def row_names(records: Iterable[Record]) -> list[str]:
    """What the rows of a training set are called: by their slots, and further rows of a slot by their model's iteration, too.

    Of several rows of one slot and model, which are several draws, or one that is in the set again, all but the first are numbered.
    Draws are in order, and a ratio that takes a draw of a slot takes those before it, too: names do not depend on the ratio.
    """
    seen: Counter[str] = Counter()
    names = []
    for record in records:
        name = f"{record.slot}@{record.iteration}" if record.slot in seen else record.slot
        names.append(streams.of_draw(name, seen[name]))
        seen[name] += 1
    return names
