"""Figures that show images. Every figure is drawn from rows of a table that is written beside it."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from nepotism.data.images import Pixels, Record, read_image_set, read_records
from nepotism.data.tables import write_csv
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import atomic_write

# Letters of a text that are shown, in all and on a line. Tables have all of them.
SHOWN_LETTERS = 160
LABEL_WIDTH, COLUMN_WIDTH, LETTERS_PER_INCH = 40, 20, 18


@dataclass(frozen=True)
class Picture:
    """One picture of a figure: the panel, row and column it stands in, and which image it shows."""

    panel: str
    row: str
    column: str
    prompt: str
    id: str
    file: str


def save(figure: Figure, paths: Sequence[Path], dpi: int) -> None:
    """Save under every given name, whole or not at all, with no date in the files: equal figures are equal bytes.

    Texts are shown as they are: Matplotlib would take what is between two dollar signs of a caption for a formula, and SVG has
    no place for control characters.
    """
    # The numbers of axes are made by Matplotlib, and may be formulas, such as powers of ten.
    axes = figure.findobj(Axis)
    numbers = {text for axis in axes for text in axis.findobj(Text)} - {axis.label for axis in axes}
    for text in set(figure.findobj(Text)) - numbers:
        text.set_parse_math(False)
        text.set_text("".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text.get_text()))
    with matplotlib.rc_context({"svg.hashsalt": "nepotism"}):
        for path in paths:
            with atomic_write(path) as temporary:
                metadata = {"Date": None} if path.suffix == ".svg" else None
                figure.savefig(temporary, dpi=dpi, bbox_inches="tight", metadata=metadata)


def rows_of_panels(
    count: int,
    columns: int,
    panel: tuple[float, float],
    margin: tuple[float, float],
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` panels, at least one, of which at most ``columns`` stand in a row; the last row may be short.

    Args:
        count: of panels.
        columns: that fit beside each other.
        panel: its width and height, in inches.
        margin: what all of them take besides, in inches.
        sharex: whether the horizontal axes of all have one scale.
        sharey: whether the vertical ones do.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    size = (panel[0] * columns + margin[0], panel[1] * rows + margin[1])
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def nothing(what: str) -> Figure:
    """A figure that says that there is nothing to draw."""
    figure = Figure(figsize=(4, 1))
    figure.text(0.5, 0.5, f"there is no such {what}", ha="center", va="center", fontsize=8)
    return figure


def image_grid(pictures: Sequence[Picture], pixels: dict[str, Pixels]) -> Figure:
    """A block of rows per panel; rows and columns appear in the order in which the pictures name them.

    Without any picture, a figure that says so.
    """
    if not pictures:
        return nothing("image")
    panels = {name: [p for p in pictures if p.panel == name] for name in dict.fromkeys(p.panel for p in pictures)}
    rows = {name: list(dict.fromkeys(p.row for p in shown)) for name, shown in panels.items()}
    columns = {name: list(dict.fromkeys(p.column for p in shown)) for name, shown in panels.items()}
    width = max(map(len, columns.values()))
    labels = {row: wrapped(row, LABEL_WIDTH) for names in rows.values() for row in names}
    longest = max(len(line) for label in labels.values() for line in label.split("\n"))
    inches = width + 0.2 + 0.07 * longest
    titles = {name: wrapped(name, math.floor(LETTERS_PER_INCH * inches)) for name in panels}
    heads = {name: [wrapped(column, COLUMN_WIDTH) for column in names] for name, names in columns.items()}
    # Above the pictures, a line of a title takes an eighth of an inch, and one of a column's long caption less.
    heights = [
        len(rows[name])
        + 0.17
        + 0.13 * _lines(titles[name])
        + max(0.3, 0.09 * max(_lines(head) for head in heads[name]))
        for name in panels
    ]
    figure = Figure(figsize=(inches, sum(heights)), layout="constrained")
    blocks = figure.subfigures(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for block, (name, shown) in zip(blocks, panels.items(), strict=True):
        block.suptitle(titles[name], fontsize=8)
        spacing = {"wspace": 0.02, "hspace": 0.02}
        axes = block.subplots(len(rows[name]), len(columns[name]), squeeze=False, gridspec_kw=spacing)
        for picture in shown:
            axis = axes[rows[name].index(picture.row), columns[name].index(picture.column)]
            axis.imshow(pixels[picture.id], interpolation="nearest")
        for axis, label in zip(axes[:, 0], rows[name], strict=True):
            axis.set_ylabel(labels[label], rotation=0, ha="right", va="center", fontsize=8)
        for axis, label in zip(axes[0], heads[name], strict=True):
            axis.set_title(label, fontsize=8 if len(label) < 8 else 5, pad=3)
        for axis in axes.flat:
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
    return figure


def wrapped(text: str, width: int) -> str:
    """A text from data in lines of at most ``width`` letters; of a long one its beginning."""
    words = " ".join(text.split())
    if len(words) > SHOWN_LETTERS:
        words = words[: SHOWN_LETTERS - 1] + "…"
    return textwrap.fill(words, width)


def _lines(text: str) -> int:
    return text.count("\n") + 1


def read_slots(file: Path, slots: set[str], pixels: dict[str, Pixels]) -> list[Record]:
    """Read the images of some slots into ``pixels``, by id, and return their rows."""
    images = read_image_set(file, slots)
    pixels.update({record.id: image for record, image in zip(images.records, images.pixels, strict=True)})
    return images.records


def slots_of_group(file: Path, group: str | None, count: int) -> list[str]:
    """The first slots of a group of an image set; of the first group, if none is named.

    Raises:
        UserError: if there is no such group, with some that there are.
    """
    records = read_records(file)
    names = list(dict.fromkeys(record.group for record in records))
    chosen = group or names[0]
    if chosen not in names:
        raise UserError(f"`figures.group`: there is no group {chosen}; there are, for instance: {', '.join(names[:3])}")
    return [record.slot for record in records if record.group == chosen][:count]


def titled(records: Sequence[Record]) -> str:
    """What a panel of one group's images is called: their caption, or the group where captions differ."""
    prompts = {record.prompt for record in records}
    return f"“{prompts.pop()}”" if len(prompts) == 1 else records[0].group


def write_grid(output: Sequence[Path], pictures: Sequence[Picture], pixels: dict[str, Pixels], dpi: int) -> None:
    """Draw a figure of images under its two names, and its table: ``output`` is .svg, .png and .csv."""
    save(image_grid(pictures, pixels), output[:2], dpi)
    write_csv(output[2], pictures, Picture)
