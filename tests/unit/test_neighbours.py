"""Precision, recall, density, coverage, memorisation and diversity, against plain loops and known expectations."""

import numpy as np
import pytest
from nepotism.measure.colour import contrast, saturation
from nepotism.measure.neighbours import K, Neighbourhood, distances, within_group_distance
from skimage.color import rgb2gray, rgb2hsv


def neighbourhood(generated, real, training):
    return Neighbourhood(
        distances(generated, generated),
        distances(real, real),
        distances(generated, real),
        distances(generated, training),
    )


def everything(n):
    return np.arange(n)


def plain(generated, real):
    """Definitions written out: a ball reaches to the K-th nearest other image of its own set."""

    def radius(points, i):
        return sorted(np.linalg.norm(points[i] - p) for j, p in enumerate(points) if j != i)[K - 1]

    real_radius = [radius(real, i) for i in range(len(real))]
    generated_radius = [radius(generated, i) for i in range(len(generated))]
    near = np.array([[np.linalg.norm(g - r) for r in real] for g in generated])
    in_real, in_generated = near <= real_radius, near <= np.array(generated_radius)[:, None]
    return {
        "precision": in_real.any(1).mean(), "recall": in_generated.any(0).mean(),
        "density": in_real.sum() / K / len(generated), "coverage": in_real.any(0).mean(),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_measures_are_their_definitions(seed):
    rng = np.random.default_rng(seed)
    generated, real, training = rng.normal(0.5, 0.7, (30, 3)), rng.normal(size=(30, 3)), rng.normal(size=(30, 3))
    found = neighbourhood(generated, real, training)
    for name, value in plain(generated, real).items():
        assert getattr(found, name)(everything(30)) == pytest.approx(value), name
    kept = np.delete(everything(30), [3, 17])
    for name, value in plain(generated[kept], real[kept]).items():
        assert getattr(found, name)(kept) == pytest.approx(value), name


def test_gate_expected_coverage_and_density_of_two_samples_of_one_distribution():
    """E[coverage] = 1 - prod (N - i) / (M + N - i), E[density] = 1 (Naeem et al. 2020; the gate of the statistics)."""
    n, rng = 100, np.random.default_rng(0)
    expected = 1 - np.prod([(n - i) / (n + n - i) for i in range(1, K + 1)])
    runs = [neighbourhood(*rng.normal(size=(3, n, 4))) for _ in range(60)]
    for name, truth in (("coverage", expected), ("density", 1.0)):
        values = np.array([getattr(run, name)(everything(n)) for run in runs])
        assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(len(values)), name


def test_the_gate_at_three_hundred_images_is_the_documented_number():
    rng = np.random.default_rng(3)
    values = [neighbourhood(*rng.normal(size=(3, 300, 6))).coverage(everything(300)) for _ in range(12)]
    assert abs(np.mean(values) - 0.9695) < 4 * np.std(values) / np.sqrt(12)


def test_memorisation_is_one_half_by_chance_and_one_for_copies():
    rng = np.random.default_rng(1)
    chance = [neighbourhood(*rng.normal(size=(3, 60, 4))).memorization(everything(60)) for _ in range(40)]
    assert abs(np.mean(chance) - 0.5) < 4 * np.std(chance) / np.sqrt(len(chance))
    training = rng.normal(size=(60, 4))
    assert neighbourhood(training + 1e-6, rng.normal(size=(60, 4)), training).memorization(everything(60)) == 1
    assert neighbourhood(training, training, training).memorization(everything(60)) == 0.5


def test_within_group_distance_averages_pairs_inside_groups():
    points = np.array([[0.0], [2.0], [100.0], [101.0], [103.0], [7.0]])
    groups = ["a", "a", "b", "b", "b", "alone"]
    assert within_group_distance(distances(points, points), groups) == pytest.approx((2 + (1 + 3 + 2) / 3) / 2)
    assert np.isnan(within_group_distance(np.zeros((1, 1)), ["a"]))


def test_colour_statistics_agree_with_scikit_image():
    images = np.random.default_rng(2).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(saturation(images), [rgb2hsv(image)[..., 1].mean() for image in images])
    assert contrast(images[:1])[0] == pytest.approx(rgb2gray(images[0]).std(), rel=0.15)
    grey = np.full((1, 4, 4, 3), 90, np.uint8)
    assert saturation(grey)[0] == contrast(grey)[0] == 0
    halves = np.zeros((1, 4, 4, 3), np.uint8)
    halves[0, :2] = 255
    assert contrast(halves)[0] == pytest.approx(0.5)
