"""Self-BLEU: how much texts resemble each other (Zhu et al. 2018, arXiv 1802.01886; BLEU: Papineni et al. 2002)."""

from collections import Counter, defaultdict

import numpy as np

from nepotism.families.lm.networks import Tokens

# The longest runs of tokens, and the texts that are compared: the first ones, since it grows with their number.
LONGEST, TEXTS = 4, 100


def self_bleu(blocks: Tokens) -> float:
    """Mean BLEU-4 of each of the first `TEXTS` blocks with all others of these as references: [0, 1].

    Without smoothing: it is 0 of a block none of whose runs of four tokens any other has. All blocks are of one length, so that none is
    too brief.

    Args:
        blocks: two or more.
    """
    taken = blocks[:TEXTS].tolist()
    logarithms = np.zeros(len(taken))
    for length in range(1, LONGEST + 1):
        counts = [Counter(zip(*(block[at:] for at in range(length)), strict=False)) for block in taken]
        # Of every run, how often the two blocks have it that have it most: a block is compared with the others.
        most: dict[tuple[int, ...], list[int]] = defaultdict(lambda: [0, 0])
        for counted in counts:
            for run, count in counted.items():
                two = most[run]
                two[:] = [count, two[0]] if count > two[0] else [two[0], max(two[1], count)]
        for index, counted in enumerate(counts):
            # Where the block itself is the one that has it most often, the next one is the best of the others.
            found = sum(
                min(count, most[run][1] if count == most[run][0] else most[run][0]) for run, count in counted.items()
            )
            total = sum(counted.values())
            logarithms[index] += np.log(found / total) / LONGEST if found else -np.inf
    return float(np.exp(logarithms).mean())
