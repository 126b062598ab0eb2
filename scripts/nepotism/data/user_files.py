"""Files that users bring: which of them count, what they are called, and which of them were never fetched.

Standard library only.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from nepotism.runtime.errors import UserError
from nepotism.runtime.files import POINTER_ADVICE, head_of, is_pointer

# What systems and programs leave beside data; names that begin with a dot are hidden anyway.
_LEFT_BEHIND = ("__MACOSX", "Thumbs.db", "desktop.ini")
# What files call the splits of a data set.
_SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "test": "test", "t10k": "test"}
# As the hub names the parts of a split: train-00000-of-00002, or 0000 in a folder of the split.
_SHARD = re.compile(r"(?P<stem>.*?)-?(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})|(?P<alone>[0-9]{4,5})")
_TOLD = 100


def nfc(text: str) -> str:
    """Text with composed letters: a Mac writes é of file names as e and an accent, and editors do not."""
    return unicodedata.normalize("NFC", text)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name belongs to a system or a program, and is none of the user's data."""
    return name.startswith(".") or name in _LEFT_BEHIND


def is_metadata(name: str) -> bool:
    """Whether a file is called like metadata, in whatever format or spelling."""
    return name.lower().split(".")[0] == "metadata"


def visible_files(folder: Path) -> list[Path]:
    """All files inside a folder, without those of which a part of the path is hidden; links to folders are followed once."""
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        found += [Path(place, name) for name in files if not is_hidden(name)]
    return sorted(found)


def visible(folder: Path) -> list[Path]:
    """What lies in a folder itself, without what is hidden."""
    return sorted(each for each in folder.iterdir() if not is_hidden(each.name))


def inside(name: str) -> str | None:
    """A relative path in its shortest form; None for one that leads out of its folder."""
    short = os.path.normpath(name)
    if os.path.isabs(short) or PureWindowsPath(short).drive or short.split(os.sep)[0] == os.pardir:
        return None
    return short


def find(folder: Path, name: str) -> Path | None:
    """The file that is called so, in composed or decomposed letters; None if there is none. It may be a link.

    Args:
        folder: where the path begins.
        name: a relative path, as `inside` gives it.
    """
    # os.path and not pathlib: a name that no file can have is one that is not there.
    if os.path.isfile(folder / name):
        return folder / name
    place = folder
    for part in name.split(os.sep):
        try:
            alike = [each for each in os.listdir(place) if nfc(each) == nfc(part)]
        except OSError:
            return None
        if not alike:
            return None
        place = place / alike[0]
    return place if os.path.isfile(place) else None


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        UserError: if it cannot be read, or is a pointer of Git LFS.
    """
    check_readable(path)
    return path.read_bytes()


def check_readable(path: Path) -> None:
    """Check that a file can be read and is no pointer of Git LFS.

    Raises:
        UserError: naming the file and what is wrong.
    """
    try:
        head = head_of(path)
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror})") from None
    if is_pointer(head):
        raise UserError(f"{path}: {POINTER_ADVICE}")


def first_of(texts: Sequence[str], count: int = 4) -> list[str]:
    """Texts for a message; of many, the first, and as one more how many others there are."""
    more = [f"and {len(texts) - count} more"] if len(texts) > count else []
    return [*texts[:count], *more]


def listed(lines: Sequence[str]) -> str:
    """Lines for a message, indented; of many, the `first_of` them."""
    return "\n".join(f"  - {line}" for line in first_of(lines, _TOLD))


def first_names(paths: Iterable[Path], folder: Path) -> str:
    """Paths inside a folder for a sentence; of many, the `first_of` them."""
    return ", ".join(first_of([str(path.relative_to(folder)) for path in paths]))


def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for the ``object_pairs_hook`` of `json.loads`, which takes the last of two equal keys without a word.

    Raises:
        ValueError: if a key is given twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"{', '.join(first_of(twice))} given twice")
    return found


def by_split(folder: Path, files: Sequence[Path], key: str) -> dict[str, list[Path]]:
    """Files of a data set by split: ``train``, ``validation``, ``test``, and empty for those whose names tell none.

    The name of a file tells its split, or else that of its folder. A split is one file, or all the parts of one, called
    ``train-00000-of-00002`` and so on.

    Args:
        folder: of the data set.
        files: inside it.
        key: of the config, for messages.

    Raises:
        UserError: if a split has several files that are not parts of one, or lacks parts; naming them.
    """
    of_split: dict[str, list[Path]] = {}
    for path in files:
        of_split.setdefault(split_of(path.relative_to(folder), key), []).append(path)
    for split, members in of_split.items():
        if split:
            _check_one(folder, split, members, key)
    return of_split


def split_of(path: Path, key: str) -> str:
    """The split that a file's path tells; empty if it tells none.

    Raises:
        UserError: if its name tells two.
    """
    for part in [path.name, *path.parent.parts[-1:]]:
        told = {_SPLITS[word] for word in re.split(r"[-._]", part) if word in _SPLITS}
        if len(told) > 1:
            raise UserError(f"{key}: {path} names two splits, {' and '.join(sorted(told))}; rename it or move it away")
        if told:
            return told.pop()
    return ""


def _check_one(folder: Path, split: str, members: Sequence[Path], key: str) -> None:
    # What parts of one have in common, with how many there should be; then the parts by number.
    candidates: dict[tuple[Path, str, str], dict[int, Path]] = {}
    for path in members:
        found = _SHARD.fullmatch(path.stem)
        if found is None:
            candidates[path, "", "1"] = {0: path}
        else:
            common = (path.parent, f"{found['stem']}{path.suffix}", found["count"] or "")
            candidates.setdefault(common, {})[int(found["number"] or found["alone"])] = path
    if len(candidates) > 1:
        first = [next(iter(parts.values())) for parts in candidates.values()]
        raise UserError(
            f"{key}: {folder} has several candidates for the split {split}: {first_names(first, folder)}; give the folder of one "
            "data set, or move the others away (parts of one are called like train-00000-of-00002)"
        )
    (((_, _, count), parts),) = candidates.items()
    whole = range(int(count or max(parts) + 1))
    if missing := sorted(set(whole) - set(parts)):
        some = next(iter(parts.values())).relative_to(folder)
        raise UserError(
            f"{key}: {folder} lacks {len(missing)} of {len(whole)} parts of the split {split}: number "
            f"{', '.join(map(str, missing[:4]))} of those like {some}; fetch them"
        )
