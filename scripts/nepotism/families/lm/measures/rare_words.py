"""Rare words: Zipf's tail, which self-training loses first (Shumailov et al. 2023, arXiv 2305.17493; Dohmatob et al. 2024, arXiv
2402.07043, on how it is cut off)."""

import re
from collections import Counter
from collections.abc import Collection, Iterable

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, in small letters."""
    return Counter(word for text in texts for word in _WORD.findall(text.lower()))


def rare(counts: Counter[str], share: float) -> frozenset[str]:
    """The rarest words that together make up ``share`` of a text, and not more: all words of one frequency or none, but in any case
    those that occur once."""
    by_count: dict[int, list[str]] = {}
    for word, count in counts.items():
        by_count.setdefault(count, []).append(word)
    found: list[str] = []
    total, allowed = 0, share * counts.total()
    for count in sorted(by_count):
        total += count * len(by_count[count])
        if found and total > allowed:
            break
        found += by_count[count]
    return frozenset(found)


def share_of(texts: Iterable[str], chosen: Collection[str]) -> float:
    """Of all words of texts, the share that is among those ``chosen``: [0, 1]; nan without any word."""
    counts = words(texts)
    total = counts.total()
    return sum(count for word, count in counts.items() if word in chosen) / total if total else float("nan")
