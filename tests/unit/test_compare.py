"""What differs between two experiments: rules against scipy's tests and against effects, and what is told of it."""

import csv
import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT
from nepotism.data.jackknife import LeftOut, standard_error
from nepotism.data.tables import BLOCK_COLUMNS, COLUMNS, Row, write_scores
from nepotism.judge.contrasts import effect_of
from nepotism.judge.decisions import combined
from nepotism.share.compare_scores import compare_scores, corrected
from nepotism.share.differences import settings, verdicts
from nepotism.share.provenance import flat, versions
from nepotism.share.score_tables import read_pair
from scipy import stats

CONFIG = {
    "experiment": "one",
    "seeds": [0, 1, 2],
    "arms": [{"name": "none", "ratios": [0, 100]}, {"name": "heal", "ratios": [100]}],
    "model": {"family": "diffusion"},
    "reference": {"source": "portraits"},
    "finetune": {"epochs": 2},
    "execution": {"threads": 1},
}
PROVENANCE = {"revision": "abc", "libraries": {"torch": "2.0"}, "stage_versions": {"score": 4}}


def row(value, seed=0, metric="fid", **others):
    named = {"control": "none", "ratio": "100", "iteration": 1, "set": "samples", "features": "clip"}
    plain = {"sd": None, "se": None, "ci_low": None, "ci_high": None, "n": 60, "left_out": None}
    return Row(**{"experiment": "one", **named, **plain, "seed": seed, "metric": metric, "value": value, **others})


def write(folder, rows, config=CONFIG, claims=(), provenance=PROVENANCE):
    tables = folder / "tables"
    write_scores(tables / "metrics.csv", tables / "jackknife.csv", rows)
    (folder / "config.json").write_text(json.dumps(config))
    lines = [dict(zip(("claim", "statement", "verdict", "statistic"), each)) for each in claims]
    with open(tables / "claims.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["claim", "statement", "source", "verdict", "statistic", "kid", "note"])
        writer.writeheader()
        writer.writerows(lines)
    cell = folder / "none" / "ratio-100" / "seed-0" / "iteration-1"
    cell.mkdir(parents=True)
    (cell / "metrics.json").write_text(json.dumps({"rows": [], "provenance": provenance}, indent=1))
    return folder


@pytest.fixture
def compared(tmp_path):
    """Comparison of two lists of rows."""

    def compare(a, b):
        folders = [write(tmp_path / name, rows) for name, rows in (("a", a), ("b", b))]
        return compare_scores(read_pair(*folders))

    return compare


def left_out(generator, value, images=(10, 10, 12)):
    return LeftOut(images, tuple(float(value + each) for each in generator.normal(0, 0.1, len(images))))


def told(difference):
    return difference.b - difference.a, (difference.high - difference.low) / 2, difference.p


def wanted(test):
    interval = test.confidence_interval(0.95)
    return (interval.high + interval.low) / 2, (interval.high - interval.low) / 2, test.pvalue


def test_seeds_in_common_are_paired(compared):
    generator = np.random.default_rng(0)
    a = generator.normal(5, 1, 5)
    b = a + generator.normal(0.3, 0.1, 5)
    (found,) = compared(
        [row(value, seed) for seed, value in enumerate(a)], [row(value, seed) for seed, value in enumerate(b)]
    ).tested
    assert (found.rule, found.seeds) == ("paired", 5)
    assert told(found) == pytest.approx(wanted(stats.ttest_rel(b, a)))
    assert found.differs
    assert found.q == found.p


def test_other_seeds_are_not(compared):
    generator = np.random.default_rng(1)
    a, b = generator.normal(5, 1, 4), generator.normal(6, 3, 6)
    # One seed in common makes no pairs.
    (found,) = compared(
        [row(value, seed) for seed, value in enumerate(a)], [row(value, 3 + seed) for seed, value in enumerate(b)]
    ).tested
    assert (found.rule, found.seeds) == ("welch", 10)
    assert told(found) == pytest.approx(wanted(stats.ttest_ind(b, a, equal_var=False)))


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("blocks", ["alike", "other", "none"])
def test_one_or_two_seeds_are_compared_as_effects_within_the_run(compared, seeds, blocks):
    generator = np.random.default_rng(2)
    images = {"alike": (10, 10, 12), "other": (16, 16), "none": (10, 10, 12)}[blocks]

    def rows(value, images):
        for seed in range(seeds):
            blocked = left_out(generator, value, images)
            error = standard_error(value, blocked)
            if blocks == "none":
                yield row(value, seed, "clip_score", sd=1.5, se=error)
            else:
                yield row(value, seed, se=error, left_out=blocked)

    a, b = list(rows(5.0, (10, 10, 12))), list(rows(5.3, images))
    (found,) = compared(a, b).tested
    terms = [(1 / seeds, effect_of(each)) for each in b] + [(-1 / seeds, effect_of(each)) for each in a]
    effect = combined(terms)
    half = stats.t(effect.df).ppf(0.975) * effect.se
    p = 2 * stats.t(effect.df).sf(abs(effect.value) / effect.se)
    assert found.rule == "within"
    assert found.seeds == seeds
    assert told(found) == pytest.approx((effect.value, half, p))


def test_what_no_seed_changes_is_compared_within(compared):
    """The floor, of real images against others, is the same for every seed: between seeds it has no spread."""
    blocked = LeftOut((10, 10, 10), (1.0, 1.3, 1.1))
    other = LeftOut((10, 10, 10), (2.0, 2.1, 2.2))
    a = [row(1.1, seed, se=0.1, left_out=blocked) for seed in range(3)]
    b = [row(2.0, seed, se=0.1, left_out=other) for seed in range(3)]
    (found,) = compared(a, b).tested
    effect = effect_of(b[0]) - effect_of(a[0])
    assert found.rule == "within"
    assert told(found)[1] == pytest.approx(stats.t(2).ppf(0.975) * effect.se)


def test_what_cannot_be_compared_is_counted(compared):
    found = compared(
        [
            *[row(1.0, seed, "fid") for seed in range(3)],
            row(2.0, 0, "recall"),
            row(3.0, 0, "kid", se=0.1, n=60),
            row(50.0, 0, "clip_score", sd=5.0, se=0.6, n=60),
            row(0.9, 0, "coverage", left_out=LeftOut((30, 30), (0.9, 0.9)), se=0.0),
            row(4.0, 7, "density", se=0.1),
            row(5.0, 0, "precision", control="heal"),
        ],
        [
            *[row(1.0 + 1e-9, seed, "fid") for seed in range(3)],
            row(2.5, 0, "recall"),
            row(3.0, 0, "kid", se=0.1, n=90),
            row(51.0, 0, "clip_score", sd=5.0, se=0.5, n=90),
            row(0.5, 0, "coverage", left_out=LeftOut((30, 30), (0.5, 0.5)), se=0.0),
            row(4.0, 8, "density", se=0.1),
            row(5.0, 0, "vendi"),
        ],
    )
    # A mean does not depend on the number of images, a distance does.
    assert [each.what["metric"] for each in found.tested] == ["clip_score"]
    assert (found.same, found.other_n, found.untested, found.only) == (1, 1, 3, (1, 1))
    assert found.only_arms == (["heal"], [])


def test_an_experiment_equals_itself(compared):
    rows = [row(float(seed), seed, metric) for seed in range(3) for metric in ("fid", "kid")]
    found = compared(rows, rows)
    assert (list(found.tested), found.same, found.only) == ([], 2, (0, 0))


def test_correction_is_that_of_benjamini_and_hochberg():
    p = np.random.default_rng(3).uniform(0, 1, 40) ** 3
    assert corrected(p) == pytest.approx(stats.false_discovery_control(p, method="bh"))
    assert not len(corrected(np.zeros(0)))


def test_as_many_differ_by_chance_as_is_told(compared):
    generator = np.random.default_rng(4)
    count = 4000

    def rows():
        return [
            row(value, seed, f"m{metric}")
            for seed in range(4)
            for metric, value in enumerate(generator.normal(0, 1, count))
        ]

    found = compared(rows(), rows()).tested
    share = sum(each.differs for each in found) / count
    assert abs(share - 0.05) < 4 * math.sqrt(0.05 * 0.95 / count)
    assert sum(each.survives for each in found) <= 1


# ---- Settings, versions, claims


def test_settings_are_told_by_nested_keys():
    other = {
        **CONFIG,
        "experiment": "two",
        "arms": [{"name": "none", "ratios": [0, 50]}, {"name": "feed", "ratios": [100]}],
        "finetune": {"epochs": 3, "ema": 0.9},
        "execution": {"threads": 2},
        "reference": {"source": "digits"},
    }
    found = {each.key: each for each in settings(CONFIG, other)}
    assert {key: (each.a, each.b) for key, each in found.items()} == {
        "arms.none.ratios": ("[0, 100]", "[0, 50]"),
        "arms.heal": ('{"name": "heal", "ratios": [100]}', "(not there)"),
        "arms.feed": ("(not there)", '{"name": "feed", "ratios": [100]}'),
        "reference.source": ('"portraits"', '"digits"'),
        "finetune.epochs": ("2", "3"),
        "finetune.ema": ("(not there)", "0.9"),
        "experiment": ('"one"', '"two"'),
        "execution.threads": ("1", "2"),
    }
    assert [key for key, each in found.items() if each.measures] == ["reference.source"]
    assert [*found][-2:] == [key for key, each in found.items() if each.idle] == ["experiment", "execution.threads"]


def test_claims_are_known_by_their_words():
    def claim(number, statement, verdict):
        return {"claim": number, "statement": statement, "verdict": verdict, "statistic": ""}

    a = [
        claim("1", "flat", "holds"),
        claim("9", "healing recovers (from 25 % after iteration 3)", "holds"),
        claim("17", "the arm x", "undecided"),
    ]
    b = [
        claim("1", "flat", "does not hold"),
        claim("9", "healing recovers (from 50 % after iteration 3)", "holds"),
        claim("17", "the arm w", "holds"),
        claim("18", "the arm x", "holds"),
    ]
    found = verdicts(a, b)
    assert [(each.claim, each.a, each.b) for each in found] == [
        ("1", "holds", "does not hold"),
        ("9", "holds", "holds"),
        ("17/18", "undecided", "holds"),
    ]
    assert [each.flipped for each in found] == [True, False, False]


def nested(provenance):
    return {key: str(value) for key, value in flat(provenance)}


def told_by(path):
    """What one cell says, by nested keys."""
    return {key: value for key, counted in versions([path]).items() for value in counted}


def test_the_end_of_a_large_file_of_scores_is_enough(tmp_path):
    folder = write(tmp_path / "a", [row(1.0)])
    (path,) = folder.rglob("metrics.json")
    assert told_by(path) == nested(PROVENANCE)
    text = json.dumps({"rows": [{"metric": "m" * 20_000}], "provenance": PROVENANCE}, indent=1)
    path.write_text(text + "\n")
    assert told_by(path) == nested(PROVENANCE)
    # Of more libraries than the end holds.
    many = {**PROVENANCE, "libraries": {f"library-{number}": "1" for number in range(1000)}}
    path.write_text(json.dumps({"rows": [], "provenance": many}, indent=1))
    assert told_by(path) == nested(many)


# ---- The command


def compare(*arguments):
    command = [sys.executable, "scripts/compare.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_it_prints_what_differs_and_writes_all_of_it(tmp_path):
    generator = np.random.default_rng(5)
    noise = generator.normal(0, 0.01, (2, 4))
    a = [row(5 + noise[0, seed], seed) for seed in range(4)] + [row(0.9, 0, "recall")]
    b = [row(7 + noise[1, seed], seed) for seed in range(4)] + [row(0.8, 0, "recall")]
    claims = [("1", "flat", "holds", "x = 1"), ("2", "degrades", "undecided", "y = 2")]
    folders = [
        write(tmp_path / "a", a, claims=claims),
        write(
            tmp_path / "b",
            b,
            {**CONFIG, "reference": {"source": "digits"}},
            [("1", "flat", "does not hold", "x = 3"), claims[1]],
            {**PROVENANCE, "revision": "def"},
        ),
    ]
    code, printed, error = compare(*folders, "--csv", tmp_path / "all.csv")
    assert code == 0, error
    for line in (
        '  reference.source  "portraits" -> "digits"',
        "  revision  abc -> def",
        "scores are not of one scale: reference.source differs",
        "scores with an interval of their difference: 1",
        "  1 more have no interval",
        "differ, each by its own 95 % interval: 1; 0 would by chance if nothing differed",
        "none 100 %, iteration 1, samples: clip fid (b worse)",
        "claims that both judge: 2; another verdict: 1, of which flipped: 1",
        "      1  holds -> does not hold: flat",
    ):
        assert line in printed
    assert len(printed.splitlines()) <= 40
    with open(tmp_path / "all.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [each["kind"] for each in rows] == ["setting", "version", *["claim", "effects"] * 2, "score"]
    assert rows[-1]["rule"] == "paired"
    assert float(rows[-1]["difference"]) == pytest.approx(2, abs=0.05)
    assert float(rows[-1]["ci_low"]) < 2 < float(rows[-1]["ci_high"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "tables/metrics.csv").unlink(), "there is no {folder}/tables/metrics.csv; give"),
        (lambda folder: (folder / "tables/metrics.csv").write_text("a,b\n1,2\n"), "metrics.csv is no table of scores"),
        (lambda folder: (folder / "tables/jackknife.csv").write_text("no"), "jackknife.csv is no table of scores"),
        (lambda folder: (folder / "config.json").unlink(), "there is no {folder}/config.json; give"),
        (lambda folder: (folder / "config.json").write_text("{"), "{folder}/config.json: no JSON"),
        (lambda folder: next(folder.rglob("metrics.json")).write_text("{}"), "no scores with their provenance"),
        (lambda folder: (folder / "tables/claims.csv").write_text("claim\n1\n"), "claims.csv is no table of claims"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(tmp_path, change, told):
    a, b = (write(tmp_path / name, [row(1.0, se=0.1)]) for name in "ab")
    change(b)
    code, _, error = compare(a, b)
    assert code == 2
    assert told.format(folder=b) in error
    assert len(error.strip().splitlines()) == 1


def slowness():
    """How much slower than undisturbed this machine is now: others work on it too."""
    began = time.process_time()
    sum(range(10_000_000))
    return max(1.0, (time.process_time() - began) / 0.12)


def test_three_thousand_cells_take_less_than_two_seconds_of_this_machine(tmp_path):
    """Of a processor's time. Each cell has as many scores as one of the default."""
    generator = np.random.default_rng(6)
    cells = [(ratio, seed, iteration) for seed in range(4) for ratio in range(75) for iteration in range(1, 11)]
    for name in "ab":
        folder = write(tmp_path / name, [])
        scores, blocks = [",".join(COLUMNS)], [",".join(BLOCK_COLUMNS)]
        text = next(folder.rglob("metrics.json")).read_text()
        for ratio, seed, iteration in cells:
            place = folder / "none" / f"ratio-{ratio}" / f"seed-{seed}" / f"iteration-{iteration}"
            place.mkdir(parents=True, exist_ok=True)
            (place / "metrics.json").write_text(text)
            for metric, value in enumerate(generator.normal(0, 1, 32).tolist()):
                named = f"one,none,{ratio},{seed},{iteration},samples,clip,m{metric}"
                scores.append(f"{named},{value},,0.1,,,60")
                blocks += [f"{named},{block},20,{value + block}" for block in range(3)]
        for file, lines in (("metrics", scores), ("jackknife", blocks)):
            (folder / "tables" / f"{file}.csv").write_text("\n".join(lines) + "\n")
    limit, before = 2 * slowness(), os.times()
    code, printed, error = compare(tmp_path / "a", tmp_path / "b")
    spent = os.times()
    assert code == 0, error
    assert "24000 paired by seed" in printed
    seconds = spent.children_user + spent.children_system - before.children_user - before.children_system
    assert seconds < limit, seconds


def test_it_imports_no_torch():
    names = "('torch', 'diffusers', 'scipy.stats', 'pandas')"
    loaded = (
        f"import sys; sys.path.insert(0, 'scripts'); import compare; print([m for m in {names} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
