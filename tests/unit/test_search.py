"""The search for the ratio at which collapse begins: bisection by made-up tables, its settings, forecasts and states; mistakes."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from nepotism.data.tables import Row, write_metrics
from nepotism.experiment.cells import Cell, canonical_ratio
from nepotism.experiment.search import ABOVE, BELOW, BETWEEN, ROUNDS, SEARCHING, Round, Search, read_round, rounds
from nepotism.judge.bisection import judged, theta
from nepotism.judge.contrasts import DELTA
from nepotism.plan.engines import baseline
from nepotism.plan.forecast import forecast
from nepotism.plan.searching import at_most, follow, told
from nepotism.plan.settings import checks_of_reference, settings
from nepotism.plan.status import cell_statuses
from nepotism.plan.thresholds import mapped
from nepotism.runtime.errors import UserError
from test_config import grid_of, mistakes

FULL = {"search": [0, 100], "until": 5}


def arm(ratios=FULL, name="none", **others):
    return {"name": name, "ratios": ratios, **others}


def found_by(search, effect):
    """The rounds of a whole search where mean theta is a function of the ratio."""
    known = [judged(search, None, {end: effect(float(end)) for end in search.ends if end != "0"})]
    while known[-1].next:
        known.append(judged(search, known[-1], {known[-1].next: effect(float(known[-1].next))}))
    return known


@pytest.mark.parametrize("search", [Search(0, 100, 5), Search(3.3, 50, 1), Search(10, 90, 0.1), Search(0, 1, 0.3)])
def test_a_search_ends_around_the_ratio_at_which_theta_crosses_delta(search):
    random = np.random.default_rng(0)
    for _ in range(20):
        at = random.uniform(search.low, search.high)
        *_, last = known = found_by(search, lambda ratio, at=at: DELTA * (ratio / at) ** 2)
        assert float(last.low) <= at + 1e-4
        assert at - 1e-4 < float(last.high)
        assert last.outcome == BETWEEN
        assert float(last.high) - float(last.low) <= search.until + 1e-4
        assert len(known) - 1 <= search.most
        assert all(each.outcome == SEARCHING for each in known[:-1])
        assert all(search.may_ask(ratio) for ratio, _ in last.tried)


def test_what_halving_asks_for_is_that_and_nothing_else():
    search = Search(0, 100, 5)
    assert (search.most, search.ends) == (5, ("0", "100"))
    assert [each.next for each in found_by(search, lambda ratio: DELTA * ratio / 30)] == [
        "50",
        "25",
        "37.5",
        "31.25",
        "28.125",
        None,
    ]
    assert search.longest() == ("50", "25", "12.5", "6.25", "3.125")
    possible = {canonical_ratio(step * 3.125) for step in range(33)}
    assert {ratio for ratio in possible if search.may_ask(ratio)} == possible
    assert not any(search.may_ask(ratio) for ratio in ("1.5625", "33", "3.3", "101", "99"))
    assert Search(0, 100, 100 / 2**4).most == 4
    assert Search(0, 100, 99).most == 1


def test_a_search_ends_at_once_where_no_ratio_exceeds_or_the_lower_end_does():
    search = Search(10, 50, 5)
    assert found_by(search, lambda ratio: DELTA)[-1] == Round("10", "50", None, ABOVE, (("10", DELTA), ("50", DELTA)))
    (only,) = found_by(search, lambda ratio: 2 * DELTA)
    assert (only.outcome, only.low, only.next) == (BELOW, "10", None)
    # Where collapse does not grow with the ratio, what is said is true all the same.
    (only,) = found_by(search, lambda ratio: 1.0 if ratio < 50 else 0.0)
    assert (only.outcome, only.tried) == (BELOW, (("10", 1.0), ("50", 0.0)))
    # Exactly delta does not exceed, as in claims.
    assert found_by(search, lambda ratio: DELTA if ratio < 50 else 1.0)[-1].low == "45"


def row(ratio, seed, value, iteration=3, features="clip", name="samples", control="none"):
    return Row("x", control, ratio, seed, iteration, name, features, "fid", value, *[None] * 4, 90)


def test_the_mean_over_seeds_of_the_contrast_with_0_percent_decides():
    real = [row("0", 0, 10.0), row("0", 1, 20.0), row("0", 0, 99.0, iteration=1), row("0", 0, 99.0, features="conv")]
    cells = [
        row("50", 0, 20.0),
        row("50", 1, 20.0),
        row("50", 0, 99.0, name="unseen"),
        row("100", 0, 40.0),
        row("100", 1, 80.0),
    ]
    found = theta(cells, real, "fid", "clip", 3)
    assert found == {"50": pytest.approx(math.log(2) / 2), "100": pytest.approx(math.log(4))}


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([row("50", 0, 20.0)], "fid of 50 %, iteration 3 has no row at some seed"),
        ([row("50", 0, 20.0), row("50", 1, 0.0)], "fid of none 50 %, seed 1, iteration 3 is 0, which has no logarithm"),
        ([row("50", 0, 20.0), row("50", 2, 1.0)], "fid of 0 % at seed 2, iteration 3 has no row"),
    ],
)
def test_what_cannot_be_judged_is_told_and_not_made_up(cells, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        theta(cells, [row("0", 0, 10.0), row("0", 1, 10.0)], "fid", "clip", 3)


def test_without_any_score_at_0_percent_nothing_is_judged():
    with pytest.raises(UserError, match=r"fid of 0 %, iteration 3 has no row at any seed"):
        theta([row("50", 0, 20.0, features="conv")], [row("0", 0, 10.0, features="conv")], "fid", "clip", 3)


# ---- By the command


def run_round(folder, number, ratio, value):
    """One round of `scripts/search.py`, on scores of two seeds."""
    files = {}
    for name, at in (("real", "0"), ("cells", ratio)):
        files[name] = [folder / f"{name}-{ratio}-{seed}.json" for seed in (0, 1)]
        for seed, file in enumerate(files[name]):
            write_metrics(file, [row(at, seed, 10.0 if name == "real" else 10.0 * math.exp(value))])
    previous = [] if number == 1 else ["--previous", folder / f"round-{number - 1}.json"]
    words = (
        "--low", 0, "--high", 100, "--until", 30, "--metric", "fid", "--features", "clip", "--iteration", 3,
        *previous, "--real", *files["real"], "--cells", *files["cells"], "--output", folder / f"round-{number}.json",
    )  # fmt: skip
    made = subprocess.run(
        [sys.executable, "scripts/search.py", *map(str, words)], cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr


def test_rounds_follow_each_other_by_their_files(tmp_path):
    folder = tmp_path / ROUNDS / "none"
    folder.mkdir(parents=True)
    for number, (ratio, value) in enumerate((("100", 1.0), ("50", 0.0), ("75", 0.5)), 1):
        run_round(folder, number, ratio, value)
    known = rounds(tmp_path, "none")
    assert [each.next for each in known] == ["50", "75", None]
    assert known[-1] == read_round(folder / "round-3.json")
    assert (known[-1].low, known[-1].high, known[-1].outcome) == ("50", "75", BETWEEN)
    assert [ratio for ratio, _ in known[-1].tried] == ["100", "50", "75"]
    written = json.loads((folder / "round-3.json").read_text())
    assert [each["exceeds"] for each in written["tried"]] == [True, False, True]


# ---- In the grid


def written(folder, *asked, outcome=SEARCHING, name="none"):
    """Rounds of an experiment's results, each asking for a ratio, or for none."""
    place = folder / ROUNDS / name
    place.mkdir(parents=True, exist_ok=True)
    for number, ratio in enumerate(asked, 1):
        state = {
            "low": "0",
            "high": "100",
            "next": ratio,
            "outcome": outcome if ratio is None else SEARCHING,
            "tried": [],
        }
        (place / f"round-{number}.json").write_text(json.dumps(state))


def test_a_grid_has_the_ends_of_a_search_and_what_it_has_asked_for(tmp_path):
    grid = grid_of(arms=[arm()], seeds=[0, 1], iterations=2)
    assert grid.arms[0].ratios == ("0", "100")
    assert len(grid.cells()) == len(grid.certain_cells()) == 2 * 2 * 2
    written(tmp_path, "50", "25")
    follow(grid, tmp_path)
    assert grid.ratios_of(grid.arms[0]) == ["0", "25", "50", "100"]
    assert len(grid.cells()) == 4 * 2 * 2
    assert len(grid.certain_cells()) == 2 * 2 * 2
    # Any ratio that a search may come to is a cell that one can ask for.
    assert grid.parent(Cell("none", "37.5", 0, 2)) == Cell("none", "37.5", 0, 1)
    with pytest.raises(
        ValueError, match="'none' has no ratio 33; its `ratios` are: 0, 100, and what halving between them asks for"
    ):
        grid.parent(Cell("none", "33", 0, 1))
    # What comes after the end of a search is of an earlier one.
    written(tmp_path, "50", None, outcome=BETWEEN)
    written(tmp_path / "later", "50")
    assert follow(grid, tmp_path).ratios_of(grid.arms[0]) == ["0", "50", "100"]


def test_a_search_is_decided_in_the_first_feature_space_at_the_arms_last_iteration():
    grid = grid_of(arms=[arm(iterations=2)], score={"features": ["conv", "clip"]})
    told_to = settings(grid, "search", grid.arms[0])
    assert told_to == "--features conv --high 100.0 --iteration 2 --low 0.0 --metric fid --stage-version 2 --until 5.0"
    assert mapped(grid) == [(grid.arms[0], grid.arms[0])]
    assert baseline(grid, grid.arms[0]) is grid.arms[0]
    # What the search may come to must give an image.
    assert "--ratios 0 3.125 100" in checks_of_reference(grid)


def test_a_search_is_judged_by_a_0_percent_that_goes_as_far():
    arms = [
        arm([0, 100], iterations=1),
        arm([0, 100], "more", iterations=3),
        arm({"search": [10, 90], "until": 5}, "fine", iterations=3),
    ]
    assert [(each.name, plain.name) for each, plain in mapped(grid_of(arms=arms))] == [("fine", "more")]


def test_a_search_leaves_settings_of_all_stages_as_those_of_a_list():
    searching, listed = grid_of(arms=[arm()]), grid_of(arms=[arm([0, 100])])
    for stage in ("mix", "finetune", "sample", "score", "claims", "figure_3", "initial_images", "reference"):
        assert settings(searching, stage, searching.arms[0], 1) == settings(listed, stage, listed.arms[0], 1)


def test_the_forecast_is_of_the_most_that_a_search_can_need():
    grid = at_most(grid_of(arms=[arm()], seeds=[0, 1, 2], iterations=3))
    assert forecast(grid, 30).cells == (2 + 5) * 3 * 3
    assert math.ceil(math.log2(100 / 5)) == grid.arms[0].search.most == 5


def test_a_state_tells_how_far_a_search_has_come(tmp_path):
    grid = grid_of(arms=[arm()], seeds=[0], iterations=1)
    searched = grid.arms[0]
    assert told(searched, []) == "none: searches between 0 and 100 %, which are run first; 5 more ratios at most"
    written(tmp_path, "50")
    assert "50 % is next, ratio 1 of 5 at most" in told(searched, rounds(tmp_path, "none"))
    assert {status.cell.ratio for status in cell_statuses(follow(grid, tmp_path), tmp_path)} == {"0", "50", "100"}
    for outcome, words in ((ABOVE, "no collapse up to 100 %"), (BELOW, "collapse at 0 % already")):
        written(tmp_path, None, outcome=outcome)
        assert told(searched, rounds(tmp_path, "none")) == f"none: searched: {words}"
    written(tmp_path, None, outcome=BETWEEN)
    assert (
        told(searched, rounds(tmp_path, "none"))
        == "none: searched: collapse begins between 0 and 100 % (mean of seeds)"
    )


# ---- Mistakes

OTHER = {"finetune": {"epochs": 1}}


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ([arm({"search": [50, 50], "until": 5})], "`arms[0].ratios.search`: 50 is not below 50"),
        ([arm({"search": [100, 0], "until": 5})], "`arms[0].ratios.search`: 100 is not below 0"),
        ([arm({"search": [0, 10], "until": 10})], "`arms[0].ratios.until`: 10 is not below 10, the width of `search`"),
        ([arm({"search": [0, 101], "until": 5})], "`arms[0].ratios.search[1]`: 101 is out of range; allowed: 0 to 100"),
        ([arm({"search": [0, 100], "until": 0})], "`arms[0].ratios.until`: 0 is out of range; allowed: 0.1 to 100"),
        ([arm({"search": [0, 100]})], "`arms[0].ratios.until`: missing"),
        ([arm({"serch": [0, 100], "until": 5})], "`arms[0].ratios.serch`: unknown key; did you mean `search`?"),
        ([arm(25)], "`arms[0].ratios`: 25 is of the wrong type; expected array or object; write [25]"),
        ([arm(regime="augment", name="more")], "only the plain mixture's ratio is searched for, and of augment it means something else"),
        (
            [arm([0, 100]), arm(name="match", control="histogram_match")],
            "`arms[1].ratios`: arms with a control are judged at each of their ratios, and not searched",
        ),
        ([arm({"search": [10, 100], "until": 5})], "collapse is judged against 0 % of the same settings, which no arm has"),
        (
            [arm([0, 100]), arm({"search": [10, 100], "until": 5}, "quick", overrides=OTHER)],
            "`arms[1].ratios.search`: collapse is judged against 0 % of the same settings",
        ),
        (
            [arm(), {"name": "heal", "regime": "heal", "ratios": [25], "parameters": {"after": 1, "iterations": 1}}],
            "heal goes on from the arm 'none', which has no ratio 25; of those that it searches, only 0 and 100 are sure to be run",
        ),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_is_told_why(arms, words):
    assert words in mistakes(arms=arms)


def test_searches_that_can_be():
    plain = arm([0, 100])
    heal = {"name": "heal", "regime": "heal", "ratios": [100], "parameters": {"after": 1, "iterations": 1}}
    for arms in (
        [arm(), heal],
        [plain, arm({"search": [10, 90], "until": 5}, "fine")],
        [plain, arm(name="quick", overrides=OTHER)],
    ):
        grid_of(arms=arms)
