"""The first page of the report: what the experiment says, in words and numbers from the table of claims."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nepotism.data.cost import Cost
from nepotism.data.tables import Row, floors
from nepotism.judge.decisions import FAILS, HOLDS
from nepotism.judge.verdicts import CAPTIONS, Claim, count

# Snakemake's page centres this text in a window and cuts off the top of what is taller; and it is narrow.
STYLE = ".h-screen.items-center { align-items: safe center } .prose.max-w-lg { max-width: 60rem }"

NAMES = {"clip": "in CLIP features", "conv": "in random convolutions", "inception": "(FID)"}

# Columns of an effect and its interval in the tables of parts: of the distance, and of its excess over the floor.
OWN, EXCESS = ("value", "ci90_low", "ci90_high"), ("excess", "excess_low", "excess_high")

Table = tuple[list[str], list[list[str]], list[int]]


@dataclass(frozen=True)
class ReportText:
    """What differs between kinds of models.

    Attributes:
        question: title of the page.
        answer: one paragraph; every number is an effect of the table of claims.
        beside: links to the other parts of the report.
        notation: what the letters in statistics mean.
        ends: header, rows and widths of the table of conditions at their last iterations.
        ends_notes: what to know about that table.
        diagnosis: a sentence for each arm of other settings and each of its ratios.
    """

    question: str
    answer: str
    beside: str
    notation: Sequence[str]
    ends: Table
    ends_notes: Sequence[str]
    diagnosis: Sequence[str] = ()


Details = Sequence[Mapping[str, str]]


def render(claims: Sequence[Claim], details: Details, diagnostics: Details, rows: Sequence[Row]) -> ReportText:
    """What is told of a diffusion model.

    Args:
        claims: tables/claims.csv.
        details: tables/claim_details.csv, as text.
        diagnostics: tables/diagnostics.csv, as text.
        rows: tables/metrics.csv.
    """
    return ReportText(
        "What happens when the model is retrained on its own images?",
        _answer(claims, details),
        "Beside this page: Figures_, Tables_ and `Contact sheets`_.",
        [
            "F is the logarithm of the Fréchet distance, b its value for the",
            "base model, I the last iteration, (heal,r,end) the end of healing what was retrained at r %, C the mean CLIP score and",
            "s its spread within groups. Seeds share the base model and",
            "the real images: what holds between seeds holds given both. KID is asked only for the sign of an effect, which cannot",
            "be told while its interval contains 0. Beside each effect on F stands the same effect on the logarithm of the excess:",
            "the distance minus that of real images from other real ones, which few images keep far from 0.",
        ],
        _ends(rows),
        [
            f"The excess is a distance minus that of real images from other real ones ({_floors(rows)}).",
            "Means over the seeds, at the last iteration of each condition; real images against other real ones, and after round",
            "trips through the autoencoder without any retraining, tell what is not the model's doing.",
        ],
        [*_diagnosis(diagnostics)],
    )


def render_short(
    question: str, notation: str, metrics: Sequence[str], claims: Sequence[Claim], rows: Sequence[Row]
) -> ReportText:
    """What is told of a model whose generations are made in chunks: its claims that hold or do not, and its scores.

    Args:
        question: title of the page.
        notation: what the letters in statistics mean.
        metrics: columns of the table of conditions.
        claims: tables/claims.csv.
        rows: tables/metrics.csv.
    """
    sentences = [
        f"{claim.statement[0].upper()}{claim.statement[1:]}: {claim.verdict} ({'; '.join(claim.effects)})."
        for claim in claims
        if claim.verdict in (HOLDS, FAILS)
    ]
    lines = []
    conditions = list(dict.fromkeys((row.control, row.ratio) for row in rows))
    for control, ratio in conditions:
        mine = [row for row in rows if (row.control, row.ratio) == (control, ratio)]
        last = max(row.iteration for row in mine)
        ends = [[row.value for row in mine if (row.iteration, row.metric) == (last, metric)] for metric in metrics]
        means = [f"{sum(found) / len(found):.4g}" if found else "" for found in ends]
        lines.append([f"{control} {ratio} %" if ratio else control, str(last), *means])
    return ReportText(
        question,
        " ".join([*map(_escaped, sentences), _counted(claims)]),
        "Beside this page: Figures_ and Tables_.",
        [notation],
        (["condition", "iteration", *metrics], lines, [30, 10, *[15] * len(metrics)]),
        ["Means over the seeds, at the last iteration of each condition."],
    )


def page(text: ReportText, claims: Sequence[Claim], provenance: Mapping[str, Any], costs: Sequence[Cost]) -> str:
    """The page as a Jinja template of reStructuredText; Snakemake fills in the configuration when it makes the report.

    Args:
        text: what differs between kinds of models.
        claims: tables/claims.csv.
        provenance: of the base model's metrics.json.
        costs: tables/cost.csv.
    """
    return "\n".join(
        [
            ".. raw:: html",
            "",
            f"    <style>{STYLE}</style>",
            "",
            *_headed(text.question, "="),
            text.answer,
            "",
            text.beside,
            "",
            *_headed("Claims", "-"),
            "Verdicts follow the rule of the documentation: three seeds or more decide; with fewer, a claim is undecided and its",
            "effect is shown with the interval within the run: by the jackknife of all that is compared at once.",
            "A claim holds falsely in at most 5 % of experiments. That error is per claim: the",
            f"{len(claims)} claims are not corrected jointly.",
            *text.notation,
            "",
            *_table(
                ["", "claim", "source", "verdict", "KID"],
                [[str(each.claim), each.statement, each.source, f"**{each.verdict}**", each.kid] for each in claims],
                [5, 45, 12, 25, 13],
            ),
            *_headed("Effects", "-"),
            "Each with its 90 % interval, and what the claim wants of it.",
            "",
            *_effects(claims),
            *_headed("Where every condition ends", "-"),
            *text.ends_notes,
            "",
            *_table(*text.ends),
            *_diagnosed(text.diagnosis),
            *(_headed("Time and memory", "-") if costs else []),
            *_table(
                ["rule", "jobs", "seconds", "seconds of a core", "peak MiB of a job"],
                [
                    [cost.rule, str(cost.jobs), f"{cost.seconds:.0f}", f"{cost.cpu_seconds:.0f}", f"{cost.peak_memory_mib:.0f}"]
                    for cost in costs
                ],
                [30, 10, 15, 15, 15],
            ),
            *_headed("Provenance", "-"),
            *_table(
                ["", ""],
                [[key, ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)]
                 for key, value in provenance.items()],
                [20, 80],
            ),
            *_headed("Settings", "-"),
            "::",
            "",
            "    {{ snakemake.config | tojson(indent=2) | indent(4) }}",
            "",
        ]
    )  # fmt: skip


def _answer(claims: Sequence[Claim], details: Details) -> str:
    """One paragraph; every number is an effect of the table of claims."""
    sentences = [*_collapse(details), *_mild(details), *_healed(claims, details)]
    return " ".join([*sentences, _counted(claims)])


def _counted(claims: Sequence[Claim]) -> str:
    several = {HOLDS: "hold", FAILS: "do not hold"}
    counted = {kind: number for kind, number in count(claims).items() if number}
    kinds = ", ".join(
        f"{number} {kind if number == 1 else several.get(kind, kind)}" for kind, number in counted.items()
    )
    return f"Of the {len(claims)} claims: {kinds}."


def _ends(rows: Sequence[Row]) -> Table:
    """Header, rows and widths of the table of conditions at their last iterations."""
    spaces = list(dict.fromkeys(row.features for row in rows if row.metric == "fid"))
    columns = [("fid", space) for space in spaces] + [
        ("clip_score", "clip"),
        ("saturation", "pixels"),
        ("contrast", "pixels"),
    ]
    floor = floors(rows)
    header = [
        "condition",
        "iteration",
        *(f"excess ({space})" for space in floor),
        *(f"Fréchet ({space})" for space in spaces),
        "CLIP score",
        "saturation",
        "contrast",
    ]
    kinds: dict[tuple[str, str, str], int] = {}
    for row in rows:
        # The base model at other iterations is drawn for claims; its line is iteration 0.
        redrawn = row.control == "base" and row.set == "samples" and row.iteration > 0
        if row.set in ("samples", "real", "vae") and (row.set != "real" or row.control == "base") and not redrawn:
            kind = (row.set, row.control, row.ratio)
            kinds[kind] = max(kinds.get(kind, 0), row.iteration)
    lines = []
    for (name, control, ratio), last in kinds.items():
        iterations = sorted({row.iteration for row in rows if row.set == "vae"}) if name == "vae" else [last]
        for iteration in iterations:
            mine = [
                row
                for row in rows
                if (row.set, row.control, row.ratio, row.iteration) == (name, control, ratio, iteration)
            ]
            means: dict[tuple[str, str], float] = {}
            for column in columns:
                found = [row.value for row in mine if (row.metric, row.features) == column]
                if found:
                    means[column] = sum(found) / len(found)
            excess = [
                f"{means['fid', space] - least:.4g}" if ("fid", space) in means else ""
                for space, least in floor.items()
            ]
            values = [*excess, *(f"{means[column]:.4g}" if column in means else "" for column in columns)]
            condition = f"{control} {ratio} %" if ratio else control
            named = {"real": "real against real", "vae": f"real, {iteration} round trips"}
            told = named.get(name, condition)
            lines.append([told, "" if name != "samples" else str(iteration), *values])
    return header, lines, [30, 10, *[12] * (len(columns) + len(floor))]


def _parts(details: Details, claim: int, start: str) -> list[Mapping[str, str]]:
    return [
        part for part in details
        if part["claim"] == str(claim) and part["statistic"].startswith(start) and part["value"]
    ]  # fmt: skip


def _floors(rows: Sequence[Row]) -> str:
    return " and ".join(f"{value:.3g} {NAMES.get(space, space)}" for space, value in floors(rows).items())


def _factors(parts: Details, keys: Sequence[str] = EXCESS) -> str:
    """Differences of logarithms as factors, one per feature space, with their intervals."""
    told = []
    for part in parts:
        value, low, high = (_factor(part[key]) for key in keys)
        factor = f"{value:.2f}" if 0 < value < math.inf else "not defined"
        interval = f" ({low:.2f} to {high:.2f})" if low < high else ""
        told.append(f"{factor}{interval} {NAMES.get(part['features'], part['features'])}")
    return " and ".join(told)


def _factor(logarithm: str) -> float:
    """Not a number where there is none; what is beyond all reason, such as the end of a useless interval, is infinite."""
    if not logarithm:
        return math.nan
    return math.exp(float(logarithm)) if float(logarithm) < 20 else math.inf


def _distances(parts: Details) -> str:
    """The distances' own factors, beside those of their excess."""
    return f"(the distances themselves: {_factors(parts, OWN)})"


def _collapse(details: Details) -> Iterator[str]:
    worst = _parts(details, 2, "F(100,I)")
    if worst:
        yield (
            "Retrained on its own images only, the model ends at a Fréchet distance from real images whose excess over that of real "
            "images among themselves is this multiple of the excess of the same model retrained on real images: "
            f"{_factors(worst)} {_distances(worst)}."
        )
    captions = _parts(details, 2, "(C(0,I) - C(100,I))")
    if captions:
        shift = float(captions[0]["value"])
        yield f"Its CLIP score is {abs(shift):.2f} standard deviations {'lower' if shift > 0 else 'higher'}."
    flat = _parts(details, 1, "F(0,I)")
    if flat:
        yield f"On real images, the excess ends at this multiple of the base model's: {_factors(flat)}."


def _mild(details: Details) -> Iterator[str]:
    for ratio in ("25", "10", "3.3"):
        parts = _parts(details, 2, f"F({ratio},I)")
        if parts:
            yield (
                f"With {ratio} % of its own images, the excess is this multiple of that of 0 %: {_factors(parts)} "
                f"{_distances(parts)}."
            )


def _healed(claims: Sequence[Claim], details: Details) -> Iterator[str]:
    healed = _parts(details, 9, "F(heal,")
    if healed:
        # F(heal,25,end) - b
        ratio = healed[0]["statistic"].split(",")[1]
        claim = next(claim for claim in claims if claim.claim == 9)
        verdict = "" if claim.verdict == HOLDS else f" (the verdict on claim 9 is “{claim.verdict}”)"
        yield (
            f"The model of {ratio} %, healed by further retraining on real images only, ends at this multiple of the base "
            f"model's excess: {_factors(healed)}{verdict}."
        )


def _diagnosis(diagnostics: Details) -> Iterator[str]:
    """A sentence for each arm of other settings and each of its ratios, against 0 % of the same settings."""
    for statistic in dict.fromkeys(part["statistic"] for part in diagnostics):
        parts = [part for part in diagnostics if part["statistic"] == statistic]
        if not parts[0]["value"]:
            yield f"{statistic}: not run; it needs an arm of the same settings at 0 %."
        elif parts[0]["features"] != CAPTIONS:
            yield f"{statistic}: the excess is this multiple of that of its own 0 %: {_factors(parts)} {_distances(parts)}."
        else:
            value, low, high = (parts[0][key] and f"{float(parts[0][key]):.2f}" for key in OWN)
            yield f"{statistic} = {value}" + (f" ({low} to {high})." if low else ".")


def _diagnosed(sentences: Sequence[str]) -> list[str]:
    if not sentences:
        return []
    items = [line for sentence in sentences for line in (f"* {_escaped(sentence)}", "")]
    return [
        *_headed("Is it collapse, or a setting?", "-"),
        "Arms with other settings, each against its own 0 %: the same settings, retrained on real images only.",
        "",
        *items,
    ]


def _effects(claims: Sequence[Claim]) -> Iterator[str]:
    """A list item per claim, with its parts and its note as a list of their own."""
    for claim in claims:
        yield f"* {claim.claim}: {_escaped(claim.statement)}"
        yield ""
        for part in filter(None, [*claim.effects, claim.note]):
            yield f"  * {_escaped(part)}"
        yield ""


def _headed(text: str, line: str) -> list[str]:
    return [text, line * len(text), ""]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """A table; nothing where there are no rows, for reStructuredText takes a table of a header only for a mistake."""
    if not rows:
        return []
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in [header, *rows]:
        for index, cell in enumerate(row):
            lines.append(f"   {'* -' if index == 0 else '  -'} {_escaped(cell)}")
    return [*lines, ""]


def _escaped(text: str) -> str:
    """Text without meaning for reStructuredText, except for the bold of verdicts."""
    bold = text.startswith("**")
    for character in "\\*_|`":
        text = text if bold and character == "*" else text.replace(character, "\\" + character)
    return text
