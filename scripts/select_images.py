"""Choose the faces of an experiment: groups by age, race and gender, and a seeded draw from each."""

import argparse
import json
import logging
from pathlib import Path

from nepotism.data.tables import write_csv
from nepotism.data.user_files import nfc, once
from nepotism.runtime import cli
from nepotism.runtime.errors import UserError
from nepotism.runtime.options import add_keys
from nepotism.sources.ffhq.labels import read_labels, read_table
from nepotism.sources.ffhq.selection import Chosen, Groups, select, with_licences

METADATA = "ffhq-dataset-v2.json"


def main() -> None:
    parser = cli.parser(__doc__, stage="select_images")
    add_keys(parser, "reference", "images_per_group")
    add_keys(parser, "reference.ffhq", "path", "caption", "factors", "selection_seed", required=True)
    parser.add_argument("--ages", nargs="+", required=True, help="NAME=YEARS: names of ages and where they begin")
    parser.add_argument("--rename", nargs="*", default=[], help="FROM=TO, or FROM= to leave such faces out")
    parser.add_argument("--columns", nargs="*", default=[], help="file=COLUMN and so on, of a table of labels")
    parser.add_argument(
        "--fresh-sets", nargs="*", default=[], help="names of reserved sets, to check that there are faces for them"
    )
    parser.add_argument("--fresh", action="store_true", help="choose the faces of the last of these sets")
    parser.add_argument("--labels", type=Path, nargs="+", required=True, help="shards (.parquet), or one table (.csv)")
    parser.add_argument("--output", type=Path, required=True, help="output: the chosen images (CSV)")
    cli.run(run, parser.parse_args())


def pairs(words: list[str]) -> list[tuple[str, str]]:
    """NAME=VALUE words, cut at the last =.

    Raises:
        UserError: naming a word without name or =.
    """
    for word in words:
        if not word.rpartition("=")[0]:
            raise UserError(f"{word}: expected NAME=VALUE")
    return [(word.rpartition("=")[0], word.rpartition("=")[2]) for word in words]


def run(arguments: argparse.Namespace) -> None:
    groups = Groups(
        arguments.caption,
        arguments.factors,
        [(name, float(years)) for name, years in pairs(arguments.ages)],
        {nfc(old).lower(): new or None for old, new in pairs(arguments.rename)},
    )
    if arguments.labels[0].suffix == ".csv":
        columns = dict.fromkeys(("file", "age", "gender", "race")) | {
            key: nfc(column) for key, column in pairs(arguments.columns)
        }
        labels = read_table(arguments.labels[0], columns)
    else:
        labels = [label for shard in arguments.labels for label in read_labels(shard)]
    chosen = select(
        labels, groups, arguments.images_per_group, arguments.selection_seed, len(arguments.fresh_sets), arguments.fresh
    )
    metadata = arguments.path / METADATA
    if metadata.is_file():
        try:
            content = json.loads(metadata.read_text(encoding="utf-8"), object_pairs_hook=once)
            chosen = with_licences(chosen, content)
        except (ValueError, AttributeError) as error:
            raise UserError(
                f"{metadata}: it is not FFHQ's metadata ({error}); move it away or fetch it again"
            ) from None
    else:
        logging.info("no %s in %s: licences stay empty", METADATA, arguments.path)
    write_csv(arguments.output, chosen, Chosen)
    logging.info("%s: %d images of %d groups", arguments.output, len(chosen), len({each.group for each in chosen}))


if __name__ == "__main__":
    main()
