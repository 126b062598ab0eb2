"""Paths of the machine that an experiment ran on, which are nobody else's business: found, and taken out of texts."""

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

# Stands for the folders above a file or folder that the configuration names.
ELSEWHERE = "(private)"
# How names of folders outside of the project begin.
_OUTSIDE = ("/", "~/", "../")
# What a path may be followed by, so that /people is not found in /peoples.
_END = r"(?![\w.-])"
# The same in bytes, of which those from 0x80 on are parts of letters.
_END_OF_BYTES = rb"(?![\w.\-\x80-\xff])"


class Private:
    """Paths that must not be published.

    Args:
        places: folders such as the home and the working directory, and what stands for each.
        config: a configuration; of the paths in it that lead out of the project, only the last part is published.
    """

    def __init__(self, places: Mapping[Path, str], config: Mapping[str, Any]) -> None:
        told = {str(place): name for place, name in places.items() if len(place.parts) > 1}
        told |= {path: f"{ELSEWHERE}/{PurePosixPath(path).name}" for path in _outside(config)}
        # In every way in which a file may write it, and what stands for it in the same way.
        names = {write(path): write(name) for path, name in told.items() for write in _WAYS}
        # Inner folders first.
        self._names = dict(sorted(names.items(), key=lambda item: -len(item[0])))
        found = "|".join(map(re.escape, self._names)) or "(?!)"
        self._pattern = re.compile(f"(?:{found}){_END}")
        self._bytes = re.compile(f"(?:{found})".encode() + _END_OF_BYTES)

    def removed(self, text: str) -> str:
        """A text without these paths."""
        return self._pattern.sub(lambda match: self._names[match[0]], text)

    def cleaned(self, value: Any) -> Any:
        """A configuration, or a part of one, without these paths: for what is written so that `removed` would not know them again."""
        if isinstance(value, str):
            return self.removed(value)
        if isinstance(value, Mapping):
            return {key: self.cleaned(inner) for key, inner in value.items()}
        return [self.cleaned(each) for each in value] if isinstance(value, list) else value

    def found(self, content: bytes) -> str | None:
        """One of these paths in what a file holds; None without any."""
        match = self._bytes.search(content)
        return match and match[0].decode()


def here(root: Path) -> dict[Path, str]:
    """The folders of this machine that nothing published names: home, working directory, the project's."""
    return {Path.home(): "~", root.resolve(): ".", Path.cwd(): "."}


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _in_script(text: str) -> str:
    """As JSON in the scripts of a page, by Jinja's `tojson`."""
    return "".join(f"\\u{ord(letter):04x}" if letter in "<>&'" else letter for letter in _in_json(text))


def _in_page(text: str) -> str:
    """As in HTML, by Jinja; others write other numbers for quotes."""
    return html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


# Of two that write a path alike, what stands for it is written in the later one's way.
_WAYS: tuple[Callable[[str], str], ...] = (
    quote,
    lambda text: html.escape(_in_json(text)),
    lambda text: _in_page(_in_json(text)),
    _in_page,
    html.escape,
    _in_script,
    _in_json,
    str,
)


def _outside(config: Mapping[str, Any]) -> set[str]:
    """Paths in a configuration that lead out of the project."""
    return {text for text in _texts(config) if text.startswith(_OUTSIDE) and text.strip("/~.")}


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)
