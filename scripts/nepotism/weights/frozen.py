"""Models that no job changes. The process that jobs are forked from loads them once, and every job finds them loaded."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch

from nepotism.runtime.warm import first_use

logger = logging.getLogger(__name__)

Others = ParamSpec("Others")
Loaded = TypeVar("Loaded")
Loader = Callable[Concatenate[Path, Others], Loaded]
State = list[tuple[str, int, int]]


@dataclass(frozen=True)
class _Held:
    """A model, None if it could not be loaded, and the files that it was loaded from."""

    model: Any
    state: State


_held: dict[tuple[str, Path, tuple[Any, ...]], _Held] = {}


def frozen(option: str, *others: Any) -> Callable[[Loader[Others, Loaded]], Loader[Others, Loaded]]:
    """Decorates a loader, ``load(folder, *others)``, of a model that no job changes.

    Args:
        option: of scripts, which names the folder. A job with it is forked when the model has been loaded.
        others: what the loader is called with beside the folder. Called in another way it loads anew.
    """

    def decorated(load: Loader[Others, Loaded]) -> Loader[Others, Loaded]:
        name = f"{load.__module__}.{load.__qualname__}"

        @wraps(load)
        def found(folder: Path, *given: Others.args, **named: Others.kwargs) -> Loaded:
            held = None if named else _held.get((name, folder.absolute(), given))
            if held is not None and held.model is not None and held.state == _state(folder):
                model: Loaded = held.model
                return model
            return load(folder, *given, **named)

        def hold(folder: Path) -> None:
            key = (name, folder.absolute(), others)
            try:
                state = _state(folder)
            except OSError as error:
                # A file that is gone or that may not be looked at, which the job tells in its own log.
                logger.debug("left to jobs: %s", error)
                return
            if key not in _held or _held[key].state != state:
                _held[key] = _Held(_loaded(lambda: load(folder, *others)), state)  # type: ignore[call-arg]

        first_use.before_fork(option, hold)
        return found

    return decorated


def _loaded(load: Callable[[], object]) -> object:
    # By one thread: a process that has computed by several cannot be forked.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return load()
    except Exception as error:
        # The job that needs it tells why, in its own log.
        logger.debug("left to jobs: %s", error)
        return None
    finally:
        torch.set_num_threads(threads)


def _state(folder: Path) -> State:
    """Names, times and sizes of a folder's files."""
    files = [(file, file.stat()) for file in sorted(folder.rglob("*")) if file.is_file()]
    return [(str(file.relative_to(folder)), status.st_mtime_ns, status.st_size) for file, status in files]
