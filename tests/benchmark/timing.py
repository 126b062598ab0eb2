"""Timing a command as a whole process."""

import os
import subprocess
import sys
import time
from pathlib import Path


def timed(command: list[str], folder: Path | None = None, **environment: str) -> float:
    """Seconds that ``command`` took in ``folder``, with ``environment`` laid over this process's; ends if it fails."""
    start = time.perf_counter()
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment})
    elapsed = time.perf_counter() - start
    if made.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{made.stderr[-4000:]}")
    return elapsed
