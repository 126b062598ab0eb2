"""Progress of long work: a bar on a terminal, plain lines in a log."""

import logging
import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

logger = logging.getLogger(__name__)


class Progress:
    """Count finished units of work, with the time left.

    On a terminal it is a bar on stderr. A line also goes to the log at most every ``interval`` seconds, and at the end.

    Args:
        total: number of units.
        label: what is being done, such as ``finetune none/ratio-25/seed-0/iteration-3``.
        unit: name of one unit.
        interval: least number of seconds between two lines of the log.
        done: how many were finished before, by a job that this one goes on from.
    """

    def __init__(self, total: int, label: str, unit: str = "step", interval: float = 10.0, done: int = 0) -> None:
        self._total, self._label, self._unit, self._interval = total, label, unit, interval
        self._done, self._before, self._start = done, done, time.monotonic()
        self._said = self._start
        shown = sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=label, unit=unit, disable=not shown, leave=False, initial=done)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, count: int = 1, **values: float) -> None:
        """Count ``count`` more finished units; ``values`` (such as the loss) are shown beside them."""
        self._done += count
        self._bar.update(count)
        if values:
            self._bar.set_postfix({key: f"{value:.4g}" for key, value in values.items()}, refresh=False)
        now = time.monotonic()
        shown = "".join(f", {key} {value:.4g}" for key, value in values.items())
        if self._done >= self._total:
            count = self._total - self._before
            logger.info("%s: %d %ss in %.1f s%s", self._label, count, self._unit, now - self._start, shown)
        elif now - self._said >= self._interval:
            self._said = now
            left = (now - self._start) / (self._done - self._before) * (self._total - self._done)
            logger.info("%s: %s %d/%d%s, %.0f s left", self._label, self._unit, self._done, self._total, shown, left)
