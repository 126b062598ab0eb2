"""Which faces an experiment uses: groups from labels, and a seeded draw from each."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.sources.ffhq.labels import Label
from nepotism.sources.splits import MINIMUM_SCORING

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Groups:
    """How labels become groups.

    Attributes:
        caption: template with ``{age}``, ``{race}`` and ``{gender}``, those of ``factors``.
        factors: which of them make the groups, in the order of their names.
        ages: names of ages, each with the years it begins at, ascending.
        rename: other names for genders and races, by lower-case name; None leaves such faces out.
    """

    caption: str
    factors: Sequence[str]
    ages: Sequence[tuple[str, float]]
    rename: Mapping[str, str | None]

    def of(self, label: Label) -> dict[str, str] | None:
        """The value of each factor; None for a face that belongs to no group."""
        values: dict[str, str] = {}
        for factor in self.factors:
            value = self._age(label.age) if factor == "age" else self._renamed(getattr(label, factor))
            if not value:
                return None
            values[factor] = value
        return values

    def _age(self, years: float | None) -> str | None:
        if years is None:
            return None
        return next((name for name, start in reversed(self.ages) if years >= start), None)

    def _renamed(self, name: str) -> str | None:
        lower = name.lower()
        return self.rename.get(lower, lower)


@dataclass(frozen=True)
class Chosen:
    """One selected image: file, caption, group, and its licence, author and page where the data set tells them."""

    file_name: str
    text: str
    group: str
    licence: str = ""
    author: str = ""
    url: str = ""


def select(
    labels: Sequence[Label], groups: Groups, images_per_group: int, seed: int, reserved: int = 0, fresh: bool = False
) -> list[Chosen]:
    """Draw up to three times ``images_per_group`` images of each group: to train on, to measure against, for the floor.

    What is reserved for single uses comes after these in the draw, set by set, so that more of it leaves what comes before as it is.

    Args:
        labels: of the whole data set; those with an error count nowhere.
        groups: how labels become groups.
        images_per_group: size of each group in the training set.
        seed: of the draw.
        reserved: number of sets of ``images_per_group`` more images of each group that there must be.
        fresh: choose the last of these sets instead.

    Returns:
        Group by group, in the order of their names. Every combination of the factors' values is a group.

    Raises:
        UserError: listing the groups that are too small, those without any face too.
    """
    members: dict[str, list[str]] = {}
    captions: dict[str, str] = {}
    seen: list[tuple[str, ...]] = []
    left_out = 0
    for label in sorted(labels, key=lambda each: each.file):
        values = None if label.error else groups.of(label)
        if values is None:
            left_out += 1
            continue
        group = _name(tuple(values.values()))
        seen.append(tuple(values.values()))
        captions[group] = groups.caption.format(**values)
        members.setdefault(group, []).append(label.file)
    logger.info("%d faces in %d groups; %d belong to none", len(labels) - left_out, len(members), left_out)
    least, wanted = images_per_group + MINIMUM_SCORING, 3 * images_per_group
    values_seen = [dict.fromkeys(each) for each in zip(*seen, strict=True)]
    for combination in product(*values_seen) if seen else []:
        members.setdefault(_name(combination), [])
    if reserved:
        least = wanted + reserved * images_per_group
    small = {group: len(files) for group, files in sorted(members.items()) if len(files) < least}
    if small or not members:
        told = ", ".join(f"{group} ({count})" for group, count in small.items()) or "all, for there is none"
        raise UserError(
            f"groups with fewer than {least} faces ({_needed(images_per_group, reserved)}): {told}; lower "
            "`reference.images_per_group`, or change `reference.ffhq.ages` and `rename`"
        )
    chosen = []
    for group, files in sorted(members.items()):
        if len(files) < wanted:
            logger.warning(
                "warning: group %s has %d faces, %d are best; it is scored with %d",
                group, len(files), wanted, (len(files) - images_per_group) // 2,
            )  # fmt: skip
        order = streams.generator(seed, "select", group).permutation(len(files))
        order = order[least - images_per_group : least] if fresh else order[:wanted]
        chosen += [Chosen(files[index], captions[group], group) for index in sorted(order)]
    return chosen


def _needed(images_per_group: int, reserved: int) -> str:
    if reserved:
        return f"three times images_per_group {images_per_group}, and {reserved} times as many to reserve"
    return f"images_per_group {images_per_group} + {MINIMUM_SCORING} to measure against"


def _name(values: tuple[str, ...]) -> str:
    return "-".join(values).replace(" ", "-")


def with_licences(chosen: Sequence[Chosen], metadata: Mapping[str, Mapping]) -> list[Chosen]:
    """Add what FFHQ's metadata (``ffhq-dataset-v2.json``) says of each image's origin.

    Args:
        chosen: selected images, named as in FFHQ's tree.
        metadata: the file's content: entries by number.
    """
    told = []
    for each in chosen:
        number = each.file_name.rsplit("/", 1)[-1].split(".")[0]
        is_number = number.isascii() and number.isdigit()
        entry = metadata.get(str(int(number)), {}).get("metadata", {}) if is_number else {}
        told.append(
            Chosen(
                each.file_name, each.text, each.group,
                entry.get("license", ""), entry.get("author", ""), entry.get("photo_url", ""),
            )
        )  # fmt: skip
    return told
