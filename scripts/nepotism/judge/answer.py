"""The first page of the report: what the experiment says, in words and numbers from the table of claims."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nepotism.data.cost import Cost
from nepotism.data.tables import Row, floors
from nepotism.judge.decisions import FAILS, HOLDS
from nepotism.judge.sentences import Details, answer, counted, diagnosis, floors_of
from nepotism.judge.verdicts import Claim

# Snakemake's page centres this text in a window and cuts off the top of what is taller; and it is narrow.
STYLE = ".h-screen.items-center { align-items: safe center } .prose.max-w-lg { max-width: 60rem }"

QUESTION = "What happens when the model is retrained on its own images?"
# What the letters in statistics on diffusion models mean.
NOTATION = (
    "F is the logarithm of the Fréchet distance, b its value for the",
    "base model, I the last iteration, (heal,r,end) the end of healing what was retrained at r %, C the mean CLIP score and",
    "s its spread within groups. Seeds share the base model and",
    "the real images: what holds between seeds holds given both. KID is asked only for the sign of an effect, which cannot",
    "be told while its interval contains 0. Beside each effect on F stands the same effect on the logarithm of the excess:",
    "the distance minus that of real images from other real ones, which few images keep far from 0.",
)

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


def render(claims: Sequence[Claim], details: Details, diagnostics: Details, rows: Sequence[Row]) -> ReportText:
    """What is told of a diffusion model.

    Args:
        claims: tables/claims.csv.
        details: tables/claim_details.csv, as text.
        diagnostics: tables/diagnostics.csv, as text.
        rows: tables/metrics.csv.
    """
    return ReportText(
        QUESTION,
        answer(claims, details),
        "Beside this page: Figures_, Tables_ and `Contact sheets`_.",
        NOTATION,
        _ends(rows),
        [
            f"The excess is a distance minus that of real images from other real ones ({floors_of(rows)}).",
            "Means over the seeds, at the last iteration of each condition; real images against other real ones, and after round",
            "trips through the autoencoder without any retraining, tell what is not the model's doing.",
        ],
        [*diagnosis(diagnostics)],
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
    # Original rows have scores of the same names, which are no model's.
    drawn = [row for row in rows if row.set == "samples"]
    conditions = list(dict.fromkeys((row.control, row.ratio) for row in drawn))
    for control, ratio in conditions:
        mine = [row for row in drawn if (row.control, row.ratio) == (control, ratio)]
        last = max(row.iteration for row in mine)
        ends = [[row.value for row in mine if (row.iteration, row.metric) == (last, metric)] for metric in metrics]
        means = [f"{sum(found) / len(found):.4g}" if found else "" for found in ends]
        lines.append([f"{control} {ratio} %" if ratio else control, str(last), *means])
    return ReportText(
        question,
        " ".join([*map(_escaped, sentences), counted(claims)]),
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


def _effects(claims: Sequence[Claim]) -> Iterator[str]:
    """A list item per claim, with its parts and its note as a list of their own."""
    for claim in claims:
        yield f"* {claim.claim}: {_escaped(claim.statement)}"
        yield ""
        for part in filter(None, [*claim.effects, claim.note]):
            yield f"  * {_escaped(part)}"
        yield ""
