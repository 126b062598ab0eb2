"""Distances and intervals against independent implementations and closed forms."""

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance as clean_fid_distance
from hypothesis import given, settings
from hypothesis import strategies as st
from nepotism.measure import scores
from torch.nn.functional import cosine_similarity
from torchmetrics.image.kid import KernelInceptionDistance


def gaussian_distance(mean_1, covariance_1, mean_2, covariance_2):
    """Closed form by eigenvalues of the symmetric product, in the test's own words."""
    values, vectors = np.linalg.eigh(covariance_1)
    root = vectors @ np.diag(np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ covariance_2 @ root), 0, None)).sum()
    return ((mean_1 - mean_2) ** 2).sum() + np.trace(covariance_1) + np.trace(covariance_2) - 2 * cross


def moments(features):
    return features.mean(0), np.cov(features, rowvar=False)


@pytest.mark.parametrize("seed", range(3))
def test_frechet_agrees_with_clean_fid_on_well_conditioned_sets(seed):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(16, 16))
    one, other = rng.normal(size=(400, 16)) @ mixing, 0.3 + 1.2 * rng.normal(size=(300, 16)) @ mixing
    expected = clean_fid_distance(*moments(one), *moments(other))
    assert scores.frechet(one, other) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n", "m", "d"), [(20, 20, 64), (200, 20, 64), (64, 64, 64), (65, 300, 64)])
def test_frechet_agrees_with_the_closed_form_also_for_fewer_images_than_dimensions(n, m, d):
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(n, d)), rng.normal(1, 2, size=(m, d))
    assert scores.frechet(one, other) == pytest.approx(gaussian_distance(*moments(one), *moments(other)), rel=1e-6)


def test_frechet_of_a_collapsed_set_is_finite_and_is_what_remains_of_the_formula():
    rng = np.random.default_rng(2)
    spread, constant = rng.normal(size=(50, 8)), np.full((50, 8), 3.0)
    mean, covariance = moments(spread)
    assert scores.frechet(constant, spread) == pytest.approx(((mean - 3) ** 2).sum() + np.trace(covariance))
    assert scores.frechet(constant, constant) == 0


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_frechet_is_symmetric_nonnegative_and_zero_on_itself(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(rng.integers(2, 40), 6)), rng.normal(size=(rng.integers(2, 40), 6))
    assert scores.frechet(one, other) == pytest.approx(scores.frechet(other, one), abs=1e-9)
    assert scores.frechet(one, other) >= 0
    assert scores.frechet(one, one) == pytest.approx(0, abs=1e-9)


def test_kernel_distance_agrees_with_the_torchmetrics_class_on_all_images():
    rng = np.random.default_rng(3)
    real, fake = (rng.normal(shift, 1, size=(60, 12)).astype(np.float32) for shift in (0, 0.5))

    class Features(torch.nn.Module):
        num_features = 12

        def forward(self, x):
            return x

    metric = KernelInceptionDistance(feature=Features(), subsets=1, subset_size=60)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(fake), real=False)
    assert scores.kernel_distance(fake, real) == pytest.approx(float(metric.compute()[0]), rel=1e-4)


def test_kernel_distance_is_unbiased():
    rng = np.random.default_rng(4)
    values = [scores.kernel_distance(*rng.normal(size=(2, 30, 5))) for _ in range(300)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_clip_score_is_a_hundred_times_the_cosine():
    rng = np.random.default_rng(5)
    images, texts = rng.normal(size=(2, 20, 7))
    expected = 100 * cosine_similarity(torch.from_numpy(images), torch.from_numpy(texts)).numpy()
    np.testing.assert_allclose(scores.cosine_scores(images, texts), expected, rtol=1e-10)


def test_jackknife_of_a_mean_is_the_usual_standard_error():
    values = np.random.default_rng(6).normal(size=50)
    estimate = scores.jackknife(lambda kept: float(values[kept].mean()), np.arange(50))
    assert estimate.se == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_jackknife_interval_covers_the_expectation_of_the_frechet_distance():
    """By simulation with six blocks: 95 % intervals must cover the metric's expectation at this N in 92 to 99 % of runs."""
    rng = np.random.default_rng(7)
    groups, per_group, dimensions = 15, 6, 4
    blocks = np.tile(np.arange(per_group), groups)

    def run():
        one, other = rng.normal(size=(2, groups * per_group, dimensions))
        other = other * 1.5 + 0.5
        return scores.jackknife(lambda kept: scores.frechet(one[kept], other[kept]), blocks)

    estimates = [run() for _ in range(300)]
    truth = np.mean([estimate.value for estimate in estimates])
    covered = np.mean([estimate.interval[0] <= truth <= estimate.interval[1] for estimate in estimates])
    assert 0.92 <= covered <= 0.99
    normal = np.mean([abs(estimate.value - truth) <= 1.96 * estimate.se for estimate in estimates])
    assert normal < 0.92, "normal quantiles would cover less, or this test could not fail"


def test_no_interval_from_a_single_block_or_image():
    assert scores.jackknife(lambda kept: 1.0, np.zeros(5, int)).interval is None
    assert scores.mean(np.array([3.0]), np.zeros(1, int)).interval is None


def test_pairs_take_equally_many_of_each_group_and_halves_are_disjoint():
    pairing = scores.pair(["a"] * 3 + ["b"] * 3, ["b"] * 4 + ["a"] * 9, ["b"] * 3 + ["a"] * 3)
    assert len(pairing.generated) == len(pairing.real) == len(pairing.other_real) == len(pairing.training) == 5
    assert list(pairing.training) == [3, 4, 5, 0, 1]
    assert set(pairing.real).isdisjoint(pairing.other_real)
    assert list(pairing.blocks) == [0, 1, 2, 0, 1]


def test_spread_inside_groups_ignores_differences_between_groups():
    values = np.array([0.0, 2.0, 100.0, 102.0])
    assert scores.within_group_sd(values, ["a", "a", "b", "b"]) == pytest.approx(np.sqrt(2))


def test_a_statistic_that_is_undefined_without_a_block_has_no_interval():
    values = np.array([0.0, 2.0, 100.0, 102.0])
    groups = np.array(["a", "a", "b", "b"])
    estimate = scores.jackknife(
        lambda kept: scores.within_group_sd(values[kept], list(groups[kept])), np.array([0, 1, 0, 1])
    )
    assert estimate.value == pytest.approx(np.sqrt(2))
    assert estimate.interval is None


def test_distances_of_a_single_image_are_undefined_and_no_error():
    one, many = np.zeros((1, 3)), np.random.default_rng(0).normal(size=(4, 3))
    assert np.isnan(scores.frechet(one, many))
    assert np.isnan(scores.kernel_distance(one, one))
