"""Judge the claims from the table of scores."""

import argparse
import importlib
import json
from pathlib import Path

from nepotism.data.tables import read_csv, write_csv
from nepotism.families.diffusion import claims, engine_claims, regime_claims, remedies
from nepotism.judge.verdicts import Claim, Part, told_looks
from nepotism.runtime import cli

PART = [
    "features",
    "statistic",
    "relation",
    "bound",
    "value",
    "ci90_low",
    "ci90_high",
    "seeds",
    "verdict",
    "kid",
    "excess",
    "excess_low",
    "excess_high",
]


def main() -> None:
    parser = cli.parser(__doc__, stage="claims")
    parser.add_argument("--histogram-match", help="name of the arm that matches colours")
    parser.add_argument("--sifid-cull", help="name of the arm that culls")
    parser.add_argument("--heal", help="name of the arm that heals")
    for regime in regime_claims.JUDGED:
        parser.add_argument(f"--{regime.replace('_', '-')}", help=f"name of the arm of the regime {regime}")
    parser.add_argument(
        "--remedies", nargs="*", default=[], help="arms that are remedies, with what each costs, as JSON"
    )
    parser.add_argument(
        "--engines", nargs="*", default=[], help="arms that are retrained on another model's images, as JSON"
    )
    parser.add_argument("--pair", help="how culling pairs images, for a note")
    parser.add_argument("--family", help="of models that are made in chunks of generations; it has claims of its own")
    parser.add_argument("--arms", help="settings of that family's arms, as JSON")
    parser.add_argument(
        "--diagnosed", nargs="+", default=[], help="arms with settings of their own, as name:base or name:base:arm"
    )
    cli.add_scores(parser)
    parser.add_argument("--output", type=Path, required=True, help="output: verdicts (CSV)")
    parser.add_argument("--details", type=Path, required=True, help="output: every part of every claim (CSV)")
    parser.add_argument(
        "--diagnostics",
        type=Path,
        required=True,
        help="output: arms of other settings, each against 0 %% of the same (CSV)",
    )
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    scores = read_csv(arguments.metrics, arguments.jackknife)
    if arguments.family:
        court = importlib.import_module(f"nepotism.families.{arguments.family}.claims")
        verdicts, parts = court.judge(scores, json.loads(arguments.arms), arguments.looks)
    else:
        arms = claims.Arms(
            arguments.histogram_match, arguments.sifid_cull, arguments.heal, arguments.pair, regime_claims.given(arguments),
            remedies.given(arguments.remedies), engine_claims.given(arguments.engines),
        )  # fmt: skip
        verdicts, parts = claims.judge(scores, arms, arguments.looks)
    named = [words.split(":") for words in arguments.diagnosed]
    diagnosed, plain = (
        {arm: base for arm, base, *_ in named},
        {arm: other for arm, _, *others in named for other in others},
    )
    write_csv(arguments.output, told_looks(verdicts, arguments.looks), Claim)
    write_csv(arguments.details, [[part.claim, *_columns(part)] for part in parts], ["claim", *PART])
    diagnoses = claims.diagnose(scores, diagnosed, plain, arguments.looks)
    write_csv(arguments.diagnostics, list(map(_columns, diagnoses)), PART)


def _columns(part: Part) -> list[str | float | None]:
    decision, excess = part.decision, part.excess
    return [
        part.features, part.statistic, part.relation, part.bound,
        decision.value, decision.low, decision.high, decision.seeds, decision.verdict, part.kid,
        *((excess.value, excess.low, excess.high) if excess else (None, None, None)),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
