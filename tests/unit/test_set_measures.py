"""Vendi score, sliced Wasserstein distance, CMMD, tails and nearest training images, against other implementations."""

import math
from collections import Counter

import numpy as np
import pytest
import scipy.linalg
from nepotism.measure import evaluation
from nepotism.measure.embeddings import PER_IMAGE, Embedded
from nepotism.measure.kernels import gaussian_discrepancy, vendi
from nepotism.measure.neighbours import K, Neighbourhood, distances, of_rare_groups, outermost
from nepotism.measure.sliced import DIRECTIONS, along, directions, sliced_distance
from scipy.spatial.distance import pdist, squareform
from scipy.stats import wasserstein_distance
from sklearn.metrics.pairwise import rbf_kernel


def vendi_by_eigenvalues(features):
    """Of the kernel itself, all n eigenvalues of it, in the words of the paper."""
    cosines = 1 - squareform(pdist(features, "cosine"))
    found = [value for value in scipy.linalg.eigh(cosines / len(features), eigvals_only=True) if value > 1e-12]
    return math.exp(-sum(value * math.log(value) for value in found))


@pytest.mark.parametrize(("n", "d"), [(12, 40), (40, 12), (30, 30)])
def test_the_vendi_score_is_that_of_the_kernels_eigenvalues(n, d):
    features = np.random.default_rng(n).normal(0.5, 1, (n, d))
    assert vendi(features) == pytest.approx(vendi_by_eigenvalues(features), rel=1e-9)
    assert vendi(7 * features) == pytest.approx(vendi(features))


def test_the_vendi_score_counts_different_images():
    assert vendi(np.eye(6, 12)) == pytest.approx(6)
    assert vendi(np.repeat(np.eye(3, 12), 2, axis=0)) == pytest.approx(3)
    assert vendi(np.ones((6, 12))) == pytest.approx(1)
    assert math.isnan(vendi(np.zeros((6, 12))))


def squared_wasserstein(one, other):
    """Of two sets of n numbers, by scipy's first Wasserstein distance of the pieces of the optimal plan: n pairs of sorted numbers,
    a mass of 1 / n each."""
    return np.mean([wasserstein_distance([a], [b]) ** 2 for a, b in zip(sorted(one), sorted(other), strict=True)])


def test_the_sliced_distance_is_the_mean_over_lines():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(9, 5)), rng.normal(0.4, 2, size=(9, 5))
    lines = directions(5)
    expected = 3 * 5 * np.mean([squared_wasserstein(one @ line, other @ line) for line in lines])
    found = sliced_distance(along(one), along(other), 5)
    assert found == pytest.approx(expected)
    assert sliced_distance(along(other), along(one), 5) == pytest.approx(found)
    assert sliced_distance(along(one), along(one[::-1]), 5) == 0


def test_the_order_of_the_sorted_plan_is_optimal_by_the_first_distance_too():
    """What is sorted is right: scipy's own W1 of whole sets is the mean absolute difference of the same pairs."""
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(20, 3)), rng.normal(1, 2, size=(20, 3))
    for first, second in zip(along(one)[:20], along(other)[:20], strict=True):
        assert wasserstein_distance(first, second) == pytest.approx(np.abs(np.sort(first) - np.sort(second)).mean())


def test_sets_that_differ_by_a_shift_are_three_times_its_square_apart():
    one = np.random.default_rng(3).normal(size=(50, 32))
    shift = np.full(32, 0.5)
    found = sliced_distance(along(one), along(one + shift), 32)
    # The mean over random lines of the squared cosine with the shift is 1 / D, within a few per cent of a thousand lines.
    assert found == pytest.approx(3 * shift @ shift, rel=5 * math.sqrt(2 / DIRECTIONS))


def test_lines_are_fixed_and_of_length_one():
    np.testing.assert_allclose(np.linalg.norm(directions(7), axis=1), 1)
    drawn = directions(7).copy()
    directions.cache_clear()
    np.testing.assert_array_equal(directions(7), drawn)
    assert directions(8).shape == (DIRECTIONS, 8)


def test_cmmd_is_the_biased_estimate_with_scikit_learns_kernel():
    rng = np.random.default_rng(4)
    one, other = rng.normal(0.3, 1, (15, 8)), rng.normal(size=(21, 8))
    x, y = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (one, other))
    gamma = 1 / (2 * 10**2)
    expected = 1000 * (
        rbf_kernel(x, x, gamma).mean() + rbf_kernel(y, y, gamma).mean() - 2 * rbf_kernel(x, y, gamma).mean()
    )
    assert gaussian_discrepancy(one, other) == pytest.approx(expected)
    assert gaussian_discrepancy(one, one[::-1]) == pytest.approx(0, abs=1e-9)
    assert math.isnan(gaussian_discrepancy(np.zeros((3, 8)), other))


def test_cmmd_sees_little_but_the_mean():
    """As its definition warns: 1000 / sigma^2 times the squared distance of the means, whatever becomes of the spread."""
    rng = np.random.default_rng(5)
    one, other = rng.normal(1, 1, (200, 16)), rng.normal(1, 0.2, (200, 16))
    x, y = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (one, other))
    shift = x.mean(0) - y.mean(0)
    assert gaussian_discrepancy(one, other) == pytest.approx(10 * shift @ shift, rel=0.01)


def neighbourhood(generated, real, training):
    pairs = ((generated, generated), (real, real), (generated, real), (generated, training))
    return Neighbourhood(*(distances(one, other) for one, other in pairs))


def test_recall_of_the_tail_counts_its_images_only():
    rng = np.random.default_rng(6)
    generated, real = rng.normal(0, 0.6, (41, 3)), rng.normal(size=(41, 3))
    apart = [math.dist(image, real.mean(0)) for image in real]
    tail = sorted(range(41), key=lambda i: -apart[i])[:5]
    marks = outermost(real)
    assert sorted(np.flatnonzero(marks)) == sorted(tail)

    def inside(i, kept):
        """Whether a real image is in the ball of a generated one, which reaches to its K-th nearest other one."""
        for g in kept:
            radius = sorted(math.dist(generated[g], generated[j]) for j in kept if j != g)[K - 1]
            if math.dist(real[i], generated[g]) <= radius:
                return True
        return False

    found = neighbourhood(generated, real, real)
    everything = np.arange(41)
    assert found.recall(everything, marks) == pytest.approx(np.mean([inside(i, everything) for i in tail]))
    assert found.recall(everything, marks) < found.recall(everything)
    # Without a block, it is of those of the tail that are left.
    kept = np.delete(everything, [tail[0], 3])
    left = [i for i in tail if i in kept]
    assert found.recall(kept, marks) == pytest.approx(np.mean([inside(i, kept) for i in left]))
    assert math.isnan(found.recall(np.setdiff1d(everything, tail), marks))


@pytest.mark.parametrize(
    ("sizes", "rare"),
    [
        ({"a": 50, "b": 45, "c": 5}, {"c"}),
        ({"a": 50, "b": 40, "c": 5, "d": 5}, {"c", "d"}),
        ({"a": 50, "b": 36, "c": 4, "d": 6, "e": 4}, {"c", "e"}),
        ({"a": 10, "b": 10}, set()),
        ({f"g{number}": 3 for number in range(30)}, set()),
        ({"a": 60, "b": 40}, set()),
        ({"a": 9}, set()),
    ],
)
def test_the_rarest_groups_are_the_smallest_that_hold_a_tenth(sizes, rare):
    groups = [name for name, size in sizes.items() for _ in range(size)]
    assert {name for name, mark in zip(groups, of_rare_groups(groups, sizes), strict=True) if mark} == rare


def test_the_nearest_training_image_is_found_by_a_plain_loop():
    rng = np.random.default_rng(7)
    generated, training = rng.normal(size=(2, 12, 4))
    expected = np.mean([min(math.dist(image, other) for other in training) for image in generated])
    assert neighbourhood(generated, training, training).generalization(np.arange(12)) == pytest.approx(expected)
    assert neighbourhood(training, training, training).generalization(np.arange(12)) == 0


# ---- As rows of a table


def embedded(features, groups):
    values = {name: np.linspace(0.1, 0.2, len(groups)) for name in PER_IMAGE}
    return Embedded(features, values, groups, list(map(str, range(len(groups)))))


def rows_of(sizes, blank=False):
    rng = np.random.default_rng(8)
    groups = [group for group, size in sizes.items() for _ in range(size)]
    spaces = {space: rng.normal(size=(2 * len(groups), 6)).astype(np.float32) for space in ("clip", "conv")}
    half = len(groups)
    holdout = embedded(spaces, groups + groups)
    real = embedded({space: values[:half] for space, values in spaces.items()}, groups)
    generated = embedded(
        {space: values[half:] * (not blank) + 0.1 * (not blank) for space, values in spaces.items()}, groups
    )
    place, reference = evaluation.RowKey("x", "none", "25", 0, 1), evaluation.Reference(real, holdout)
    return {
        (name, row.features, row.metric): row
        for name, each in (("samples", generated), ("real", holdout))
        for row in evaluation.compare(place, name, each, reference)
    }


def test_every_measure_has_its_floor_and_its_values_without_each_block():
    rows = rows_of({"a": 30, "b": 27, "c": 3})
    for name in ("samples", "real"):
        assert {
            metric for found, space, metric in rows if (found, space) == (name, "clip")
        } >= evaluation.STATISTICS.keys()
        for metric in ("mind", "cmmd", "vendi", "generalization"):
            row = rows[name, "clip", metric]
            assert row.n == 60
            assert row.se > 0
            # The j-th image of every group is block j.
            assert row.left_out.images == (3,) * 3 + (2,) * 24 + (1,) * 3
            assert row.ci_low < row.value < row.ci_high
    assert Counter(space for _, space, metric in rows if metric == "mind") == {"clip": 2, "conv": 2}


def test_what_makes_no_sense_somewhere_has_no_row_there():
    rows = rows_of({"a": 20, "b": 20})
    assert {space for _, space, metric in rows if metric == "vendi"} == {"clip"}
    assert {space for _, space, metric in rows if metric == "cmmd"} == {"clip"}
    assert not [key for key in rows if key[2] == "recall_rare_groups"]
    # Images without any features have no cosines.
    rows = rows_of({"a": 20, "b": 20}, blank=True)
    assert ("samples", "clip", "mind") in rows
    assert not {("samples", "clip", "vendi"), ("samples", "clip", "cmmd")} & rows.keys()
