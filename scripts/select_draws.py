"""Draw several images for each slot and keep one of them: by a score, for their variety, or at random."""

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nepotism.chain.slots import read_treated
from nepotism.controls.filter import detector
from nepotism.controls.select_draws import CONTROL
from nepotism.controls.select_draws.choosing import HUNDREDTHS, Candidates, choose, noise
from nepotism.controls.select_draws.curated import Choice, seen_as, selected, table
from nepotism.data.images import ImageSet, read_image_set, write_image_set
from nepotism.data.tables import write_csv
from nepotism.families.diffusion import sampling
from nepotism.measure.evaluation import Evaluator, embed
from nepotism.measure.features import clip_text_features, load_clip
from nepotism.runtime import cli
from nepotism.runtime.devices import start
from nepotism.runtime.options import add_keys, add_parameters
from nepotism.runtime.resume.job import Job


def main() -> None:
    parser = cli.parser(__doc__, stage="select_draws")
    sampling.add_model(parser)
    cli.add_control(parser)
    add_parameters(parser, CONTROL.parameters)
    add_keys(parser, "initial_images", "strength", required=False)
    add_keys(parser, "score", "clip")
    add_keys(parser, "execution", "embed_batch_size")
    parser.add_argument("--detector", type=Path, help="from train_detector (JSON), for `--score detector`")
    cli.run(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    with Job(arguments.output, arguments.checkpoint_seconds) as job:
        draw_and_select(arguments, job)


def draw_and_select(arguments: argparse.Namespace, job: Job) -> None:
    device = start(arguments.device, arguments.threads)
    real = read_image_set(arguments.real)
    generated = read_treated(arguments.generated, real.records, arguments.ratio, arguments.seed)
    drawer = sampling.Drawer(arguments, device, job, image_to_image=arguments.strength is not None)
    draws = [generated, *drawn(arguments, drawer, generated, real)]
    clip = load_clip(arguments.clip, device)
    embedded = [embed(Evaluator(["clip"], clip, arguments.embed_batch_size), each) for each in draws]
    features = np.stack([each.spaces["clip"] for each in embedded], axis=1)
    if arguments.score == "detector":
        judge = detector.read(arguments.detector)
        scores = np.stack([1 - judge.confidence(each.spaces["clip"]) for each in embedded], axis=1)
    else:
        scores = np.stack([each.values[arguments.score] for each in embedded], axis=1)
    groups = [record.group for record in generated.records]
    slots = [record.slot for record in generated.records]
    filled = choose(
        arguments.rule,
        Candidates(groups, scores, features, noise(slots, len(draws), arguments.seed, arguments.iteration)),
        arguments.reward_scale * HUNDREDTHS[arguments.score],
    )
    captions = list(dict.fromkeys((record.prompt, record.group) for record in real.records))
    texts = clip_text_features(clip, [prompt for prompt, _ in captions])
    seen = [
        seen_as(each.spaces["clip"], images.records, texts, captions)
        for each, images in zip(embedded, draws, strict=True)
    ]
    curated = selected(draws, filled, arguments.cell)
    rows = list(table(draws, filled, curated, scores, seen))
    job.check()
    write_csv(arguments.table, rows, Choice)
    write_image_set(arguments.output, curated.pixels, curated.records)
    logging.info(
        "%s: mean %s of %d draws %.4g, of the %d that were kept %.4g",
        arguments.output, arguments.score, scores.size, scores.mean(), len(rows), np.mean([row.score for row in rows]),
    )  # fmt: skip


def drawn(
    arguments: argparse.Namespace, drawer: sampling.Drawer, generated: ImageSet, real: ImageSet
) -> list[ImageSet]:
    """Draws 2 to K of the slots of ``generated``, an image set each.

    They are drawn as those were, from streams that know the model's iteration and not the arm. All in one piece of work: however
    many draws there are, what a killed job loses is one interval between checkpoints.
    """
    numbers = range(2, arguments.draws + 1)
    wanted = [
        (
            each.slot,
            each.group,
            each.prompt,
            (arguments.seed, arguments.iteration - 1, "select", each.slot, number),
        )
        for number in numbers
        for each in generated.records
    ]
    made = drawer.draw("drawn", wanted, arguments.iteration - 1, started_from(arguments, wanted, real))
    count = len(generated.records)
    parts = [slice(start, start + count) for start in range(0, len(wanted), count)]
    # An image set of its own for every draw, so that no two images of a slot have one id.
    return [
        ImageSet(
            made.pixels[part],
            [
                dataclasses.replace(record, id=f"{arguments.cell}/drawn-{number}/{record.slot}")
                for record in made.records[part]
            ],
        )
        for number, part in zip(numbers, parts, strict=True)
    ]


def started_from(arguments: argparse.Namespace, wanted: Sequence[sampling.Wanted], real: ImageSet) -> ImageSet | None:
    """The real images of the wanted slots, where images are made from them."""
    if arguments.strength is None:
        return None
    at = {record.slot: index for index, record in enumerate(real.records)}
    chosen = [at[slot] for slot, *_ in wanted]
    return ImageSet(real.pixels[chosen], [real.records[index] for index in chosen])


if __name__ == "__main__":
    main()
