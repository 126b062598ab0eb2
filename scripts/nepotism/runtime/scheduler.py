"""The head process: the one `snakemake` that sends jobs and waits for them. Standard library only."""

from typing import Any

# Snakemake's own limit, unless `--max-jobs-per-timespan` gives another: 100 starts a second never bind us.
USUAL_LIMIT = (100, 1)


def end_idle_wake_ups(scheduler: Any) -> None:
    """Let Snakemake's scheduler sleep until a job ends.

    With a limit of starts per second it wakes itself a second after every look at its jobs, and each such look asks for the
    next: every job that ever ended adds one wake-up a second, for ever (snakemake 9.27; tests/unit/test_head.py tells when that
    is mended). Without a limit it looks when a job has ended, and only then. A limit that the user asked for stays.
    """
    limiter = scheduler.job_rate_limiter
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == USUAL_LIMIT:
        scheduler.job_rate_limiter = None
