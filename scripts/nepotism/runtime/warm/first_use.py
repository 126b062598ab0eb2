"""What libraries put off until they are first used, and what every forked job would load again."""

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

logger = logging.getLogger(__name__)

_before_fork: dict[str, list[Callable[[Path], None]]] = {}


def before_fork(option: str, prepare: Callable[[Path], None]) -> None:
    """Have ``prepare`` called with what a job's command gives an ``option``, before that job is forked."""
    _before_fork.setdefault(option, []).append(prepare)


def prepare_for(command: Sequence[str], folder: Path) -> None:
    """Prepare what the options of a job's ``command`` name, which runs in ``folder``."""
    for option, value in pairwise(command):
        for prepare in _before_fork.get(option, ()):
            prepare(folder / value)


def prepare_libraries() -> None:
    """Do it now, for the libraries that are imported. It is half a second of a job and none of its work: what fails here is left
    to the job, which may never need it."""
    if "pyarrow" in sys.modules:
        # Before its first table, to know whether columns are those of pandas; not everyone has pandas.
        _try(lambda: importlib.import_module("pandas"))
    if conversions := sys.modules.get("transformers.conversion_mapping"):
        # Before the first model is loaded; the table is of all types of models, whichever is asked for.
        _try(lambda: conversions.get_checkpoint_conversion_mapping("clip"))


def _try(prepare: Callable[[], object]) -> None:
    try:
        prepare()
    except (ImportError, AttributeError) as error:
        logger.debug("left to jobs: %s", error)
