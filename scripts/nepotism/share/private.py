"""Paths of the machine that an experiment ran on, which are nobody else's business: found, and taken out of texts."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from nepotism.share.provenance import flat

# Stands for the folders above a file or folder that the configuration names.
ELSEWHERE = "(private)"
# What a path may be followed by, so that /people is not found in /peoples.
_END = r"(?![\w.-])"


class Private:
    """Paths that must not be published.

    Args:
        places: folders such as the home and the working directory, and what stands for each.
        config: a configuration; of the absolute paths in it, only the last part is published.
    """

    def __init__(self, places: Mapping[Path, str], config: Mapping[str, Any]) -> None:
        told = {str(place): name for place, name in places.items() if len(place.parts) > 1}
        told |= {path: f"{ELSEWHERE}/{PurePosixPath(path).name}" for path in _absolute(config)}
        # Inner folders first.
        self._names = dict(sorted(told.items(), key=lambda item: -len(item[0])))
        found = "|".join(map(re.escape, self._names)) or "(?!)"
        self._pattern = re.compile(f"(?:{found}){_END}")
        self._bytes = re.compile(f"(?:{found}){_END}".encode())

    def removed(self, text: str) -> str:
        """A text without these paths."""
        return self._pattern.sub(lambda match: self._names[match[0]], text)

    def found(self, content: bytes) -> str | None:
        """One of these paths in what a file holds; None without any."""
        match = self._bytes.search(content)
        return match and match[0].decode()


def here(root: Path) -> dict[Path, str]:
    """The folders of this machine that nothing published names: home, working directory, the project's."""
    return {Path.home(): "~", root.resolve(): ".", Path.cwd(): "."}


def _absolute(config: Mapping[str, Any]) -> set[str]:
    """Absolute paths that a configuration names."""
    values = (value for _, value in flat(dict(config)))
    return {text for value in values for text in _texts(value) if text.startswith(("/", "~/")) and text.strip("/~")}


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
