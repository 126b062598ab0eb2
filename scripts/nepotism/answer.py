"""The first page of the report: what the experiment says, in words and numbers from the table of claims."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nepotism.claims import HOLDS, STATEMENTS, Claim, count
from nepotism.cost import Cost

# Snakemake's page centres this text in a window and cuts off the top of what is taller; and it is narrow.
STYLE = ".h-screen.items-center { align-items: safe center } .prose.max-w-lg { max-width: 60rem }"

NAMES = {"clip": "in CLIP features", "conv": "in random convolutions", "inception": "(FID)"}


def page(
    claims: Sequence[Claim], details: Sequence[Mapping[str, str]], provenance: Mapping[str, Any], costs: Sequence[Cost]
) -> str:
    """The page as a Jinja template of reStructuredText; Snakemake fills in the configuration when it makes the report.

    Args:
        claims: tables/claims.csv.
        details: tables/claim_details.csv, as text.
        provenance: of the base model's metrics.json.
        costs: tables/cost.csv.
    """
    return "\n".join(
        [
            ".. raw:: html",
            "",
            f"    <style>{STYLE}</style>",
            "",
            *_headed("What happens when the model is retrained on its own images?", "="),
            _answer(claims, details),
            "",
            "Beside this page: Figures_, Tables_ and `Contact sheets`_.",
            "",
            *_headed("Claims", "-"),
            "Verdicts follow the rule of the documentation: three seeds or more decide; with fewer, a claim is undecided and its",
            "effect is shown with the interval within the run. F is the logarithm of the Fréchet distance, b its value for the",
            "base model, I the last iteration, C the mean CLIP score and s its spread within groups.",
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
            *_headed("Time and memory", "-"),
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
    counted = count(claims)
    told = ", ".join(f"{number} {kind}" for kind, number in counted.items() if number)
    sentences.append(f"Of the {len(STATEMENTS)} claims: {told}.")
    return " ".join(sentences)


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
            yield f"With {ratio} % of its own images, it is {_factors(parts)} times that of 0 %."


def _healed(claims: Sequence[Claim], details: Sequence[Mapping[str, str]]) -> Iterator[str]:
    healed = _parts(details, 9, "F(heal,end)")
    if healed:
        verdict = next(claim.verdict for claim in claims if claim.claim == 9)
        recovered = "" if verdict == HOLDS else f" (claim 9: {verdict})"
        yield f"Healed on real images, it ends at {_factors(healed)} times the base model's{recovered}."


def _effects(claims: Sequence[Claim]) -> Iterator[str]:
    """A list item per claim, with its parts and its note as a list of their own."""
    for claim in claims:
        yield f"* {claim.claim}: {_escaped(claim.statement)}"
        yield ""
        for part in filter(None, [*claim.statistic.split("; "), claim.note]):
            yield f"  * {_escaped(part)}"
        yield ""


def _headed(text: str, line: str) -> list[str]:
    return [text, line * len(text), ""]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
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
