"""What else of two experiments differs: settings, versions, verdicts on claims."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nepotism.data.tables import read_text_csv
from nepotism.judge.decisions import FAILS, HOLDS
from nepotism.runtime.errors import UserError
from nepotism.share.provenance import Versions, flat

# What decides how images are measured: with another one of these, scores of equal images differ.
MEASURING = ("reference.", "score.", "model.resolution", "unseen.")
# Keys that change how a result is made and not the result, and one that only names it.
IDLE = ("execution.", "tracking.", "experiment")
ABSENT = "(not there)"


@dataclass(frozen=True)
class Setting:
    """A key that differs: nested, as in `finetune.epochs`; its values as JSON, or `ABSENT`."""

    key: str
    a: str
    b: str

    @property
    def measures(self) -> bool:
        """Whether scores of the two experiments are not of one scale with it."""
        return self.key.startswith(MEASURING)

    @property
    def idle(self) -> bool:
        """Whether it changes no result."""
        return self.key.startswith(IDLE)


@dataclass(frozen=True)
class Verdicts:
    """A claim that both experiments judge.

    Attributes:
        claim: its numbers, "17" or "17/18" where they differ.
        a, b: the verdicts.
        effects_a, effects_b: its effects, as tables/claims.csv has them.
    """

    claim: str
    statement: str
    a: str
    b: str
    effects_a: str
    effects_b: str

    @property
    def flipped(self) -> bool:
        """Whether one says that it holds and the other that it does not."""
        return {self.a, self.b} == {HOLDS, FAILS}


def settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Setting]:
    """Keys of two configurations that differ; those that decide results first, in the order of a.

    An arm that only one has is one key.
    """
    arms = [{arm["name"] for arm in config.get("arms", ())} for config in (a, b)]
    flat_a, flat_b = (_flat(config, arms[0] ^ arms[1]) for config in (a, b))
    told = [
        Setting(key, *(json.dumps(config[key]) if key in config else ABSENT for config in (flat_a, flat_b)))
        for key in dict.fromkeys([*flat_a, *flat_b])
        if key not in flat_a or key not in flat_b or flat_a[key] != flat_b[key]
    ]
    return sorted(told, key=lambda setting: setting.idle)


def _flat(config: Mapping[str, Any], whole: set[str]) -> dict[str, Any]:
    """Nested keys with their values; arms of these names as they are."""
    kept = [arm for arm in config.get("arms", ()) if arm["name"] not in whole]
    alone = {f"arms.{arm['name']}": arm for arm in config.get("arms", ()) if arm["name"] in whole}
    return dict(flat({**config, "arms": kept})) | alone


def other_versions(a: Versions, b: Versions) -> list[Setting]:
    """Keys of provenance whose values differ: each value that occurs, with the number of cells where there are several."""
    keys = dict.fromkeys([*a, *b])
    return [
        Setting(key, _told(a.get(key)), _told(b.get(key))) for key in keys if set(a.get(key, ())) != set(b.get(key, ()))
    ]


def _told(found: Counter[str] | None) -> str:
    if not found:
        return ABSENT
    several = len(found) > 1
    return ", ".join(f"{value} ({count} cells)" if several else value for value, count in found.most_common())


def claims(folder: Path) -> list[dict[str, str]]:
    """The claims of an experiment; none where they have not been judged."""
    path = folder / "tables" / "claims.csv"
    found = read_text_csv(path) if path.is_file() else []
    if found and not {"claim", "statement", "verdict", "statistic"} <= found[0].keys():
        raise UserError(f"{path} is no table of claims; delete it to regenerate it")
    return found


def verdicts(a: Sequence[Mapping[str, str]], b: Sequence[Mapping[str, str]]) -> list[Verdicts]:
    """The claims that both have. A claim is known by its words: those on arms are numbered as there are arms."""
    others = list(b)
    found: list[tuple[Mapping[str, str], Mapping[str, str]]] = []
    for words in (_statement, _branch_less):
        for claim in [each for each in a if each not in [pair[0] for pair in found]]:
            match = next((other for other in others if words(other) == words(claim)), None)
            if match is not None:
                others.remove(match)
                found.append((claim, match))
    return sorted(_paired(found), key=lambda each: int(each.claim.partition("/")[0]))


def _paired(found: Sequence[tuple[Mapping[str, str], Mapping[str, str]]]) -> Iterator[Verdicts]:
    for a, b in found:
        number = "/".join(dict.fromkeys((a["claim"], b["claim"])))
        yield Verdicts(number, a["statement"], a["verdict"], b["verdict"], a["statistic"], b["statistic"])


def _statement(claim: Mapping[str, str]) -> str:
    return claim["statement"]


def _branch_less(claim: Mapping[str, str]) -> str:
    """A claim on healing without the branch that scores have chosen."""
    return re.sub(r" \(from [^()]*\)$", "", claim["statement"])
