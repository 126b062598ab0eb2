"""Send the scores of a cell to an experiment tracker: TensorBoard, W&B, MLflow or trackio."""

import argparse
import json
from pathlib import Path

from nepotism.plan.results import read_config
from nepotism.runtime import cli
from nepotism.runtime.files import write_text
from nepotism.share.private import Private, here
from nepotism.share.provenance import flat
from nepotism.share.tracking import TRACKERS, Run, send, values_by_iteration


def main() -> None:
    parser = cli.parser(__doc__, stage="track")
    parser.add_argument("--log-with", choices=TRACKERS, required=True, help="the tracker")
    parser.add_argument("--project", required=True, help="name of the experiment")
    parser.add_argument("--run", required=True, help="what the tracker calls a run: control, ratio and seed")
    parser.add_argument("--iteration", type=int, required=True, help="of the cell")
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True, help="metrics.json of the cell, or of several"
    )
    parser.add_argument("--before", type=Path, help="what this script wrote for the cell before")
    parser.add_argument("--configuration", type=Path, required=True, help="config.json of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="output: what was sent (JSON)")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    config = read_config(arguments.configuration.parent)
    # A tracker may be somebody else's machine.
    private = Private(here(Path(__file__).parents[1]), config)
    settings = {key: str(value) for key, value in flat(private.cleaned(config))}
    before = json.loads(arguments.before.read_text(encoding="utf-8")) if arguments.before else {}
    # Below this folder, every chain has one of its own.
    folder = arguments.output.parents[len(Path(arguments.run).parts)]
    chain = Run(arguments.project, arguments.run, folder, before.get("run_id"))
    values = values_by_iteration(arguments.metrics)
    run_id = send(arguments.log_with, chain, arguments.iteration, values, {} if before else settings)
    sent = {"run_id": run_id, "values": {iteration: len(named) for iteration, named in values.items()}}
    write_text(arguments.output, json.dumps(sent, indent=1) + "\n")


if __name__ == "__main__":
    main()
