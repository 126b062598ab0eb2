"""Judge the ratios that were run, and ask for the next one: a round of the search for the ratio at which collapse begins."""

import argparse
import json
import logging
from pathlib import Path

from nepotism.data.tables import read_metrics
from nepotism.experiment.search import Search, read_round
from nepotism.judge.bisection import judged, theta
from nepotism.judge.contrasts import DELTA
from nepotism.runtime import cli
from nepotism.runtime.files import write_text

logger = logging.getLogger(__name__)


def main() -> None:
    parser = cli.parser(__doc__, stage="search")
    for name, what in (("low", "least ratio"), ("high", "largest ratio"), ("until", "points that may be left between")):
        parser.add_argument(f"--{name}", type=float, required=True, help=f"{what} of the search")
    parser.add_argument("--metric", required=True, help="distance whose logarithm is compared")
    parser.add_argument("--features", default="", help="feature space of the distance")
    parser.add_argument("--iteration", type=int, required=True, help="at which ratios are judged")
    parser.add_argument(
        "--previous", type=Path, help="file of the round before; without it, the search's ends are judged"
    )
    parser.add_argument("--real", type=Path, nargs="+", required=True, help="metrics.json at 0 %%, of every seed")
    parser.add_argument("--cells", type=Path, nargs="+", required=True, help="metrics.json of the ratios to judge")
    parser.add_argument("--output", type=Path, required=True, help="output: what is known after this round (JSON)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    search = Search(arguments.low, arguments.high, arguments.until)
    rows, real = ([row for file in files for row in read_metrics(file)] for files in (arguments.cells, arguments.real))
    thetas = theta(rows, real, arguments.metric, arguments.features, arguments.iteration)
    known = judged(search, read_round(arguments.previous) if arguments.previous else None, thetas)
    for ratio, value in thetas.items():
        logger.info("%s %%: mean theta %.4g, delta %.4g", ratio, value, DELTA)
    logger.info(
        "%s: %s to %s %%%s", known.outcome, known.low, known.high, f"; next {known.next} %" if known.next else ""
    )
    content = {
        "metric": arguments.metric, "features": arguments.features, "iteration": arguments.iteration, "delta": DELTA,
        "tried": [{"ratio": ratio, "theta": value, "exceeds": value > DELTA} for ratio, value in known.tried],
        "low": known.low, "high": known.high, "next": known.next, "outcome": known.outcome,
    }  # fmt: skip
    write_text(arguments.output, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
