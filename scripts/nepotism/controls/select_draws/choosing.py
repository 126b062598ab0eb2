"""Rules by which one of several draws is kept for each slot: functions of scores, features and keyed noise.

A group's n slots have K draws each. Its candidates are counted slot by slot: draw k of slot i is candidate i K + k.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nepotism.runtime import streams

Rule = Literal["k_choice", "top_quantile", "farthest_point", "threshold_decay", "random"]
Values = NDArray[np.float64]
Positions = NDArray[np.int64]

# Of each score, how many hundredths one is; a CLIP score is 100 x cosine already.
HUNDREDTHS = {"clip_score": 1.0, "detector": 100.0, "contrast": 100.0, "saturation": 100.0}
# What is left of the threshold of `threshold_decay` when nothing passed.
DECAY = 0.95


@dataclass(frozen=True)
class Candidates:
    """What is known of K draws for each of N slots.

    Attributes:
        groups: of the slots, N names.
        scores: float64 (N, K); higher is better.
        features: float (N, K, D).
        noise: float64 (N, K), from `noise`.
    """

    groups: Sequence[str]
    scores: Values
    features: NDArray
    noise: Values


def noise(slots: Iterable[str], draws: int, seed: int, iteration: int) -> Values:
    """Standard Gumbel noise of every draw of every slot: float64 (N, K). More draws leave that of the first as it is."""
    return np.stack([streams.generator(seed, iteration, "choose", slot).gumbel(size=draws) for slot in slots])


def choose(rule: Rule, candidates: Candidates, reward_scale: float) -> Positions:
    """The candidate that fills each slot, none of them two: int (N,) of positions in 0 .. N K - 1, all of the slot's own group.

    Of one draw per slot, each fills its own, whatever the rule.

    Args:
        rule: see the control's parameter.
        candidates: all draws.
        reward_scale: of ``k_choice``: factor of the scores.
    """
    scores = candidates.scores
    count, draws = scores.shape
    if rule in ("k_choice", "random"):
        rewards = reward_scale * scores if rule == "k_choice" else np.zeros_like(scores)
        return np.arange(count) * draws + k_choice(rewards, candidates.noise)
    filled = np.empty(count, np.int64)
    names = np.array(candidates.groups)
    for group in dict.fromkeys(candidates.groups):
        slots = np.flatnonzero(names == group)
        pool = (slots[:, None] * draws + np.arange(draws)).ravel()
        features = candidates.features[slots].reshape(len(pool), -1).astype(np.float64)
        drawn = candidates.noise[slots].ravel()
        match rule:
            case "top_quantile":
                kept = top_quantile(scores[slots].ravel(), len(slots))
            case "farthest_point":
                kept = farthest_point(features, drawn, len(slots))
            case _:
                kept = threshold_decay(features, drawn, len(slots))
        filled[slots] = at_home(pool[kept], slots, draws)
    return filled


def k_choice(rewards: Values, noise: Values) -> Positions:
    """One draw of each slot, with probability proportional to exp(reward) among the slot's draws: int (N,) in 0 .. K - 1.

    The choice of Ferbach et al. (arXiv 2407.09499, section 2), after Bradley and Terry. It is drawn as the largest sum of reward
    and Gumbel noise, whose distribution that is; so choices of different rewards come from the same noise.

    The logarithm of two draws' odds is the difference of their rewards. Of CLIP scores at scale 1 that is CLIP's own: trained
    models multiply cosines by about 100 before their softmax (Radford et al. 2021, section 2.5).

    Args:
        rewards: float64 (N, K).
        noise: float64 (N, K), standard Gumbel.
    """
    return np.asarray((rewards + noise).argmax(1))


def top_quantile(scores: Values, count: int) -> Positions:
    """The ``count`` candidates of the highest scores, in falling order; of equal ones the first: int (count,).

    The verifier of Yi et al. (arXiv 2510.16657) keeps a share of each class, such as the best tenth; here it is one of K.

    Args:
        scores: float64 (M,).
        count: how many, up to M.
    """
    return np.asarray(np.argsort(-scores, kind="stable")[:count])


def farthest_point(features: Values, noise: Values, count: int) -> Positions:
    """``count`` candidates, each the farthest from those before it, by its distance to the nearest of them: int (count,).

    Greedy selection of Shi et al. (arXiv 2509.16499), as we read it. The first is a random one: that of the largest noise.

    Args:
        features: float64 (M, D); distances are Euclidean.
        noise: float64 (M,).
        count: how many, up to M.
    """
    spread = _Spread(features, noise)
    while len(spread.kept) < count:
        spread.keep(int(spread.nearest.argmax()))
    return spread.positions()


def threshold_decay(features: Values, noise: Values, count: int) -> Positions:
    """``count`` candidates that are farther than a threshold from those before them, in random order: int (count,).

    The filter of Shi et al. (arXiv 2509.16499), as we read it: candidates pass one by one, in the order of falling noise; when none
    is left that may, the threshold falls by 5 %. It begins with the largest distance from the first candidate (theirs is a
    setting of each data set), so that it is in the units of any feature space, and no second candidate passes it. Copies of what
    was kept come last.

    Args:
        features: float64 (M, D); distances are Euclidean.
        noise: float64 (M,).
        count: how many, up to M.
    """
    spread = _Spread(features, noise)
    threshold = spread.nearest.max()
    while len(spread.kept) < count:
        passing = np.flatnonzero(spread.nearest > threshold)
        if len(passing):
            # Nothing before it passes later at this threshold, as distances to what is kept only fall.
            spread.keep(int(passing[0]))
        else:
            threshold = threshold * DECAY if spread.nearest.max() > 0 else -1.0
    return spread.positions()


class _Spread:
    """Candidates in the order of falling noise, the first of them kept; and how far each is from the nearest that is kept.

    Attributes:
        kept: places in that order.
        nearest: float64 (M,); -inf of those that are kept.
    """

    def __init__(self, features: Values, noise: Values) -> None:
        self._order = np.argsort(-noise, kind="stable")
        self._points = features[self._order]
        self.kept: list[int] = []
        self.nearest = np.full(len(features), np.inf)
        self.keep(0)

    def keep(self, place: int) -> None:
        self.kept.append(place)
        self.nearest = np.minimum(self.nearest, np.linalg.norm(self._points - self._points[place], axis=1))
        self.nearest[place] = -np.inf

    def positions(self) -> Positions:
        return np.asarray(self._order[self.kept])


def at_home(kept: Iterable[int], slots: Sequence[int] | Positions, draws: int) -> list[int]:
    """The candidate that fills each slot: as many as possible fill the slot that they were drawn for.

    Of several that were drawn for one slot, the first fills it; the others fill what is empty, in their order.

    Args:
        kept: as many candidates as slots.
        slots: of one group.
        draws: per slot.
    """
    home: dict[int, int] = {}
    others = [candidate for candidate in kept if home.setdefault(candidate // draws, candidate) != candidate]
    return [home[slot] if slot in home else others.pop(0) for slot in slots]
