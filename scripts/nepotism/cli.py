"""What every command line of the project shares: `--log`, readable errors, one exit code."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path


class UserError(Exception):
    """A mistake in the user's input: its message names the key or file, what was wrong and what to do."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser with the project's common options."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--log", type=Path, help="write progress and messages to this file as well")
    return made


def run(main: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> None:
    """Set up logging, run ``main``, and turn a `UserError` into its message and exit code 2."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if arguments.log:
        arguments.log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(arguments.log, mode="w", encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)
    for noisy in ("httpx", "PIL", "matplotlib", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        main(arguments)
    except UserError as error:
        logging.error("error: %s", error)
        sys.exit(2)
    except Exception:
        # The traceback belongs into the log file too, not only on the terminal of whoever happened to start the job.
        logging.exception("failed")
        sys.exit(1)
