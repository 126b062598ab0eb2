"""Preparing the next piece of work while the present one is under way."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], threaded: bool = True
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with ``function(item)``, which a thread computes one item ahead.

    Where one processor does everything a thread gains nothing: then ``threaded`` is to be False.
    """
    if not threaded:
        yield from ((item, function(item)) for item in items)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[Item, Future[Result]] | None = None
        for item in items:
            begun = item, pool.submit(function, item)
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = begun
        if waiting:
            yield waiting[0], waiting[1].result()
