"""A made-up experiment in files, for tests of the page: its scores mean nothing, and everything about it is known."""

import argparse
import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from nepotism.data.cost import Cost
from nepotism.data.images import Record, write_image_set, write_manifest
from nepotism.data.tables import COLUMNS, Row, provenance, write_csv
from nepotism.experiment.cells import Cell
from nepotism.judge.threshold import BETWEEN, INTERVAL, Threshold
from nepotism.judge.verdicts import Claim
from nepotism.measure.embeddings import Embedded, write_embedded
from nepotism.page.conditions import Condition, PlannedArm, chain

DETAILS = ["claim", "features", "statistic", "relation", "bound", "value", "ci90_low", "ci90_high", "seeds", "verdict", "kid",
           "excess", "excess_low", "excess_high"]  # fmt: skip
PROFILE = ["control", "ratio", "features", "aspect", "metric", "rate", "ci_low", "ci_high", "unit", "difference", "difference_low",
           "difference_high", "state", "definition", "seeds", "note"]  # fmt: skip
CURVES = ["panel", "metric", "kind", "control", "ratio", "iteration", "value", "low", "high", "seeds"]
REMEDIES = ["arm", "ratio", "iteration", "compared_with", "features", "share", "share_low", "share_high", "recall", "recall_low",
            "recall_high", "verdict", "drawn", "passes", "trained", "real", "seeds"]  # fmt: skip

# A caption that would break out of a page that believes it.
HOSTILE = "</script><script>document.title = 'broken'</script> & \"a\" portrait"

ARMS = (
    PlannedArm("none", "A ratio of generated rows.", ("0", "50", "100"), (1, 2, 3), "base"),
    PlannedArm("histogram_match", "Match colours.", ("100",), (1, 2, 3), "base"),
    PlannedArm("heal", "Goes on from a finished cell, on real rows only.", ("100",), (4, 5), "base", "none"),
)
CLAIMS = (
    Claim(1, "the scores stay flat", "paper", "holds", "", "agrees", ""),
    Claim(2, "every ratio degrades", "paper", "does not hold", "", "", ""),
    Claim(3, "the more, the worse", "ours", "holds (clip); undecided (conv)", "", "", ""),
    Claim(4, "the first iteration improves", "paper", "undecided", "", "", "a note <b>not bold</b>"),
    Claim(9, "healing recovers", "paper", "not run: branch not degraded", "", "", ""),
)


def parts():
    """Parts of the claims, as rows of claim_details.csv."""

    def part(claim, features, statistic, relation, bound, value, half, verdict):
        return [
            claim, features, statistic, relation, bound, value, value - half, value + half, 4, verdict, "",
            2 * value, 2 * value - abs(value), 2 * value + abs(value),
        ]  # fmt: skip

    yield part(1, "clip", "F(0,I) - b", "abs <", 0.22314355131420976, 0.05137974336676132, 0.1, "holds")
    yield part(2, "clip", "F(100,I) - F(0,I)", ">", 0.22314355131420976, 1.2345678, 0.4, "holds")
    yield part(2, "clip", "F(50,I) - F(0,I)", ">", 0.22314355131420976, -0.2, 0.1, "does not hold")
    yield part(2, "captions", "(C(0,I) - C(100,I)) / s", ">", 0.25, 1e-7, 2e-7, "undecided")
    yield part(3, "conv", "slope of F(r,I) on the rank of r", ">", 0.0, 0.7, 0.9, "undecided")
    yield [9, "clip", "F(heal,100,end) - b", "<", 0.223, "", "", "", 0, "not run", "", "", "", ""]


def images(groups, per_group, seed, side=64):
    """Coloured ovals before a background, a little noisy: uint8 (N, side, side, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    found = []
    for _ in range(groups * per_group):
        shape = (x * 1.4) ** 2 + (y * random.uniform(0.9, 1.3)) ** 2 < 0.12
        colours = random.uniform(0, 255, (2, 3))
        picture = np.where(shape[..., None], colours[0], colours[1]) + random.normal(0, 6, (side, side, 3))
        found.append(np.clip(picture, 0, 255).astype(np.uint8))
    return np.stack(found)


class MadeUp:
    """An experiment whose files are written below a folder.

    Args:
        folder: an empty one.
        groups, per_group: of slots.
        arms: its conditions.
        done: cells that have been run; all, if it is left out.
        side: of the images, in pixels.
    """

    def __init__(self, folder: Path, groups=3, per_group=2, arms=ARMS, done=None, seeds=(0, 1, 2, 3), side=64):
        self.folder, self.arms, self.seeds, self.per_group = folder, arms, seeds, per_group
        self.slots = [f"group-{g:02d}/{i:03d}" for g in range(groups) for i in range(per_group)]
        self.size, self.side = (groups, per_group), side
        conditions = [Condition(arm, ratio) for arm in arms for ratio in arm.ratios]
        self.cells = [cell for each in conditions for cell in each.cells(seeds[0])]
        if done is not None:
            self.cells = [cell for cell in self.cells if cell in done]
        self.chains = {cell: chain(arms, each, seeds[0]) for each in conditions for cell in each.cells(seeds[0])}
        self.real = self._set("reference/real.parquet", "real/made-up", "real", 0, 1)
        base = "base/seed-0"
        self.start = self._set(f"{base}/initial_images.parquet", f"{base}/initial_images", "generated", 0, 2, self.real)
        self.drawn = {None: self._set(f"{base}/samples.parquet", f"{base}/samples", "generated", 0, 3)}
        self._embed(folder / base, {"samples": self.drawn[None], "initial_images": self.start})
        self.mixes = {}
        for number, cell in enumerate(self.cells):
            self.drawn[cell] = self._set(
                f"{cell.path}/samples.parquet", f"{cell.path}/samples", "generated", cell.iteration, 10 + number
            )
            self._embed(folder / cell.path, {"samples": self.drawn[cell]})
            self.mixes[cell] = self._mix(cell)
        self._tables()

    def _set(self, file, name, origin, iteration, seed, parents=None):
        records = [
            Record(
                f"{name}/{slot}", HOSTILE if slot == self.slots[0] else f"a portrait of {slot}", slot.split("/")[0], slot, origin,
                iteration, (parents[index].id,) if parents else (),
            )
            for index, slot in enumerate(self.slots)
        ]  # fmt: skip
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image_set(path, images(*self.size, seed, self.side), records)
        return records

    def _embed(self, folder, sets):
        random = np.random.default_rng(0)
        write_embedded(
            folder / "embeddings.npz",
            {
                name: Embedded(
                    {"clip": np.zeros((len(records), 2), np.float32)},
                    {value: random.uniform(20, 60, len(records)) for value in ("clip_score", "saturation", "contrast")},
                    [record.group for record in records], [record.id for record in records],
                )
                for name, records in sets.items()
            },
        )  # fmt: skip

    def _mix(self, cell):
        """The first slots are generated, by the ratio; healing has none."""
        before = self.chains[cell][: self.chains[cell].index(cell)]
        generated = self.drawn[before[-1]] if before else self.start
        count = 0 if cell.control == "heal" else round(len(self.slots) * float(cell.ratio) / 100)
        rows = [generated[index] if index < count else self.real[index] for index in range(len(self.slots))]
        write_manifest(self.folder / cell.path / "mix.parquet", rows, ["file"] * len(rows))
        return rows

    def _tables(self):
        tables, random = self.folder / "tables", np.random.default_rng(5)
        tables.mkdir(exist_ok=True)
        scores = [
            Row("made-up", cell.control, cell.ratio, seed, cell.iteration, "samples", "clip", "fid", 30.0, None, None, None, None, 6)
            for seed in self.seeds for cell in self.cells
        ]  # fmt: skip
        write_csv(tables / "metrics.csv", [[getattr(row, name) for name in COLUMNS] for row in scores], COLUMNS)
        write_csv(tables / "claims.csv", CLAIMS, Claim)
        write_csv(tables / "claim_details.csv", list(parts()), DETAILS)
        write_csv(
            tables / "cost.csv", [Cost("finetune", 12, 1234.5678, 999.111, 861.36), Cost("mix", 3, 0.5, 0.0, 0.0)], Cost
        )
        profile = [
            [
                "none", ratio, features, aspect, metric, *random.normal(0, 2, 3), "per retraining", *random.normal(0, 2, 3), state,
                "Shumailov et al. <2024>", 4, "",
            ]
            for ratio in ("0", "100")
            for features in ("clip", "conv")
            for aspect, metric, state in (
                ("distance", "fid", "collapsed" if ratio == "100" else "stable"),
                ("diversity", "recall", "degrading"),
                ("alignment", "clip_score", "improving"),
            )
        ]  # fmt: skip
        profile += [
            [
                "none",
                "100",
                "",
                "colour",
                "contrast",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "Alemohammad et al.",
                4,
                "not everywhere",
            ]
        ]
        write_csv(tables / "profile.csv", profile, PROFILE)
        remedies = [
            [
                "oracle",
                "100",
                3,
                "none,100,3",
                "clip",
                0.51234,
                0.4,
                0.7,
                0.1,
                0.05,
                0.2,
                "holds",
                1.0,
                8.0,
                2.0,
                0.5,
                4,
            ]
        ]
        write_csv(tables / "remedies.csv", remedies, REMEDIES)
        thresholds = [
            Threshold("none", "clip", "fid", 3, str(seed), BETWEEN, ratio, 25.0, 100.0)
            for seed, ratio in zip(self.seeds, (30.0, 35.0, 40.0, 45.0), strict=False)
        ]
        thresholds.append(Threshold("none", "clip", "fid", 3, "", INTERVAL, 37.3, 28.4, 47.2))
        write_csv(tables / "threshold.csv", thresholds, Threshold)
        curves = [
            ["Fréchet distance (tiny-clip)", "fid", "heal" if arm.goes_on_from else "mixture", arm.name, ratio, iteration,
             value := float(20 + float(ratio) * iteration / 4), value * 0.9, value * 1.1, 4]
            for arm in self.arms for ratio in arm.ratios for iteration in (0, *arm.iterations)
        ]  # fmt: skip
        curves += [["Fréchet distance (tiny-clip)", "fid", "floor", "base", "", 0, 17.3, "", "", 1]]
        curves += [["CLIP score", "clip_score", *row[2:6], -row[6], "", "", 4] for row in curves if row[2] != "floor"]
        (self.folder / "figures").mkdir(exist_ok=True)
        write_csv(self.folder / "figures" / "figure-3.csv", curves, CURVES)
        (self.folder / "config.json").write_text(json.dumps({"experiment": "made-up", "note": HOSTILE}))
        (self.folder / "base/seed-0/metrics.json").write_text(json.dumps({"rows": [], "provenance": provenance()}))

    def arguments(self, **changes):
        """What `scripts/page.py` is given."""
        places = ["base/seed-0", *(cell.path for cell in self.cells)]
        tables = self.folder / "tables"
        given = {
            "experiment": "made-up", "family": None, "planned": list(self.arms), "replicates": list(self.seeds),
            "metrics": tables / "metrics.csv", "claims": tables / "claims.csv", "details": tables / "claim_details.csv",
            "cost": tables / "cost.csv", "base_metrics": self.folder / "base/seed-0/metrics.json",
            "config": self.folder / "config.json", "curves": [self.folder / "figures/figure-3.csv"],
            "profile": [tables / "profile.csv"], "remedies": [tables / "remedies.csv"],
            "threshold": [tables / "threshold.csv"],
            "real": [self.folder / "reference/real.parquet"],
            "samples": [self.folder / place / "samples.parquet" for place in places],
            "embeddings": [self.folder / place / "embeddings.npz" for place in places],
            "manifests": [self.folder / cell.path / "mix.parquet" for cell in self.cells],
            "figures": [], "output": self.folder / "index.html",
        }  # fmt: skip
        return argparse.Namespace(**{**given, **changes})

    def cell(self, control, ratio, iteration):
        return Cell(control, ratio, self.seeds[0], iteration)


class Parsed(HTMLParser):
    """What a page consists of.

    Attributes:
        elements: name and attributes of every one.
        tables: rows of every table by its id or label, each a list of cells; a cell is its text and its numbers, as (of the
            table, shown).
        texts: by the name of the element that they stand in.
    """

    VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self, page: str):
        super().__init__()
        self.elements, self.tables, self.texts = [], {}, {}
        self._open, self._tables, self._label, self._number = [], [], "", None
        self.feed(page)
        self.close()
        assert not self._open, "an element is not closed"

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag not in self.VOID:
            self._open.append(tag)
        if "aria-label" in given:
            self._label = given["aria-label"]
        if tag == "table":
            self._tables.append(self.tables.setdefault(given.get("id") or self._label, []))
        elif tag == "tr" and self._tables:
            self._tables[-1].append([])
        elif tag in ("td", "th") and self._tables:
            self._tables[-1][-1].append(["", []])
        elif tag == "data":
            self._number = given["value"]

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes nothing"
        if tag == "table":
            self._tables.pop()
        elif tag == "data":
            self._number = None

    def handle_data(self, data):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)
        if self._tables and self._tables[-1] and self._tables[-1][-1] and {"td", "th"} & set(self._open):
            cell = self._tables[-1][-1][-1]
            cell[0] += data
            if self._number is not None:
                cell[1].append((self._number, data))


def numbers(rows):
    """All numbers of the rows of a parsed table, as (of the table, shown)."""
    return [number for row in rows for cell in row for number in cell[1]]


def shown_as(raw: str, shown: str) -> bool:
    """Whether what is shown is the number of a table, or what that is the logarithm of, to three digits."""
    if shown in ("∞", "\u2212∞"):
        return abs(float(raw)) > 700
    read = float(shown.replace("\u2212", "-").replace(",", ""))
    values = [float(raw), np.exp(min(float(raw), 700.0))]
    return any(abs(read - value) <= 0.00501 * abs(value) for value in values)


def table_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
