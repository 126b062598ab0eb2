"""Gaussian mixtures: fitting, sampling and distances against other implementations, and recursion against theory."""

import numpy as np
import pytest
from nepotism.chain.regimes import REGIMES
from nepotism.chain.slots import Slots
from nepotism.families.gmm import theory
from nepotism.families.gmm.mixture import Mixtures, fit, of_clusters, repeated, sample, squared_l2
from nepotism.runtime import streams
from scipy import stats
from sklearn.mixture import GaussianMixture

TWO = repeated(
    np.array([0.3, 0.7]), np.array([[-1.0, 0.5], [1.5, 0.0]]), np.array([np.eye(2), [[0.5, 0.2], [0.2, 0.8]]]), 3
)


def scikit(data, start):
    reference = GaussianMixture(
        len(start.weights[0]), tol=1e-3, reg_covar=0, max_iter=100,
        weights_init=start.weights[0], means_init=start.means[0], precisions_init=np.linalg.inv(start.covariances[0]),
    )  # fmt: skip
    return reference.fit(data)


def test_fitting_is_scikit_learns():
    data = sample(TWO, 400, "test")
    fitted = fit(data, TWO)
    for chain in range(3):
        reference = scikit(data[:, chain].T, TWO)
        np.testing.assert_allclose(fitted.weights[chain], reference.weights_, rtol=1e-5)
        np.testing.assert_allclose(fitted.means[chain], reference.means_, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(fitted.covariances[chain], reference.covariances_, rtol=1e-4)


def test_a_fit_from_k_means_is_scikit_learns_default():
    """As in the code that Shumailov et al. released, but for what it adds to variances."""
    data = sample(repeated(np.ones(1), np.zeros((1, 2)), np.eye(2)[None], 3), 300, "blob")
    fitted = fit(data, of_clusters(data, 2, 7, "clusters"), 1e-5, 2000)
    for chain in range(3):
        random = streams.integer_seed(7, "clusters", chain) % 2**32
        reference = GaussianMixture(2, tol=1e-5, reg_covar=0, max_iter=2000, random_state=random).fit(data[:, chain].T)
        np.testing.assert_allclose(fitted.weights[chain], reference.weights_, rtol=1e-6)
        np.testing.assert_allclose(fitted.means[chain], reference.means_, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(fitted.covariances[chain], reference.covariances_, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("scale", [1e-190, 1e-9, 1e150])
def test_k_means_finds_the_same_clusters_at_any_scale(scale):
    data = sample(TWO, 200, "test")
    one, scaled = of_clusters(data, 2, "clusters"), of_clusters(scale * data, 2, "clusters")
    np.testing.assert_array_equal(one.weights, scaled.weights)
    np.testing.assert_allclose(scaled.means / scale, one.means, rtol=1e-6)


def test_k_means_of_fewer_different_samples_than_components_leaves_the_others_empty():
    data = np.zeros((2, 1, 20)) + np.array([[[1.0]], [[2.0]]])
    with pytest.warns(match="Number of distinct clusters"):
        found = of_clusters(data, 2, "clusters")
    assert sorted(found.weights[0]) == [0, 1]
    assert np.isfinite(sample(fit(data, found, 1e-5, 2000), 10, "test")).all()


def test_one_gaussian_is_the_mean_and_the_biased_covariance():
    data = sample(TWO, 50, "test")
    fitted = fit(data, repeated(np.ones(1), np.zeros((1, 2)), np.eye(2)[None], 3))
    np.testing.assert_allclose(fitted.means[1, 0], data[:, 1].mean(axis=1))
    np.testing.assert_allclose(fitted.covariances[1, 0], np.cov(data[:, 1], bias=True), rtol=1e-6)


def test_a_fit_keeps_the_samples_own_mean_and_covariance():
    data = sample(TWO, 300, "test")
    fitted = fit(data, TWO)
    np.testing.assert_allclose(fitted.mean()[0], data[:, 0].mean(axis=1), atol=1e-8)
    np.testing.assert_allclose(fitted.covariance()[0], np.cov(data[:, 0], bias=True), rtol=1e-6)


def test_chains_and_samples_do_not_disturb_each_other():
    many = sample(TWO, 200, "test")
    few = sample(Mixtures(TWO.weights[:1], TWO.means[:1], TWO.covariances[:1]), 50, "test")
    np.testing.assert_array_equal(many[:, :1, :50], few)


def test_samples_are_of_the_mixture():
    drawn = sample(TWO, 20_000, "test")
    np.testing.assert_allclose(drawn[:, 0].mean(axis=1), TWO.mean()[0], atol=0.05)
    np.testing.assert_allclose(np.cov(drawn[:, 0]), TWO.covariance()[0], atol=0.1)


def test_a_component_without_samples_is_lost_and_harms_nothing():
    start = repeated(np.array([0.5, 0.5]), np.array([[0.0, 0.0], [1e3, 1e3]]), np.array([np.eye(2)] * 2), 1)
    data = sample(repeated(np.ones(1), np.zeros((1, 2)), np.eye(2)[None], 1), 100, "test")
    fitted = fit(data, start)
    assert fitted.weights[0].tolist() == [1.0, 0.0]
    assert np.isfinite(fitted.covariances).all()
    assert np.isfinite(sample(fitted, 10, "again")).all()


@pytest.mark.parametrize("dimensions", [2, 5, 10])
def test_a_spread_along_one_line_can_still_be_sampled(dimensions):
    """What collapse ends in: all samples on a line, turned in space."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))[0]
    data = 5 + np.einsum("i,cn->icn", turn[:, 0], rng.standard_normal((300, 100)))
    start = repeated(np.ones(1), np.zeros((1, dimensions)), np.eye(dimensions)[None], 300)
    for _ in range(3):
        start = fit(data, start)
        assert np.isfinite(sample(start, 5, "test")).all()


def test_a_component_of_two_samples_far_apart_can_still_be_sampled():
    data = np.zeros((2, 1, 102))
    data[:, 0, :100] = 1e-3 * np.random.default_rng(0).standard_normal((2, 100))
    data[:, 0, 100:] = [[30.0, 50.0], [70.0, -20.0]]
    start = repeated(
        np.array([0.9, 0.1]), np.array([[0.0, 0.0], [40.0, 25.0]]), np.array([np.eye(2), 500 * np.eye(2)]), 1
    )
    fitted = fit(data, start)
    assert fitted.weights[0, 1] == pytest.approx(2 / 102)
    assert np.isfinite(sample(fitted, 1000, "test")).all()


def test_chains_are_fitted_alike_alone_and_together():
    data = sample(TWO, 300, "test")
    together, alone = fit(data, TWO), fit(data[:, :1], Mixtures(TWO.weights[:1], TWO.means[:1], TWO.covariances[:1]))
    np.testing.assert_array_equal(together.covariances[:1], alone.covariances)


def test_a_tiny_spread_far_from_the_origin_keeps_its_digits():
    truth = repeated(np.ones(1), np.array([[1e3, -1e3]]), np.eye(2)[None] * 1e-16, 1)
    fitted = fit(sample(truth, 5000, "test"), truth)
    np.testing.assert_allclose(fitted.covariances[0, 0], np.eye(2) * 1e-16, atol=2e-17)


def test_squared_l2_is_the_integral_of_the_squared_difference():
    one = Mixtures(TWO.weights[:1], TWO.means[:1], TWO.covariances[:1])
    other = repeated(np.ones(1), np.array([[0.5, -0.5]]), np.array([[[1.0, 0.3], [0.3, 2.0]]]), 1)

    steps = np.linspace(-9, 9, 601)
    places = np.stack(np.meshgrid(steps, steps), axis=-1)

    def density(mixtures):
        parts = zip(mixtures.weights[0], mixtures.means[0], mixtures.covariances[0], strict=True)
        return sum(weight * stats.multivariate_normal(mean, cov).pdf(places) for weight, mean, cov in parts)

    expected = ((density(one) - density(other)) ** 2).sum() * (steps[1] - steps[0]) ** 2
    assert squared_l2(one, other)[0] == pytest.approx(expected, rel=1e-6)
    assert squared_l2(one, one)[0] == pytest.approx(0, abs=1e-15)


# ---- Theory gates: simulated means within four standard errors -------------------------------------------------------


def recursion(samples, fits, chains, rng, unbiased):
    """Mean and standard deviation of every chain after ``fits`` refits, in 1-D, in plain NumPy."""
    mean, sd = np.zeros(chains), np.ones(chains)
    for _ in range(fits):
        data = mean[:, None] + sd[:, None] * rng.standard_normal((chains, samples))
        mean, sd = data.mean(axis=1), data.std(axis=1, ddof=int(unbiased))
    return mean, sd


def within_four_errors(values, expected):
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - expected) < 4 * error, (values.mean(), expected, error)


@pytest.mark.parametrize(("fits", "expected"), [(1, 0.0150), (11, 0.1648)])
def test_expected_wasserstein_distance(fits, expected):
    assert theory.expected_wasserstein(100, fits, unbiased=True) == pytest.approx(expected, abs=5e-5)
    mean, sd = recursion(100, fits, 4000, np.random.default_rng(1), unbiased=True)
    within_four_errors(mean**2 + (sd - 1) ** 2, expected)


@pytest.mark.parametrize("fits", [1, 11])
def test_expected_wasserstein_distance_of_maximum_likelihood(fits):
    """With few samples, so that the two kinds of fits differ by far more than the error."""
    mean, sd = recursion(10, fits, 20_000, np.random.default_rng(5), unbiased=False)
    within_four_errors(mean**2 + (sd - 1) ** 2, theory.expected_wasserstein(10, fits))


def test_weights_of_components_that_stay_apart_are_a_discrete_distribution():
    truth = repeated(np.array([0.2, 0.8]), np.array([[-9.0, 0.0], [9.0, 0.0]]), np.array([np.eye(2)] * 2), 2000)
    fitted = truth
    for iteration in range(5):
        fitted = fit(sample(fitted, 40, "apart", iteration), fitted)
    within_four_errors(1 - (fitted.weights**2).sum(axis=1), theory.diversity(40, 5) * (1 - 0.2**2 - 0.8**2))


def test_generalised_variance_of_our_own_fits():
    one = repeated(np.ones(1), np.zeros((1, 2)), np.eye(2)[None], 500)
    fitted = one
    for iteration in range(20):
        fitted = fit(sample(fitted, 40, "test", iteration), fitted)
    within_four_errors(np.linalg.slogdet(fitted.covariance())[1], theory.log_generalised_variance(40, 20, 2))


def test_total_variance_of_a_mixture():
    fitted = repeated(TWO.weights[0], TWO.means[0], TWO.covariances[0], 500)
    first = np.trace(fitted.covariance()[0])
    for iteration in range(10):
        fitted = fit(sample(fitted, 60, "test", iteration), fitted)
    left = np.trace(fitted.covariance(), axis1=1, axis2=2) / first
    within_four_errors(left, theory.mean_variance(60, 10))


def test_what_the_variance_loses_the_mean_walks():
    """Of a mixture too: refits keep the mean and the variance of their samples."""
    samples, chains = 40, 3000
    truth = repeated(
        np.array([0.3, 0.7]),
        np.array([[-2.0, 0.0], [2.0, 1.0]]),
        np.array([np.eye(2), [[1.0, 0.4], [0.4, 2.0]]]),
        chains,
    )
    total = np.trace(truth.covariance()[0])
    mixtures = truth
    for iteration in range(4):
        mixtures = fit(sample(mixtures, samples, "walk", iteration), mixtures)
    shift = ((mixtures.mean() - truth.mean()) ** 2).sum(axis=1) / total
    within_four_errors(shift, theory.mean_shift(samples, 4))
    within_four_errors(np.trace(mixtures.covariance(), axis1=1, axis2=2) / total, theory.mean_variance(samples, 4))


def test_accumulating_bounds_the_mean():
    """By the very training sets that chains are fitted to."""
    samples, fits, chains = 50, 30, 2000
    drawn = [np.random.default_rng(3).standard_normal((1, chains, samples))]
    one = repeated(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)), chains)
    for iteration in range(1, fits):
        # The law is of the mean alone, the variance kept.
        fitted = fit(np.concatenate(drawn, axis=2), one)
        drawn.append(sample(Mixtures(one.weights, fitted.means, one.covariances), samples, "test", iteration))
    assert [source.iteration for source in REGIMES["accumulate"].plan(Slots({"": samples}, 0), "100", 3, {})] == [
        0,
        0,
        1,
        2,
    ]
    mean = np.concatenate(drawn, axis=2).mean(axis=(0, 2))
    within_four_errors(mean**2, theory.accumulated_mean_variance(samples, fits))


def test_discrete_distributions_lose_items_and_diversity():
    rng = np.random.default_rng(4)
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    once = rng.multinomial(30, shares, size=20_000)
    within_four_errors((once[:, 3] == 0).astype(float), theory.lost(0.05, 30))
    present = np.tile(shares, (20_000, 1))
    for _ in range(8):
        present = rng.multinomial(30, present) / 30
    within_four_errors(1 - (present**2).sum(axis=1), theory.diversity(30, 8) * (1 - (shares**2).sum()))
