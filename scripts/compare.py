"""Print what differs between two experiments: settings and versions, scores beyond their intervals, verdicts on claims.

python scripts/compare.py results/faces other/results/faces                       # a screenful
python scripts/compare.py results/faces other/results/faces --csv differences.csv # every comparison
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nepotism.data.tables import write_csv
from nepotism.families import FAMILIES, family_package
from nepotism.measure.metrics import Metric
from nepotism.plan.grid import DIFFUSION
from nepotism.plan.results import read_config
from nepotism.runtime import cli
from nepotism.share import differences
from nepotism.share.compare_scores import LEVEL, Comparison, Difference, compare_scores
from nepotism.share.differences import Setting, Verdicts
from nepotism.share.provenance import Versions, metrics_files, versions
from nepotism.share.score_tables import WHAT, read_pair

RULES = {
    "paired": "paired by seed, between seeds",
    "welch": "between different seeds",
    "within": "within runs, of one or two seeds or of what no seed changes",
}
COLUMNS = ("kind", "name", *WHAT, "rule", "seeds", "a", "b", "difference", "ci_low", "ci_high", "p", "q")


def main() -> None:
    parser = cli.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("a", type=Path, help="an experiment's results, such as results/faces")
    parser.add_argument("b", type=Path, help="those of another one: other settings, seeds, version or machine")
    parser.add_argument("--csv", type=Path, help="write every comparison to this table")
    parser.add_argument("--lines", type=int, default=12, help="how many lines of each kind to print")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    folders = (arguments.a, arguments.b)
    scores = compare_scores(read_pair(*folders))
    configs = [read_config(folder) for folder in folders]
    settings = differences.settings(*configs)
    made = [versions(metrics_files(folder)) for folder in folders]
    other = differences.other_versions(*made)
    tables = [differences.claims(folder) for folder in folders]
    claims = differences.verdicts(*tables)
    for name, folder, one in zip("ab", folders, made, strict=True):
        print(f"{name}: {folder} ({told(one)})")
    print("\n".join(rendered_settings("settings", settings, arguments.lines)))
    print("\n".join(rendered_settings("versions", other, arguments.lines)))
    measured = [each.key for each in settings if each.measures]
    measured += [each.key for each in other if each.key in ("stage_versions.score", "stage_versions.embed_reference")]
    if measured:
        print(
            f"\nscores are not of one scale: {', '.join(measured[:5])} {'differs' if len(measured) == 1 else 'differ'}"
        )
    print("\n".join(rendered_scores(scores, metrics_of(configs), arguments.lines)))
    print("\n".join(rendered_claims(claims, [len(table) for table in tables], arguments.lines)))
    if arguments.csv:
        write_csv(arguments.csv, list(table(settings, other, scores, claims)), COLUMNS)
        print(f"\nevery comparison: {arguments.csv}")


def told(made: Versions) -> str:
    """Which source made an experiment."""
    revisions = made.get("revision", Counter())
    return f"revision {', '.join(revisions)}" if revisions else "no cell says how it was made"


def rendered_settings(title: str, found: Sequence[Setting], most: int) -> Iterator[str]:
    """Keys that differ as lines of text."""
    yield f"\n{title} that differ: {len(found) or 'none'}"
    width = max((len(each.key) for each in found[:most]), default=0)
    for each in found[:most]:
        idle = "   (changes no result)" if each.idle else ""
        yield f"  {each.key:<{width}}  {shortened(each.a)} -> {shortened(each.b)}{idle}"
    yield from beyond(found, most)


def rendered_scores(found: Comparison, metrics: Mapping[str, Metric], most: int) -> Iterator[str]:
    """Scores that differ as lines of text, and how many would by chance."""
    tested, differing = found.tested, [each for each in found.tested if each.differs]
    surviving = [each for each in tested if each.survives]
    counts = Counter(each.rule for each in tested)
    yield f"\nscores with an interval of their difference: {len(tested)}"
    yield from (f"  {counts[rule]} {words}" for rule, words in RULES.items() if counts[rule])
    for count, words in (
        (found.same, "are the same to six digits, and not tested"),
        (found.other_n, "are of different numbers of images, and not compared"),
        (
            found.untested,
            "have no interval, and are not compared: no seeds in common, or fewer than three without one within the run",
        ),
    ):
        if count:
            yield f"  {count} more {words}"
    if any(found.only):
        arms = (
            f"; arms only {name} has: {', '.join(arms)}"
            for name, arms in zip("ab", found.only_arms, strict=True)
            if arms
        )
        yield f"  {found.only[0]} only a has, {found.only[1]} only b has{''.join(arms)}"
    if not tested:
        return
    yield (
        f"differ, each by its own 95 % interval: {len(differing)}; {LEVEL * len(tested):.0f} would by chance if nothing differed"
    )
    yield (
        f"differ after correction for {len(tested)} comparisons (Benjamini and Hochberg, {LEVEL:.0%} of these false): {len(surviving)}"
    )
    if differing:
        yield f"  {'':1} {'a':>10} {'b':>10}  b - a, 95 % interval"
        yield from (row(each, metrics.get(each.what["metric"])) for each in differing[:most])
        yield from beyond(differing, most)
        if any(each.survives for each in differing[:most]):
            yield "  * after correction"


def row(each: Difference, metric: Metric | None) -> str:
    """A score that differs as a line of text."""
    what = each.what
    place = what["control"] + (f" {what['ratio']} %" if what["ratio"] else "") + f", iteration {what['iteration']}"
    score = " ".join(filter(None, (what["features"], what["metric"])))
    better = (
        ""
        if metric is None or metric.better == "neither"
        else " (b worse)"
        if (each.b < each.a) == (metric.better == "higher")
        else " (b better)"
    )
    interval = f"{each.b - each.a:+.3g} [{each.low:.3g}, {each.high:.3g}]"
    return f"  {'*' if each.survives else ' '} {each.a:>10.4g} {each.b:>10.4g}  {interval:<32} {place}, {what['set']}: {score}{better}"


def rendered_claims(found: Sequence[Verdicts], counts: Sequence[int], most: int) -> Iterator[str]:
    """Verdicts that differ as lines of text."""
    changed = sorted((each for each in found if each.a != each.b), key=lambda each: not each.flipped)
    flipped = sum(each.flipped for each in changed)
    yield f"\nclaims that both judge: {len(found)}; another verdict: {len(changed) or 'none'}, of which flipped: {flipped or 'none'}"
    for each in changed[:most]:
        yield f"  {each.claim:>5}  {each.a} -> {each.b}: {each.statement}"
    yield from beyond(changed, most)
    if extra := [
        f"only {name}: {count - len(found)}" for name, count in zip("ab", counts, strict=True) if count > len(found)
    ]:
        yield f"  {', '.join(extra)}"


def beyond(found: Sequence[Any], most: int) -> Iterator[str]:
    """How many are not shown."""
    if len(found) > most:
        yield f"  and {len(found) - most} more; --csv FILE has all"


def shortened(text: str, most: int = 48) -> str:
    """A value that fits a line."""
    return text if len(text) <= most else text[: most - 1] + "…"


def metrics_of(configs: Iterable[Mapping[str, Any]]) -> dict[str, Metric]:
    """What the metrics of the experiments are; those of an unknown family, or of another version, are not known."""
    families = {config.get("model", {}).get("family") for config in configs}
    return {
        name: metric
        for family in families
        if family in (DIFFUSION, *FAMILIES)
        for name, metric in family_package(str(family)).METRICS.items()
    }


def table(
    settings: Iterable[Setting], other: Iterable[Setting], scores: Comparison, claims: Iterable[Verdicts]
) -> Iterator[list[Any]]:
    """Every comparison as a row of `COLUMNS`."""
    nothing = [None] * len(WHAT)
    for kind, found in (("setting", settings), ("version", other)):
        for each in found:
            yield [kind, each.key, *nothing, None, None, each.a, each.b, *[None] * 5]
    for claim in claims:
        name = f"{claim.claim}: {claim.statement}"
        yield ["claim", name, *nothing, None, None, claim.a, claim.b, *[None] * 5]
        yield ["effects", name, *nothing, None, None, claim.effects_a, claim.effects_b, *[None] * 5]
    for score in scores.tested:
        tested = [score.rule, score.seeds, score.a, score.b, score.b - score.a, score.low, score.high, score.p, score.q]
        yield ["score", None, *(score.what[column] for column in WHAT), *tested]


if __name__ == "__main__":
    main()
