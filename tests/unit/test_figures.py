"""Figures show what their tables say."""

import argparse
import csv
import dataclasses
import importlib
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from nepotism.data.images import Record, read_records, write_image_set
from nepotism.data.jackknife import LeftOut
from nepotism.data.tables import Row, read_csv, read_metrics, write_metrics, write_scores
from nepotism.draw import curves, family_curves, figures
from nepotism.measure.embeddings import PER_IMAGE, Embedded, write_embedded
from nepotism.runtime.errors import UserError


def row(ratio, iteration, value, seed=0, name="samples", metric="fid", control="none"):
    control = control if ratio else "base"
    return Row(
        "x", control, ratio, seed, iteration, name, "clip", metric, value, None, 0.1, value - 0.2, value + 0.2, 10
    )


ROWS = [
    row(ratio, iteration, 1 + iteration * (1 + float(ratio or 0)), seed, metric=metric)
    for metric in ("fid", "clip_score") for seed in (0, 1)
    for ratio, iteration in [("", 0), ("0", 1), ("0", 2), ("3.3", 1), ("3.3", 2)]
] + [row("", 0, 0.5, seed, "real", metric) for metric in ("fid", "clip_score") for seed in (0, 1)]  # fmt: skip


PANELS = curves.score_panels(ROWS, "tiny-clip")
NONE = curves.Line("none", "mixture")


def test_every_drawn_line_equals_its_source_table():
    points = curves.curve_points(ROWS, PANELS, [NONE])
    figure = curves.curves(points)
    axis = figure.axes[0]
    lines = [container.lines[0] for container in axis.containers]
    for line, ratio in zip(lines, ("0", "3.3"), strict=True):
        expected = [p.value for p in points if p.panel == axis.get_title() and p.ratio == ratio and p.kind == "mixture"]
        assert len(expected) == 3
        np.testing.assert_allclose(line.get_ydata(), expected)
    floor = [line for line in axis.lines if line.get_label() == curves.FLOOR]
    assert floor[0].get_ydata()[0] == pytest.approx(0.5)


def test_controls_are_open_diamonds_and_squares_and_healing_goes_on_at_the_right():
    rows = ROWS + [
        row("3.3", iteration, 7.0 + iteration, metric=metric, control=control)
        for metric in ("fid", "clip_score")
        for control, iterations in (("histogram_match", (1, 2)), ("sifid_cull", (1, 2)), ("heal", (3, 4)))
        for iteration in iterations
    ]
    shown = [
        NONE,
        *(curves.Line(name, "control") for name in ("histogram_match", "sifid_cull")),
        curves.Line("heal", "heal"),
    ]
    points = curves.curve_points(rows, PANELS, shown)
    axis = curves.curves(points).axes[0]
    drawn = {container.get_label(): container.lines[0] for container in axis.containers}
    assert (drawn["histogram_match 3.3 %"].get_marker(), drawn["sifid_cull 3.3 %"].get_marker()) == ("D", "s")
    assert {drawn[f"{name} 3.3 %"].get_fillstyle() for name in ("histogram_match", "sifid_cull")} == {"none"}
    healing = [p for p in points if p.kind == "heal" and p.panel == PANELS[0].title]
    branch = next(
        p for p in points if (p.kind, p.ratio, p.iteration, p.panel) == ("mixture", "3.3", 2, PANELS[0].title)
    )
    assert [p.iteration for p in healing] == [2, 3, 4]
    assert healing[0].value == branch.value
    assert [p.value for p in healing[1:]] == [10, 11]


def test_an_arm_with_its_own_iteration_0_starts_from_it():
    own = [row("3.3", 1, 5.0, control="guidance3")]
    rows = ROWS + own + [dataclasses.replace(own[0], control="base-guidance3", ratio="", iteration=0, value=2.0)]
    points = curves.curve_points(rows, PANELS[:1], [curves.Line("guidance3", "mixture", "base-guidance3")])
    assert [p.value for p in points if p.kind == "mixture"] == [2.0, 5.0]


def test_of_few_photographs_dinov2_is_compared_by_the_kernel_distance_first():
    def of_dinov2(count):
        like = row("0", 1, 1.0)
        both = [dataclasses.replace(like, metric=metric, features="dinov2", n=count) for metric in ("fid", "kid")]
        panels = curves.score_panels([*both, dataclasses.replace(like, n=count)], "a CLIP")
        return [(panel.metric, panel.features, panel.title) for panel in panels[:-1]]

    few, many = of_dinov2(1999), of_dinov2(2000)
    assert few[0] == ("kid", "dinov2", "kernel distance (DINOv2)")
    assert many[0][:2] == ("fid", "dinov2")
    assert few[1:] == many[1:]


def test_one_seed_shows_its_own_interval_and_several_show_the_t_interval():
    one = curves.curve_points([r for r in ROWS if r.seed == 0], PANELS, [NONE])[0]
    assert (one.low, one.high, one.seeds) == (pytest.approx(0.8), pytest.approx(1.2), 1)
    rows = [row("0", 1, value, seed) for seed, value in enumerate((1.0, 2.0, 3.0))]
    point = curves._point(PANELS[0], "mixture", "none", "0", 1, rows)
    assert point.value == pytest.approx(2)
    assert point.high - point.value == pytest.approx(4.3027 / np.sqrt(3), rel=1e-3)


def test_a_figure_of_no_images_says_so():
    assert "no such image" in figures.image_grid([], {}).texts[0].get_text()


def test_the_grid_shows_each_image_where_its_table_says():
    places = [("0 %", "base"), ("0 %", "1"), ("25 %", "base"), ("25 %", "1")]
    pictures = [figures.Picture("p", row, column, "p", f"{row}{column}", "f") for row, column in places]
    pixels = {p.id: np.full((4, 4, 3), 50 * index, np.uint8) for index, p in enumerate(pictures)}
    figure = figures.image_grid(pictures, pixels)
    shown = [float(axis.images[0].get_array().mean()) for axis in figure.axes]
    assert shown == [0, 50, 100, 150]
    assert [axis.get_ylabel() for axis in figure.axes] == ["0 %", "", "25 %", ""]


def test_figures_are_the_same_bytes_twice(tmp_path):
    for name in ("one", "other"):
        paths = [tmp_path / f"{name}.svg", tmp_path / f"{name}.png"]
        figures.save(curves.curves(curves.curve_points(ROWS, PANELS, [NONE])), paths, 60)
    for suffix in ("svg", "png"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"other.{suffix}").read_bytes()


def test_tables_survive_their_files(tmp_path):
    metrics, blocks = tmp_path / "metrics.csv", tmp_path / "jackknife.csv"
    kept = [
        dataclasses.replace(each, left_out=LeftOut((30, 30, 12), (0.1, 1 / 3, float(index))))
        for index, each in enumerate(ROWS)
    ]
    # What has no interval has no such values either.
    rows = [kept[0], dataclasses.replace(ROWS[1], se=None, ci_low=None, ci_high=None), *kept[2:]]
    write_scores(metrics, blocks, rows)
    assert read_csv(metrics, blocks) == rows
    assert [each.left_out for each in read_csv(metrics)] == [None] * len(rows)
    assert metrics.read_text().splitlines()[0].endswith(",value,sd,se,ci_low,ci_high,n")
    assert len(blocks.read_text().splitlines()) == 1 + 3 * (len(rows) - 1)
    write_metrics(tmp_path / "m.json", rows)
    assert read_metrics(tmp_path / "m.json") == rows


def test_values_without_blocks_that_belong_to_no_score_are_refused(tmp_path):
    metrics, blocks = tmp_path / "metrics.csv", tmp_path / "jackknife.csv"
    kept = [dataclasses.replace(each, left_out=LeftOut((1, 1), (0.1, 0.2))) for each in ROWS]
    write_scores(tmp_path / "all.csv", blocks, kept)
    write_scores(metrics, tmp_path / "fewer.csv", kept[1:])
    with pytest.raises(
        UserError, match=r"jackknife.csv: x, base, , 0, 0, samples, clip, fid is no row of .*metrics.csv"
    ):
        read_csv(metrics, blocks)


# ---- Texts that users give


HOSTILE = {
    "signs": "between $5 and $6, $\\frac{1}$ x_{y}^2 \\alpha under_score {curly} % # & <tag> -- \\n\x07\x00",
    "lines": "one\nanother\r\n\tand a third: שלום עולם $مرحبا$",
    "long": "a rather long caption that goes on and on, " * 40,
    "word": "w" * 700,
}


@pytest.fixture
def parsed(monkeypatch):
    """The strings that Matplotlib takes for formulas."""
    seen = []
    parse = MathTextParser.parse
    monkeypatch.setattr(
        MathTextParser, "parse", lambda self, text, *a, **k: (seen.append(text), parse(self, text, *a, **k))[1]
    )
    return seen


def sets(folder, text):
    """Image sets whose captions and groups are a text: real ones, and those of two cells and of culling."""
    names = ["real.parquet", "none/ratio-50/seed-0/iteration-1/x.parquet", "none/ratio-50/seed-0/iteration-2/x.parquet"]
    made = [folder / "results/e" / name for name in names]
    for path in made:
        records = [
            Record(f"{group}/{index}", text + group, text + group, f"{text}{group}/{index:03d}", "generated")
            for group in "ab"
            for index in range(2)
        ]
        write_image_set(path, np.zeros((4, 8, 8, 3), np.uint8), records)
    table = made[2].with_name("curated.csv")
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([["slot", "kept", "sifid"], [f"{text}a/000", "False", "2"]])
    return made, table


def embedded(samples, scores):
    """The embeddings beside an image set, whose images have these CLIP scores with their captions."""
    records = read_records(samples)
    values = {name: np.zeros(len(records)) for name in PER_IMAGE} | {"clip_score": np.array(scores, float)}
    each = Embedded({}, values, [record.group for record in records], [record.id for record in records])
    other = dataclasses.replace(each, values=values | {"clip_score": -(values["clip_score"] ** 2)})
    write_embedded(samples.with_name("embeddings.npz"), {"unseen": other, "samples": each})
    return samples.with_name("embeddings.npz")


@pytest.mark.parametrize(
    ("scores", "slot"),
    [
        ([24, 25, 31, 27], "a/001"), ([1, 1, 1, 1], "a/000"), ([5, 3, 1, 3], "a/001"), ([-2, -1, -9], "a/000"),
        ([-1, -2, -2], "a/001"), ([8], "a/000"), ([9, 2], "a/001"),
    ],
)  # fmt: skip
def test_the_typical_slot_is_that_of_the_median_of_an_even_number_the_lower_of_equal_ones_the_first(
    tmp_path, scores, slot
):
    samples = tmp_path / "none/ratio-100/seed-0/iteration-2/samples.parquet"
    records = [Record(f"x/{index}", "a face", "a", f"a/{index:03d}", "generated") for index in range(len(scores))]
    write_image_set(samples, np.zeros((len(scores), 8, 8, 3), np.uint8), records)
    assert importlib.import_module("figure_2").typical_slot(embedded(samples, scores), [samples]) == slot


def test_figure_2_shows_one_slot_throughout_the_typical_one_of_a_cell_or_the_one_that_is_named(tmp_path):
    names = [f"none/ratio-{ratio}/seed-0/iteration-{i}" for ratio in (0, 100) for i in (1, 2)]
    files = [tmp_path / "results/e" / name / "samples.parquet" for name in ("base/seed-0", *names)]
    slots = [f"a/{index:03d}" for index in range(4)]
    for name, file in zip(("base", *names), files):
        records = [Record(f"{name}/{each}", "a face", "a", each, "generated") for each in slots]
        write_image_set(file, np.zeros((len(slots), 8, 8, 3), np.uint8), records)
    # Another cell has embeddings, too.
    embedded(files[2], [25, 31, 24, 27])
    base, *samples = files
    output = [tmp_path / f"figure.{suffix}" for suffix in ("svg", "png", "csv")]
    arguments = argparse.Namespace(
        dpi=30, output=output, slot=None, embeddings=embedded(files[-1], [31, 27, 25, 24]),
        base_samples=base, base_unseen=base, samples=samples, unseen=[samples[1], samples[3]],
    )  # fmt: skip
    figure_2 = importlib.import_module("figure_2")

    def shown():
        with open(output[2], newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["panel"].endswith("by iteration")]
        return {(row["row"], row["column"]): row["id"] for row in rows}

    def throughout(slot):
        places = [(f"{ratio} %", str(i)) for ratio in (0, 100) for i in (1, 2)]
        cells = {place: f"{name}/{slot}" for place, name in zip(places, names)}
        return cells | {(f"{ratio} %", "base"): f"base/{slot}" for ratio in (0, 100)}

    figure_2.run(arguments)
    assert shown() == throughout("a/002")
    arguments.slot, arguments.embeddings = "a/003", None
    figure_2.run(arguments)
    assert shown() == throughout("a/003")
    arguments.slot = "b/000"
    with pytest.raises(UserError, match="there is no slot b/000; there are, for instance: a/000"):
        figure_2.run(arguments)


def test_repairs_go_on_from_their_branch_as_healing_does_and_are_told_apart():
    rows = ROWS + [
        row("3.3", 3, value, metric=metric, control=control)
        for metric in ("fid", "clip_score")
        for control, value in (("heal", 2.0), ("neon", 3.0), ("sims", 4.0))
    ]
    lines = [NONE, curves.Line("heal", "heal"), curves.Line("neon", "repair"), curves.Line("sims", "repair")]
    points = curves.curve_points(rows, PANELS, lines)
    branch = next(p for p in points if (p.control, p.ratio, p.iteration) == ("none", "3.3", 2))
    for control, value in (("heal", 2.0), ("neon", 3.0), ("sims", 4.0)):
        line = [p for p in points if p.control == control and p.panel == PANELS[0].title]
        assert [(p.iteration, p.value) for p in line] == [(2, branch.value), (3, value)]
    figure = curves.curves(points)
    told = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"heal: 3.3 %, then real only", "neon: 3.3 %, then repaired", "sims: 3.3 %, then repaired"} < told
    assert {text.get_text() for text in figure.axes[0].texts} == {"repair"}


def test_figure_4_has_a_panel_for_every_ratio_that_was_healed(tmp_path):
    cells = [
        f"{control}/ratio-{ratio}/seed-0/iteration-{iteration}"
        for ratio in (25, 100)
        for control, iteration in (("none", 3), ("heal", 4), ("heal", 5))
    ]
    files = [tmp_path / cell / "samples.parquet" for cell in cells]
    for cell, file in zip(cells, files):
        records = [
            Record(f"{cell}/{slot}", "a face", slot[0], slot, "generated") for slot in ("b/000", "b/001", "a/000")
        ]
        write_image_set(file, np.zeros((3, 8, 8, 3), np.uint8), records)
    output = [tmp_path / f"figure.{suffix}" for suffix in ("svg", "png", "csv")]
    importlib.import_module("figure_4").run(argparse.Namespace(dpi=30, output=output, samples=files))
    with open(output[2], newline="") as file:
        shown = [(row["panel"].split(":")[0], row["row"], row["column"], row["id"]) for row in csv.DictReader(file)]
    assert shown == [
        (f"{cell.split('/')[1].removeprefix('ratio-')} %", group, cell[-1], f"{cell}/{group}/000")
        for group in "ab"
        for cell in cells
    ]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("number", [1, 2, 4, 5, 6])
def test_captions_and_groups_are_shown_as_they_are_in_every_figure_of_images(tmp_path, parsed, number, name):
    (real, first, last), table = sets(tmp_path, HOSTILE[name])
    output = [tmp_path / f"figure.{suffix}" for suffix in ("svg", "png", "csv")]
    options = {
        1: {"group": None, "samples": real},
        2: {
            "slot": None, "embeddings": embedded(last, [1, 2, 3, 4]),
            "base_samples": real, "base_unseen": real, "samples": [first, last], "unseen": [last],
        },
        4: {"samples": [first, last]},
        5: {"group": None, "real": real, "initial_images": first},
        6: {"tables": [table], "images": [first]},
    }[number]  # fmt: skip
    importlib.import_module(f"figure_{number}").run(argparse.Namespace(dpi=30, output=output, **options))
    assert parsed == []
    width, height = (float(ElementTree.parse(output[0]).getroot().get(side)[:-2]) for side in ("width", "height"))
    # In points: a long caption makes a figure larger, but not longer than a page.
    assert max(width, height) < 1000
    with open(output[2], newline="", encoding="utf-8") as file:
        # As the csv module reads what was written, \r\n in quotes included.
        assert {row["prompt"] for row in csv.DictReader(file)} <= {HOSTILE[name] + group for group in "ab"}


def test_names_are_shown_as_they_are_in_every_figure_of_lines(tmp_path, parsed):
    text = HOSTILE["signs"]
    rows = [dataclasses.replace(each, control=text if each.ratio else "base") for each in ROWS]
    points = curves.curve_points(rows, curves.score_panels(rows, text), [curves.Line(text, "mixture")])
    figures.save(curves.curves(points), [tmp_path / "a.svg", tmp_path / "a.png"], 30)
    logarithmic = family_curves.line_figure(
        family_curves.curves(rows, "fid", {text: {}}), text, family_curves.logarithmic
    )
    figures.save(logarithmic, [tmp_path / "b.svg"], 30)
    figures.save(family_curves.panels([text, "other"], [0, 1])[0], [tmp_path / "c.svg"], 30)
    for each in "abc":
        ElementTree.parse(tmp_path / f"{each}.svg")
    # The numbers of a logarithmic axis are formulas; nothing else is one.
    assert parsed
    assert all(each.startswith(r"$\mathdefault{") for each in parsed)


@pytest.mark.parametrize(("count", "last_of_columns"), [(1, {0}), (4, {0, 1, 2, 3}), (9, {5, 6, 7, 8})])
def test_panels_of_conditions_are_a_few_in_a_row_each_named_where_it_has_to_be(count, last_of_columns):
    names = [f"condition {number}" for number in range(count)]
    figure, axes = family_curves.condition_panels(names, "across", "up", sharex=True)
    assert list(axes) == names
    assert list(axes.values()) == figure.axes, "an empty panel stands"
    assert {int(name.split()[1]) for name, axis in axes.items() if axis.get_xlabel()} == last_of_columns
    assert {int(name.split()[1]) for name, axis in axes.items() if axis.get_ylabel()} == set(range(0, count, 4))
    for number, axis in enumerate(axes.values()):
        axis.plot([1, 2], [1, 2], label="one")
        if number == count - 1:
            axis.plot([1, 2], [2, 1], label="only here")
    family_curves.name_lines(axes, "lines")
    legends = [axis.get_legend() for axis in figure.axes if axis.get_legend()]
    assert [[text.get_text() for text in legend.get_texts()] for legend in legends] == [["one", "only here"]]


@pytest.mark.parametrize(("values", "plain"), [((33.7, 45.4), True), ((2, 900), False)])
def test_a_logarithmic_axis_within_a_decade_has_plain_numbers(values, plain):
    axis = Figure().subplots()
    axis.plot(values)
    family_curves.logarithmic(axis)
    axis.figure.draw_without_rendering()
    assert axis.get_yscale() == "log"
    low, high = axis.get_ylim()
    shown = [
        text.get_text() for at, text in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True) if low <= at <= high
    ]
    assert len(shown) >= 2
    assert all(text.isdigit() for text in shown) == plain
