"""Counter-based random streams, keyed by what is drawn and never by when.

Every draw of the project comes from a stream named by a tuple such as ``(seed, iteration, "finetune", epoch, slot)``.
The name alone decides the numbers: batch size, order, workers, devices and interruptions do not. Ratio and control are
never part of a name, so that arms are paired and their contrasts tight.
"""

import hashlib
import json

import numpy as np

StreamKey = tuple[str | int, ...]


def name(key: StreamKey) -> str:
    """The key as written into provenance columns, such as ``0/3/sample/smiling-red-round/004``."""
    return "/".join(str(part) for part in key)


def of_draw(purpose: str, draw: int) -> str:
    """What a draw is called in the names of streams and files: the first one by its purpose, others by their number, too."""
    return f"{purpose}-{draw}" if draw else purpose


def _digest(key: StreamKey) -> bytes:
    # JSON keeps 1 and "1" apart, and cannot confuse ("a", "b") with ("a/b",).
    return hashlib.blake2b(json.dumps(key).encode(), digest_size=16).digest()


def generator(*key: str | int) -> np.random.Generator:
    """A NumPy generator for the stream ``key``: Philox 4x64, whose 128-bit key is the BLAKE2b digest of the name."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(key), "little")))


def integer_seed(*key: str | int) -> int:
    """A 63-bit seed for the stream ``key``, for libraries that take an integer (such as ``torch.Generator``)."""
    return int.from_bytes(_digest(key)[:8], "little") >> 1
