"""The page of an experiment: what it says equals the tables, nothing of the data becomes HTML, and lineage is right."""

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import page
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from made_up import ARMS, CLAIMS, HOSTILE, MadeUp, Parsed, numbers, shown_as, table_of
from nepotism.data.images import Record
from nepotism.experiment.cells import Cell
from nepotism.judge.sentences import three_sentences
from nepotism.measure.embeddings import Embedded, write_embedded
from nepotism.page.chart import BOTTOM, TOP, chart, ticks
from nepotism.page.conditions import Condition, PlannedArm, chain
from nepotism.page.lineage import trained
from nepotism.page.numbers import Number
from nepotism.page.pictures import BUDGET, chosen_slots, clip_scores, letters_of_slot


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return MadeUp(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="module")
def html(made):
    page.run(made.arguments())
    return (made.folder / "index.html").read_text()


@pytest.fixture(scope="module")
def parsed(html):
    return Parsed(html)


@pytest.fixture(scope="module")
def data(parsed):
    return json.loads(next(text for text in parsed.texts["script"] if text.startswith("{")))


# ---- Numbers


def test_every_number_of_claims_is_one_of_the_table_of_parts(made, parsed):
    for claim in CLAIMS:
        mine = [row for row in table_of(made.folder / "tables/claim_details.csv") if row["claim"] == str(claim.claim)]
        rows = parsed.tables.get(f"Effects of claim {claim.claim}", [])[1:]
        assert len(rows) == len(mine)
        for row, part in zip(rows, mine):
            effect, factor, wanted = row[2], row[3], row[4]
            ends = [part["value"], part["ci90_low"], part["ci90_high"]] if part["value"] else []
            assert [raw for raw, _ in effect[1]] == ends
            assert [raw for raw, _ in wanted[1]] == [part["bound"]]
            assert [raw for raw, _ in factor[1]] in ([], [part["value"]])
            assert all(shown_as(*number) for number in numbers([row]))
            assert part["verdict"] in row[5][0]


def test_a_factor_is_shown_of_logarithms_only(parsed):
    (_, first, second, third, *_), (_, slope) = (parsed.tables[f"Effects of claim {number}"] for number in (2, 3))
    assert [first[3][1][0][1], second[3][1][0][1]] == ["3.44", "0.819"]
    assert third[3][0] == slope[3][0] == "\u2013"


@pytest.mark.parametrize(
    ("table", "file", "columns"),
    [
        ("cost-table", "tables/cost.csv", ["jobs", "seconds", "cpu_seconds", "peak_memory_mib"]),
        ("figure-table", "figures/figure-3.csv", ["value", "low", "high"]),
        ("remedies-table", "tables/remedies.csv", ["share", "share_low", "share_high", "recall", "recall_low", "recall_high",
                                                   "drawn", "trained", "real"]),
    ],
)  # fmt: skip
def test_every_number_equals_the_row_of_a_table(made, parsed, table, file, columns):
    expected = [row[name] for row in table_of(made.folder / file) for name in columns if row[name]]
    found = numbers(parsed.tables[table])
    assert [raw for raw, _ in found] == expected
    assert all(shown_as(*number) for number in found)


def test_the_profile_has_every_row_with_its_state_and_definition(made, parsed):
    rows = table_of(made.folder / "tables/profile.csv")
    for ratio in ("0", "100"):
        mine = [row for row in rows if row["ratio"] == ratio]
        shown = parsed.tables[f"Profile of {ratio} % generated"][1:]
        assert len(shown) == len(mine) == (7 if ratio == "100" else 6)
        for before, row, cells in zip([None, *mine], mine, shown, strict=False):
            names = ("rate", "ci_low", "ci_high", "difference", "difference_low", "difference_high", "seeds")
            assert [raw for raw, _ in numbers([cells])] == [row[name] for name in names if row[name]]
            assert all(shown_as(*number) for number in numbers([cells]))
            assert (row["state"] or "not told") in cells[2][0]
            again = before is not None and before["definition"] == row["definition"]
            assert cells[6][0] == ("as above" if again else row["definition"]) + row["note"]


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_number_is_shown_to_three_digits(value):
    assert shown_as(repr(value), str(Number(repr(value))))


def test_what_is_no_number_says_so():
    assert [str(Number(raw)) for raw in ("", "nan", "inf", "-inf", "12", "-0.5")] == [
        "", "not defined", "∞", "\u2212∞", "12", "\u22120.5",
    ]  # fmt: skip


# ---- What is left out, and what is not there


def test_where_collapse_begins_is_told_with_the_numbers_of_its_table(parsed):
    (told,) = [text for text in parsed.texts["p"] if "collapse (a distance" in text]
    assert "begins between 28.4 and 47.2 % of generated rows (90 % interval between 4 seeds)" in told


def test_sections_without_rows_are_left_out(made):
    page.run(
        made.arguments(profile=[], remedies=[], threshold=[], curves=[], samples=[], output=made.folder / "bare.html")
    )
    found = Parsed((made.folder / "bare.html").read_text())
    ids = {attributes.get("id") for _, attributes in found.elements}
    assert {"claims", "made", "answer"} <= ids
    assert not {"profile", "remedies", "figure", "pictures", "data"} & ids
    links = {attributes["href"] for name, attributes in found.elements if name == "a"}
    assert all(link[1:] in ids for link in links)


def test_a_part_of_the_grid_is_told_as_such(tmp_path):
    done = [Cell("none", ratio, 0, iteration) for ratio in ("0", "100") for iteration in (1, 2)]
    made = MadeUp(tmp_path, done=done, seeds=(0,))
    page.run(made.arguments())
    text = (tmp_path / "index.html").read_text()
    found = Parsed(text)
    assert "4 of 14 cells done" in text
    cells = {row[0][0]: row[3][0].strip() for row in found.tables["grid-table"][1:]}
    assert cells["0 % generated"] == "2 of 3"
    assert cells["heal, after 100 % generated"] == "0 of 2"
    data = json.loads(next(each for each in found.texts["script"] if each.startswith("{")))
    # Of healing, the steps before it that have been run.
    assert {each["key"]: [step[0] for step in each["steps"]] for each in data["conditions"]} == {
        "none-0": [0, 1, 2], "none-100": [0, 1, 2], "heal-100": [0, 1, 2],
    }  # fmt: skip


def test_ratios_that_a_search_asked_for_are_conditions(tmp_path):
    """They are not known when the page is planned; the table of scores has them."""
    made = MadeUp(tmp_path, seeds=(0,))
    ends = PlannedArm("none", "Searches.", ("0", "100"), (1, 2, 3), "base", searches=True)
    page.run(made.arguments(planned=[ends, *ARMS[1:]]))
    found = Parsed((tmp_path / "index.html").read_text())
    cells = {row[0][0]: row[3][0].strip() for row in found.tables["grid-table"][1:]}
    assert cells["50 % generated"] == "3 of 3"
    data = json.loads(next(each for each in found.texts["script"] if each.startswith("{")))
    assert [each["key"] for each in data["conditions"]][:3] == ["none-0", "none-50", "none-100"]


# ---- Safety


def test_nothing_of_the_data_becomes_html(html, parsed):
    scripts = [attributes for name, attributes in parsed.elements if name == "script"]
    assert [each.get("type") for each in scripts] == ["application/json", None]
    assert HOSTILE not in html
    assert "not bold" in html
    assert not any(
        name == "b" and "not bold" in text for name, texts in parsed.texts.items() for text in texts if name == "b"
    )
    data = json.loads(next(text for text in parsed.texts["script"] if text.startswith("{")))
    assert data["slots"][0]["caption"] == HOSTILE


def test_only_our_script_and_style_are_allowed_and_nothing_is_loaded(html, parsed):
    (policy,) = (a["content"] for name, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    for text, name in ((script, "script-src"), (style, "style-src")):
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    for name, attributes in parsed.elements:
        assert "style" not in attributes, "the policy would drop it"
        assert not any(key.startswith("on") for key in attributes)
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("data:", "#")), (name, attributes[key][:80])
    assert "url(" not in style
    assert "@import" not in style


def test_no_path_of_this_machine_is_on_a_page(made):
    config = {
        "experiment": "made-up",
        "model": {"path": "/people/josé & co/tiny"},
        "note": HOSTILE,
        "logs": str(ROOT / "logs"),
    }
    (made.folder / "other.json").write_text(json.dumps(config))
    page.run(made.arguments(config=made.folder / "other.json", output=made.folder / "other.html"))
    html = (made.folder / "other.html").read_text()
    assert json.loads("".join(Parsed(html).texts["pre"])) == config | {
        "model": {"path": "(private)/tiny"},
        "logs": "(private)/logs",
    }
    assert "people" not in html


def test_headings_are_in_order_and_pictures_have_texts(parsed):
    levels = [int(name[1]) for name, _ in parsed.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert ("html", {"lang": "en"}) in parsed.elements
    # That of the large picture is filled in by the script.
    assert [attributes["alt"] for name, attributes in parsed.elements if name == "img"].count("") == 1
    labelled = {attributes["for"] for name, attributes in parsed.elements if name == "label"}
    assert {a["id"] for name, a in parsed.elements if name in ("select", "input")} == labelled


def test_every_verdict_has_a_shape_and_a_word(parsed):
    text = ["".join(row[1][0].split()) for row in parsed.tables["claims-table"] if len(row) == 3]
    for claim in CLAIMS:
        assert claim.verdict.replace(" ", "") in text


def test_the_same_files_give_the_same_page(made, html):
    page.run(made.arguments(output=made.folder / "again.html"))
    assert (made.folder / "again.html").read_text() == html


def test_making_a_page_imports_no_torch():
    code = "import sys; sys.path.insert(0, 'scripts'); import page; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# ---- The answer


def test_the_answer_is_three_sentences_of_the_tables(made, html):
    details = table_of(made.folder / "tables/claim_details.csv")
    first, second, third = three_sentences(CLAIMS, details, 3)
    assert first == (
        "Retrained 3 times on its own images only, the model ends 11.81 times (3.44 to 40.60) as far from real images, beyond "
        "what these are from each other, as one retrained on real images only, measured in CLIP features."
    )
    assert second == "With 50 % of its own images the multiple is 0.67 (0.55 to 0.82) in CLIP features."
    told = "Of the 5 claims: 1 holds, 1 does not hold, 1 undecided, 1 mixed, 1 not run; intervals are of 90 %, between 4 seeds."
    assert third == told
    assert html.count('<span class="sentence">') == 3


def test_where_nothing_is_milder_the_answer_tells_what_real_images_do_by_its_excess():
    columns = ("value", "ci90_low", "ci90_high", "excess", "excess_low", "excess_high")

    def part(claim, statistic, *values):
        return {
            "claim": claim,
            "features": "clip",
            "statistic": statistic,
            "seeds": "4",
            **dict(zip(columns, values, strict=True)),
        }

    flat = part("1", "F(0,I) - b", "0.1", "0.05", "0.15", "0.7", "0.5", "0.9")
    undefined = part("2", "F(100,I) - F(0,I)", "0.1", "0.05", "0.15", "", "", "")
    first, second, _ = three_sentences(CLAIMS, [flat, undefined], 3)
    # exp(0.7), of the excess; the distance itself is 1.11 times that of the base model.
    assert "beyond that of real images from each other: 2.01 (1.65 to 2.46) in CLIP features." in second
    assert "the model ends an undefined number of times as far from real images" in first


def test_the_answer_is_about_the_arm_of_the_claims_wherever_it_stands(tmp_path):
    other = PlannedArm("other", "Ends before.", ("100",), (1,), "base")
    made = MadeUp(tmp_path, arms=(other, *ARMS), seeds=(0,))
    page.run(made.arguments())
    assert "Retrained 3 times on its own images only" in (tmp_path / "index.html").read_text()


def test_without_anything_to_compare_the_answer_says_so():
    first, second, third = three_sentences([], [], 3)
    assert "could be compared" in first
    assert "nothing" in second.lower()
    assert "fewer than 3 seeds" in third


# ---- Pictures


def records_of(groups, per_group):
    return [Record(f"{g}/{i}", "", f"g{g}", f"g{g}/{i:03d}", "real") for g in range(groups) for i in range(per_group)]


def test_all_slots_are_shown_where_there_is_room():
    records = records_of(30, 3)
    assert chosen_slots(records, 21, 64) == [record.slot for record in records]


def test_without_room_every_group_is_shown_once_before_any_is_twice():
    records = records_of(30, 30)
    slots = chosen_slots(records, 60, 512)
    assert len(slots) == int(BUDGET / (60 * (0.38 * 128**2 + 270)))
    assert len({slot.split("/")[0] for slot in slots}) == len(slots) < 30
    assert len({slot.split("/")[0] for slot in chosen_slots(records, 10, 512)}) == 30
    assert slots == [record.slot for record in records if record.slot in slots]
    # The order of rows does not matter within a group's first.
    assert set(chosen_slots(records[::30][::-1], 60, 512)) == set(chosen_slots(records[::30], 60, 512))


@pytest.mark.parametrize("side", [8, 16, 32, 64])
def test_a_slot_takes_no_more_letters_than_it_is_thought_to(tmp_path, side):
    """Of small pictures, what is told of one takes more letters than the picture."""
    made = MadeUp(tmp_path, groups=5, per_group=4, seeds=(0,), side=side)
    page.run(made.arguments())
    texts = Parsed((tmp_path / "index.html").read_text()).texts["script"]
    sets, rows = 3 + len(made.cells), len(made.cells)
    at_most = len(made.slots) * letters_of_slot(sets, side, rows)
    assert 0.5 * at_most < len(next(each for each in texts if each.startswith("{"))) < at_most
    assert BUDGET < 5_000_000


def test_a_score_that_is_no_number_leaves_the_rest_readable(tmp_path):
    made = MadeUp(tmp_path, seeds=(0,))
    cell = made.cell("none", "100", 3)
    nothing = Embedded(
        {"clip": np.zeros((6, 2), np.float32)},
        dict.fromkeys(("clip_score", "saturation", "contrast"), np.array([np.nan, np.inf, 30.0, 31.0, 32.0, 33.0])),
        [record.group for record in made.drawn[cell]], [record.id for record in made.drawn[cell]],
    )  # fmt: skip
    write_embedded(tmp_path / cell.path / "embeddings.npz", {"samples": nothing})
    page.run(made.arguments())
    text = next(each for each in Parsed((tmp_path / "index.html").read_text()).texts["script"] if each.startswith("{"))

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    data = json.loads(text, parse_constant=refuse)
    scores = next(each["scores"] for each in data["sets"] if each["name"] == cell.path)
    assert scores == [None, None, 30.0, 31.0, 32.0, 33.0]


def test_pictures_have_their_scores_and_stand_in_the_order_of_slots(made, data):
    number = next(i for i, each in enumerate(data["sets"]) if each["name"] == "none/ratio-100/seed-0/iteration-3")
    cell = made.cell("none", "100", 3)
    scores = clip_scores(made.folder / cell.path / "embeddings.npz", "samples")
    assert data["sets"][number]["ids"] == [record.id for record in made.drawn[cell]]
    assert data["sets"][number]["scores"] == [round(scores[record.id], 2) for record in made.drawn[cell]]
    assert all(each.startswith("data:image/webp;base64,") for each in data["sets"][number]["pictures"])
    # The slot that is shown first has the median score, the lower of the two in the middle.
    shown = data["sets"][number]["scores"]
    assert shown[data["slot"]] == sorted(shown)[(len(shown) - 1) // 2]
    assert data["condition"] == "none-100"


# ---- Lineage


def brute_force(made, cell):
    """Real images that a model descends from, by following every image back on its own: trained on, and sources."""
    by_id = {record.id: record for record in [*made.real, *made.start]}
    direct, sources, left = set(), set(), [cell]
    while left:
        current = left.pop()
        chained = made.chains[current]
        left += chained[: chained.index(current)]
        for row in made.mixes[current]:
            if row.origin == "real":
                direct.add(row.id)
            sources |= {parent for parent in row.parents if by_id[parent].origin == "real"}
    return direct, sources - direct


def test_lineage_is_that_of_following_every_image_back(made, data):
    assert set(data["models"]) == {cell.path for cell in made.cells}
    for cell in made.cells:
        model = data["models"][cell.path]
        direct, sources = brute_force(made, cell)
        assert (model["direct"], model["sources"], model["whole"]) == (len(direct), len(sources), True)
        assert model["ancestors"] == "".join(
            "2" if r.id in direct else "1" if r.id in sources else "0" for r in made.real
        )
        assert model["rows"] == len(made.slots)
        assert model["real"] == sum(row.origin == "real" for row in made.mixes[cell])
        assert [[row[0] for row in rows] for rows in model["slots"]] == [[row.id] for row in made.mixes[cell]]


def test_healing_goes_on_from_what_it_heals():
    condition = Condition(ARMS[2], "100")
    assert [(cell.control, cell.iteration) for cell in chain(ARMS, condition, 0)] == [
        ("none", 1), ("none", 2), ("none", 3), ("heal", 4), ("heal", 5),
    ]  # fmt: skip


def generated(name, iteration, *parents):
    return Record(name, "", "g", "g/0", "generated", iteration, parents)


def test_a_chain_that_another_feeds_descends_from_both():
    real = [Record(f"real/{number}", "", "g", "g/0", "real") for number in range(3)]
    a, b = ([Cell(name, "50", 0, iteration) for iteration in (1, 2)] for name in "ab")
    manifests = {
        a[0]: [real[0]], b[0]: [real[1], generated("base/seed-0/initial_images/g/0", 0, "real/2")],
        a[1]: [generated(f"{b[0].path}/samples/g/0", 1)], b[1]: [generated(f"{b[0].path}/samples/g/0", 1)],
    }  # fmt: skip
    found = trained(manifests, [a, b], real)
    assert found[a[1]].ancestry.direct == {"real/0", "real/1"}
    assert found[a[1]].ancestry.sources == {"real/2"}
    assert found[b[1]].ancestry.direct == {"real/1"}
    # Of another seed's chain nothing is known here.
    elsewhere = {a[0]: [generated("c/ratio-50/seed-1/iteration-1/samples/g/0", 1), real[0]]}
    partly = trained(elsewhere, [a], real)[a[0]].ancestry
    assert (partly.direct, partly.is_whole) == ({"real/0"}, False)


def test_a_model_that_starts_anew_descends_from_what_it_was_trained_on_only():
    real = [Record(f"real/{number}", "", "g", "g/0", "real") for number in range(3)]
    chained = [Cell("none", "50", 0, iteration) for iteration in (1, 2, 3)]
    manifests = {
        chained[0]: [real[0]], chained[1]: [real[1]],
        chained[2]: [real[2], generated(f"{chained[1].path}/samples/g/0", 2)],
    }  # fmt: skip
    anew = trained(manifests, [chained], real, ["none"])
    assert anew[chained[1]].ancestry.direct == {"real/1"}
    # By what the model before drew.
    assert anew[chained[2]].ancestry.direct == {"real/1", "real/2"}
    assert trained(manifests, [chained], real)[chained[2]].ancestry.direct == {"real/0", "real/1", "real/2"}


def test_what_a_control_made_of_two_images_descends_from_the_real_one():
    real = [Record(f"real/{number}", "", "g", "g/0", "real") for number in range(2)]
    chained = [Cell("match", "100", 0, iteration) for iteration in (1, 2)]
    manifests = {
        chained[0]: [generated(f"{chained[0].path}/curated/g/0", 0, "base/seed-0/initial_images/g/0", "real/1")],
        chained[1]: [generated(f"{chained[1].path}/curated/g/0", 1, f"{chained[0].path}/samples/g/0", "real/1")],
    }
    others = [*real, generated("base/seed-0/initial_images/g/0", 0, "real/0")]
    found = trained(manifests, [chained], others)
    assert found[chained[1]].ancestry.sources == {"real/0", "real/1"}
    assert found[chained[1]].ancestry.is_whole


# ---- The figure


def test_points_lie_where_their_numbers_are(made):
    points = table_of(made.folder / "figures/figure-3.csv")
    found = chart(points)
    assert [panel.title for panel in found.panels] == ["Fréchet distance (tiny-clip)", "CLIP score"]
    for panel, scale in zip(found.panels, (np.log, np.asarray)):
        mine = [point for point in points if point["panel"] == panel.title and point["kind"] != "floor"]
        marks = [mark for line in panel.lines for mark in line.marks]
        assert len(marks) == len(mine)
        values = [
            scale(float(re.search(r"iteration \d+: (\S+)", mark.title)[1].replace("\u2212", "-"))) for mark in marks
        ]
        heights = [mark.y for mark in marks]
        assert np.corrcoef(values, heights)[0, 1] == pytest.approx(-1, abs=1e-3)
        assert all(TOP <= height <= BOTTOM for height in heights)
    assert TOP < found.panels[0].floor < BOTTOM
    assert found.panels[1].floor is None


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e5), st.booleans())
def test_an_axis_has_some_ticks_within_it(low, factor, logarithmic):
    found = ticks(low, low * factor, logarithmic)
    assert 2 <= len(found) <= 8
    assert found == sorted(found)
    assert all(low * (1 - 1e-9) <= tick <= low * factor * (1 + 1e-9) for tick in found)


@pytest.mark.parametrize("column", ["value", "low", "high"])
@pytest.mark.parametrize("what", ["inf", "nan", "-inf"])
def test_what_no_axis_has_is_told_by_the_table_only(made, column, what):
    points = [dict(point) for point in table_of(made.folder / "figures/figure-3.csv")]
    places = [[(mark.x, mark.y) for line in panel.lines for mark in line.marks] for panel in chart(points).panels]
    points[1][column] = what
    found = chart(points)
    marks = [mark for panel in found.panels for line in panel.lines for mark in line.marks]
    assert len(marks) == sum(map(len, places)) - (column == "value")
    assert all(math.isfinite(each) for mark in marks for each in (mark.y, mark.low or 0, mark.high or 0))
    assert what in {cell.raw for row in found.table for cell in row[3:]}
    # One point alone, whose interval is useless.
    assert chart([points[0] | {"high": "inf"}]).panels[0].y_ticks


def test_an_interval_much_wider_than_the_lines_are_apart_is_cut_at_the_edge(made):
    points = [dict(point) for point in table_of(made.folder / "figures/figure-3.csv")]
    points[1]["low"], points[2]["high"] = "0.0001", "1e9"
    (panel, _) = chart(points).panels
    heights = [mark.y for line in panel.lines for mark in line.marks]
    assert max(heights) - min(heights) > 0.35 * (BOTTOM - TOP)
    ends = [end for line in panel.lines for mark in line.marks for end in (mark.low, mark.high)]
    # To the margin of the axis, and with no interval lost.
    assert TOP <= min(ends) < TOP + 0.05 * (BOTTOM - TOP)
    assert BOTTOM - 0.05 * (BOTTOM - TOP) < max(ends) <= BOTTOM
