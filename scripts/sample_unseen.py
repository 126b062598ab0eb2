"""Draw images for captions that the model was never retrained on."""

import argparse

from nepotism import cli, sampling


def main() -> None:
    parser = cli.parser(__doc__, stage="sample_unseen")
    sampling.add_options(parser)
    parser.add_argument("--prompts", nargs="+", required=True, help="captions that are never trained on")
    parser.add_argument("--images-per-prompt", type=int, required=True, help="images of each caption")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    sampling.run(arguments, "unseen", plan)


def plan(arguments: argparse.Namespace) -> list[sampling.Wanted]:
    wanted: list[sampling.Wanted] = []
    for position, prompt in enumerate(arguments.prompts):
        group = f"unseen-{position:02d}"
        for index in range(arguments.images_per_prompt):
            # Keyed by the caption itself: adding or reordering captions changes no other image.
            key = (arguments.seed, arguments.iteration, "unseen", prompt, index)
            wanted.append((f"{group}/{index:03d}", group, prompt, key))
    return wanted


if __name__ == "__main__":
    main()
