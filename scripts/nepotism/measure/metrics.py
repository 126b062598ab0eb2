"""What metrics and feature spaces are: each says so once, and code, figures and documentation take it from there.

Standard library only. Those of image sets are here, beside what computes them; those of another family are in its package.
`scripts/describe.py` writes them all into results/README.md.
"""

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """What a metric is.

    Attributes:
        name: in the column ``metric`` of metrics.csv; of several metrics of one kind, with ``<what tells them apart>``.
        definition: a plain sentence.
        range: the values that it can take, such as ``[0, 1]``, and what is expected where nothing is wrong.
        better: which direction is.
        citation: paper or library; empty where the definition says all.
        several: of several metrics of one kind, what stands in each name instead of ``<...>``.
    """

    name: str
    definition: str
    range: str
    better: Literal["lower", "higher", "neither"]
    citation: str = ""
    several: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Its names in metrics.csv: one, but for several of one kind."""
        return tuple(re.sub("<.*>", each, self.name) for each in self.several) or (self.name,)

    @property
    def direction(self) -> str:
        """Which direction is better, in words; empty where neither is."""
        return "" if self.better == "neither" else f"{self.better} is better"


@dataclass(frozen=True)
class Space:
    """What a feature space is: its name in the column ``features`` of metrics.csv, a definition, and a paper or library."""

    name: str
    definition: str
    citation: str = ""


def declared(*metrics: Metric) -> dict[str, Metric]:
    """Metrics by each of their names in metrics.csv."""
    return {name: metric for metric in metrics for name in metric.names}


# Nearest neighbours that the ball around an image reaches to.
K = 5
# Share of images without a watermark in which one is found.
FALSE_POSITIVE_RATE = 0.01

SPACES = (
    Space("clip", "image embeddings of the CLIP that `score.clip` names (tiny-clip by default)", "Radford et al. 2021 (arXiv 2103.00020)"),
    Space("conv", "64 averages over the picture of fixed random convolutions, which no training chose",
          "in the manner of the random networks of Naeem et al. 2020 (arXiv 2002.09797)"),
    Space("inception", "clean-fid's Inception: what the name FID is usually kept for", "Parmar et al. 2022 (arXiv 2104.11222)"),
    Space("dinov2", "class tokens of the DINOv2 that `score.dinov2` names, which was trained without labels and captions, and on "
          "photographs agrees with people better than Inception does",
          "Oquab et al. 2023 (arXiv 2304.07193); Stein et al. 2023 (arXiv 2306.04675)"),
    Space("pixels", "the picture itself, for colours and structural similarity"),
)  # fmt: skip

METRICS = declared(
    Metric(
        "fid", "Fréchet distance between the Gaussians fitted to the features of generated and of real images",
        "[0, inf)", "lower", "Heusel et al. 2017 (arXiv 1706.08500)",
    ),
    Metric(
        "fid_to_other", "of chains that another one feeds (regime `feed`): Fréchet distance between the features of its images and "
        "of the other's, at the same iteration; of chains of one seed, both are made of the same noise",
        "[0, inf), 0 when equal", "neither", "Heusel et al. 2017 (arXiv 1706.08500)",
    ),
    Metric(
        "kid", "unbiased squared maximum mean discrepancy between the features of generated and of real images, with "
        "the cubic polynomial kernel",
        "(-inf, inf), around 0 when equal", "lower", "Bińkowski et al. 2018 (arXiv 1801.01401), by torchmetrics",
    ),
    Metric(
        "mind", "mean over 1,000 fixed lines of the squared 2-Wasserstein distance between what is seen along them of generated and of "
        "real images, times 3 D of D features",
        "[0, inf), above 0 also when equal", "lower", "MIND: Berthet et al. 2026 (arXiv 2605.06797)",
    ),
    Metric(
        "cmmd", "of CLIP embeddings of length 1: 1,000 times the biased squared maximum mean discrepancy with a Gaussian kernel of sigma "
        "10, as its authors compute it. On embeddings of length 1 that kernel is all but linear in the squared distance: it sees "
        "little but the mean of a set, and neither lost diversity nor lost tails",
        "[0, inf), above 0 also when equal", "lower", "Jayasumana et al. 2024 (arXiv 2401.09603)",
    ),
    Metric(
        "clip_score", "mean of 100 x cosine of the CLIP embeddings of image and caption",
        "[-100, 100]", "higher", "Hessel et al. 2021 (arXiv 2104.08718), but not clipped at 0",
    ),
    Metric("clip_score_within_group_sd", "root mean variance of the CLIP score inside groups", "[0, 200]", "neither"),
    Metric(
        "precision", f"share of generated images inside the ball of a real one, which reaches to its {K}th nearest "
        "neighbour",
        "[0, 1]", "higher", "Kynkäänniemi et al. 2019 (arXiv 1904.06991)",
    ),
    Metric(
        "recall", f"share of real images inside the ball of a generated one (k = {K})",
        "[0, 1]", "higher", "Kynkäänniemi et al. 2019 (arXiv 1904.06991)",
    ),
    Metric(
        "density", f"number of real images whose ball a generated image lies in, over k = {K}",
        "[0, inf), 1 expected", "higher", "Naeem et al. 2020 (arXiv 2002.09797)",
    ),
    Metric(
        "coverage", f"share of real images whose ball holds a generated one (k = {K})",
        "[0, 1]", "higher", "Naeem et al. 2020 (arXiv 2002.09797)",
    ),
    Metric(
        "recall_tail", "share of the outermost tenth of real images, by distance from the mean of those that are measured against, inside "
        f"the ball of a generated one (k = {K})",
        "[0, 1]", "higher", "recall of Kynkäänniemi et al. 2019 (arXiv 1904.06991)",
    ),
    Metric(
        "recall_rare_groups", "share of real images of the rarest groups, the smallest that together have at most a tenth of the images "
        f"trained on, inside the ball of a generated one (k = {K}); no row where groups are of equal size, or none is that small",
        "[0, 1]", "higher", "recall of Kynkäänniemi et al. 2019 (arXiv 1904.06991)",
    ),
    Metric(
        "vendi", "effective number of different images: exp of the entropy of the eigenvalues of their cosines over n; not in `conv`, "
        "where all cosines are near 1",
        "[1, n]", "higher", "Friedman and Dieng 2023 (arXiv 2210.02410)",
    ),
    Metric("within_group_distance", "mean distance of the features of two images of one group", "[0, inf)", "higher"),
    Metric(
        "memorization", "share of images nearer to a real image that may be mixed in than to any of as many of the "
        "holdout; high by construction for `initial_images` and `vae`, which were made from the former",
        "[0, 1], 0.5 without memorisation", "lower", "after the test of Meehan et al. 2020 (arXiv 2004.05675)",
    ),
    Metric(
        "generalization", "mean distance of an image to the nearest of as many real images that may be mixed in: 0 for copies, and larger "
        "also where images leave everything real. The paper's score is of the whole training set, which above 0 % holds generated images "
        "too: that is the same at 0 % only",
        "[0, inf)", "neither", "after Shi et al. 2025 (arXiv 2509.16499)",
    ),
    Metric("saturation", "mean HSV saturation of an image", "[0, 1]", "neither"),
    Metric(
        "contrast", "standard deviation of luma (ITU-R BT.601) in an image",
        "[0, 0.5]", "neither", "RMS contrast of Peli 1990",
    ),
    Metric(
        "ssim", "of `vae` only: mean structural similarity of an image and the real one that it was made from",
        "[-1, 1], 1 when equal", "higher", "Wang et al. 2004, by scikit-image",
    ),
    Metric(
        "watermark_rate", f"share of images in which the mark is found, by a threshold that finds it in {FALSE_POSITIVE_RATE:.0%} "
        "of images without it, on average over keys. `samples` are marked when they are drawn, if `sample.watermark` is given; "
        "`unseen` are not, so that what is found there the model has learned from marked images (radioactivity). The "
        "interval is binomial (Clopper and Pearson)",
        f"[0, 1], {FALSE_POSITIVE_RATE} without a mark", "neither",
        "spread spectrum: Cox et al. 1997; radioactivity: Sander et al. 2024 (arXiv 2402.14904)",
    ),
    Metric(
        "watermark_z", "mean over the images of the correlation with the mark, standard normal without one",
        "(-inf, inf), 0 without a mark", "neither", "Cox et al. 1997; Sander et al. 2024 (arXiv 2402.14904)",
    ),
    Metric("accepted_share", "share of slots whose image a control kept", "[0, 1]", "higher"),
    Metric(
        "false_positive_rate", "share of the real rows of a training set that a filter took for generated",
        "[0, 1]", "lower",
    ),
    Metric(
        "false_negative_rate", "share of the generated rows of a training set that a filter took for real",
        "[0, 1]", "lower",
    ),
    Metric("contamination", "share of generated rows in what a filter left of a training set", "[0, 1]", "lower"),
    Metric(
        "real_images", "number of different real images in what a filter left of a training set, over its slots", "[0, inf)", "higher"
    ),
    Metric("rows_lost", "share of the rows of a training set that a filter took out, without another for it", "[0, 1]", "lower"),
    Metric("rows_lost_worst_group", "the same of the group that lost most", "[0, 1]", "lower"),
    Metric("unique_images", "number of different images after a control, of `n` slots", "[0, n]", "higher"),
    Metric(
        "selection_score_<of>", "where a control selects: mean of the score that its arm names, of all draws (pool) or of those that it "
        "kept (chosen)",
        "(-inf, inf)", "neither", several=("pool", "chosen"),
    ),
    Metric(
        "selection_tail_<of>", "5th (low) and 95th (high) percentile of that score, such as pool_low",
        "(-inf, inf)", "neither", several=("pool_low", "pool_high", "chosen_low", "chosen_high"),
    ),
    Metric(
        "selection_group_sd_<of>", "standard deviation of that score's mean between groups: larger of chosen than of pool where selection "
        "favours groups that were ahead",
        "[0, inf)", "neither", several=("pool", "chosen"),
    ),
    Metric(
        "selection_groups_<of>", "effective number of groups that images look like: exp of the entropy of the histogram of the groups "
        "whose captions fit best by CLIP; of the first draws (plain), or of those that were kept (chosen)",
        "[1, n]", "higher", several=("plain", "chosen"),
    ),
)  # fmt: skip
