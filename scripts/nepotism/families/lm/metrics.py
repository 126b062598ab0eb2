"""What is measured of language models and of what they write. Standard library only; `measures` has what computes it."""

from nepotism.measure.metrics import METRICS as IMAGE_METRICS
from nepotism.measure.metrics import Metric, Space, declared

# Bins of a block's perplexity, from 1 on; the last, at 2 to the 12th, has no upper bound.
BINS, BINS_PER_OCTAVE = 48, 4
# Tokens that make up this share of the original blocks, the rarest of them, are rare.
RARE = 0.05
# Words that make up this share of the original text, the rarest of them, are rare.
RARE_WORDS = 0.2
# Tokens of a repetition, and of runs that are counted.
REPEATED = 4
DISTINCT = (1, 2, 3)
GENERATION_0 = Space(
    "generation 0", "the language model of generation 0, which tells the perplexity of what later ones write"
)
# What a filter did to a training set.
FILTERING = (
    "false_positive_rate", "false_negative_rate", "contamination", "real_images", "rows_lost", "rows_lost_worst_group"
)  # fmt: skip
METRICS = {name: IMAGE_METRICS[name] for name in FILTERING} | declared(
    Metric(
        "perplexity", "perplexity of blocks of original test text: exp of the mean loss of their tokens",
        "[1, inf)", "lower", "Jelinek et al. 1977",
    ),
    Metric(
        "sample_perplexity", "median over what was written of each block's perplexity under generation 0",
        "[1, inf)", "neither", "Shumailov et al. 2023 (arXiv 2305.17493)",
    ),
    Metric(
        "sample_perplexity_p99", "99th percentile over what was written of each block's perplexity under generation 0",
        "[1, inf)", "neither", "Shumailov et al. 2023 (arXiv 2305.17493)",
    ),
    Metric(
        "repeated_4grams", f"share of a block's runs of {REPEATED} tokens that the block had before",
        "[0, 1]", "lower", "Welleck et al. 2020 (arXiv 1908.04319)",
    ),
    Metric(
        "distinct_<n>grams", "different runs of n tokens over all such runs, of all blocks",
        "[0, 1]", "higher", "Li et al. 2016 (arXiv 1510.03055)", tuple(map(str, DISTINCT)),
    ),
    Metric(
        "self_bleu", "mean BLEU-4 of each of the first hundred blocks with the others as references: how much they resemble "
        "each other",
        "[0, 1]", "lower", "Zhu et al. 2018 (arXiv 1802.01886)",
    ),
    Metric(
        "mauve", "how near the distribution of what was written is to that of original test text: area under their divergence "
        "curve, of histograms over clusters of generation 0's embeddings; only equal numbers of blocks compare",
        "(0, 1]", "higher", "Pillutla et al. 2021 (arXiv 2102.01454), with a small embedder",
    ),
    Metric(
        "rare_tokens_lost", f"share of the rarest tokens of the training text, {100 * RARE:g} % of it, that occur "
        "nowhere",
        "[0, 1]", "lower",
    ),
    Metric(
        "rare_words", f"share of words that are among the rarest of the original text, which make up {100 * RARE_WORDS:g} % of "
        "it at most (those that occur once in any case): Zipf's tail",
        "[0, 1]", "higher", "after Shumailov et al. 2023 (arXiv 2305.17493)",
    ),
    Metric(
        "perplexity_share_<bin>", "share of what was written whose perplexity under generation 0 is from "
        f"2^(bin/{BINS_PER_OCTAVE}) on, up to the next bin",
        "[0, 1]", "neither", "Shumailov et al. 2023 (arXiv 2305.17493)",
        tuple(f"{number:02d}" for number in range(BINS)),
    ),
)  # fmt: skip
