"""The first page of the report: what the experiment says, in words and numbers from the table of claims."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nepotism.cost import Cost
from nepotism.decisions import FAILS, HOLDS
from nepotism.tables import Row
from nepotism.verdicts import Claim, count

# Snakemake's page centres this text in a window and cuts off the top of what is taller; and it is narrow.
STYLE = ".h-screen.items-center { align-items: safe center } .prose.max-w-lg { max-width: 60rem }"

NAMES = {"clip": "in CLIP features", "conv": "in random convolutions", "inception": "(FID)"}


Table = tuple[list[str], list[list[str]], list[int]]


@dataclass(frozen=True)
class Told:
    """What differs between kinds of models.

    Attributes:
        question: title of the page.
        answer: one paragraph; every number is an effect of the table of claims.
        beside: links to the other parts of the report.
        notation: what the letters in statistics mean.
        ends: header, rows and widths of the table of conditions at their last iterations.
        ends_notes: what to know about that table.
    """

    question: str
    answer: str
    beside: str
    notation: Sequence[str]
    ends: Table
    ends_notes: Sequence[str]


def told(claims: Sequence[Claim], details: Sequence[Mapping[str, str]], rows: Sequence[Row]) -> Told:
    """What is told of a diffusion model.

    Args:
        claims: tables/claims.csv.
        details: tables/claim_details.csv, as text.
        rows: tables/metrics.csv.
    """
    return Told(
        "What happens when the model is retrained on its own images?",
        _answer(claims, details),
        "Beside this page: Figures_, Tables_ and `Contact sheets`_.",
        [
            "F is the logarithm of the Fréchet distance, b its value for the",
            "base model, I the last iteration, C the mean CLIP score and s its spread within groups. Seeds share the base model and",
            "the real images: what holds between seeds holds given both. KID is asked only for the sign of an effect, which cannot",
            "be told while its interval contains 0.",
        ],
        _ends(rows),
        [
            "Means over the seeds, at the last iteration of each condition; real images against other real ones, and after round",
            "trips through the autoencoder without any retraining, tell what is not the model's doing.",
        ],
    )


def told_in_short(
    question: str, notation: str, metrics: Sequence[str], claims: Sequence[Claim], rows: Sequence[Row]
) -> Told:
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
    return Told(
        question,
        " ".join([*map(_escaped, sentences), _counted(claims)]),
        "Beside this page: Figures_ and Tables_.",
        [notation],
        (["condition", "iteration", *metrics], lines, [30, 10, *[15] * len(metrics)]),
        ["Means over the seeds, at the last iteration of each condition."],
    )


def page(text: Told, claims: Sequence[Claim], provenance: Mapping[str, Any], costs: Sequence[Cost]) -> str:
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
            "effect is shown with the interval within the run.",
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


def _answer(claims: Sequence[Claim], details: Sequence[Mapping[str, str]]) -> str:
    """One paragraph; every number is an effect of the table of claims."""
    sentences = [*_collapse(details), *_mild(details), *_healed(claims, details)]
    return " ".join([*sentences, _counted(claims)])


def _counted(claims: Sequence[Claim]) -> str:
    kinds = ", ".join(f"{number} {kind}" for kind, number in count(claims).items() if number)
    return f"Of the {len(claims)} claims: {kinds}."


def _ends(rows: Sequence[Row]) -> Table:
    """Header, rows and widths of the table of conditions at their last iterations."""
    spaces = list(dict.fromkeys(row.features for row in rows if row.metric == "fid"))
    columns = [("fid", space) for space in spaces] + [
        ("clip_score", "clip"),
        ("saturation", "pixels"),
        ("contrast", "pixels"),
    ]
    header = [
        "condition",
        "iteration",
        *(f"Fréchet ({space})" for space in spaces),
        "CLIP score",
        "saturation",
        "contrast",
    ]
    kinds: dict[tuple[str, str, str], int] = {}
    for row in rows:
        if row.set in ("samples", "real", "vae") and (row.set != "real" or row.control == "base"):
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
            values = []
            for metric, space in columns:
                found = [row.value for row in mine if (row.metric, row.features) == (metric, space)]
                values.append(f"{sum(found) / len(found):.4g}" if found else "")
            condition = f"{control} {ratio} %" if ratio else control
            named = {"real": "real against real", "vae": f"real, {iteration} round trips"}
            told = named.get(name, condition)
            lines.append([told, "" if name != "samples" else str(iteration), *values])
    return header, lines, [30, 10, *[12] * len(columns)]


def _parts(details: Sequence[Mapping[str, str]], claim: int, start: str) -> list[Mapping[str, str]]:
    return [
        part for part in details
        if part["claim"] == str(claim) and part["statistic"].startswith(start) and part["value"]
    ]  # fmt: skip


def _factors(parts: Sequence[Mapping[str, str]]) -> str:
    """Differences of logarithms as factors, one per feature space, with their intervals."""
    told = []
    for part in parts:
        value = math.exp(float(part["value"]))
        low, high = (part[key] and f"{math.exp(float(part[key])):.2f}" for key in ("ci90_low", "ci90_high"))
        interval = f" ({low} to {high})" if low else ""
        told.append(f"{value:.2f}{interval} {NAMES.get(part['features'], part['features'])}")
    return " and ".join(told)


def _collapse(details: Sequence[Mapping[str, str]]) -> Iterator[str]:
    worst = _parts(details, 2, "F(100,I)")
    if worst:
        yield (
            "Retrained on its own images only, the model ends at a Fréchet distance from real images that is "
            f"{_factors(worst)} times that of the same model retrained on real images."
        )
    captions = _parts(details, 2, "(C(0,I) - C(100,I))")
    if captions:
        shift = float(captions[0]["value"])
        yield f"Its CLIP score is {abs(shift):.2f} standard deviations {'lower' if shift > 0 else 'higher'}."
    flat = _parts(details, 1, "F(0,I)")
    if flat:
        yield f"On real images, the distance ends at {_factors(flat)} times the base model's."


def _mild(details: Sequence[Mapping[str, str]]) -> Iterator[str]:
    for ratio in ("25", "10", "3.3"):
        parts = _parts(details, 2, f"F({ratio},I)")
        if parts:
            yield f"With {ratio} % of its own images, the distance is {_factors(parts)} times that of 0 %."


def _healed(claims: Sequence[Claim], details: Sequence[Mapping[str, str]]) -> Iterator[str]:
    healed = _parts(details, 9, "F(heal,end)")
    if healed:
        claim = next(claim for claim in claims if claim.claim == 9)
        verdict = "" if claim.verdict == HOLDS else f" (claim 9: {claim.verdict})"
        yield (
            "Healed, which is retraining a mixture's model on real images only, it ends at a distance of "
            f"{_factors(healed)} times the base model's{verdict}."
        )


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
