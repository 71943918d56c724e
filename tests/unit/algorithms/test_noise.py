from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import correlate2d, fftconvolve

from nirred.algorithms.noise import aperture_sigma, autocorrelation, disc, noise_covariance

WHITE = np.zeros((7, 7))
WHITE[3, 3] = 1.0


def lanczos(fraction: float) -> np.ndarray:
    x = np.arange(-2, 4) - fraction
    weights = np.sinc(x) * np.sinc(x / 3.0)
    return weights / weights.sum()


KERNEL = np.outer(lanczos(0.5), lanczos(0.3))
CORRELATION = correlate2d(KERNEL, KERNEL)[2:9, 2:9]


def correlated(shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    return fftconvolve(np.random.default_rng(seed).normal(0.0, 1.0, shape), KERNEL, mode="same")


def test_measured_correlation_is_that_of_the_kernel() -> None:
    image = correlated((700, 700)) + 5.0 + np.linspace(0.0, 2.0, 700)
    mask = np.zeros(image.shape, bool)
    image[100:150, 100:150], mask[100:150, 100:150] = 40.0, True
    image[300, 300] = 1e4
    measured = autocorrelation(image, mask)
    assert np.abs(measured - CORRELATION).max() < 0.01
    assert np.array_equal(measured, measured[::-1, ::-1])


def test_correlation_without_pixels_is_nan() -> None:
    assert np.isnan(autocorrelation(np.full((50, 50), np.nan), None)).all()
    assert np.isnan(autocorrelation(np.ones((1, 1)), None)[0, 0])
    assert np.isnan(autocorrelation(np.ones((50, 50)), np.ones((50, 50)))).all()


def test_covariance_of_a_stack_sums_to_one() -> None:
    covariance = noise_covariance([CORRELATION, WHITE], [3.0, 1.0])
    assert covariance.sum() == pytest.approx(1.0)
    expected = 3.0 * CORRELATION + WHITE
    assert covariance[3, 3] == pytest.approx(expected[3, 3] / expected.sum())


def test_covariance_needs_positive_weights() -> None:
    with pytest.raises(ValueError, match="weights"):
        noise_covariance([WHITE], [0.0])
    with pytest.raises(ValueError, match="weights"):
        noise_covariance([WHITE], [1.0, 1.0])


def test_noise_of_an_aperture_on_white_noise_adds_in_quadrature() -> None:
    variance = np.random.default_rng(2).uniform(1.0, 4.0, (9, 9))
    weights = np.random.default_rng(3).uniform(0.0, 1.0, (9, 9))
    assert aperture_sigma(WHITE, variance, weights) == pytest.approx(math.sqrt(np.sum(weights**2 * variance)))
    variance[4, 4] = np.nan
    weights[4, 4] = 0.0
    assert math.isfinite(aperture_sigma(WHITE, variance, weights))
    assert aperture_sigma(WHITE, np.full((1, 1), 9.0), np.ones((1, 1))) == pytest.approx(3.0)


@pytest.mark.parametrize("radius", [1.5, 3.0, 6.0])
def test_predicted_noise_is_the_scatter_of_blank_apertures(radius: float) -> None:
    covariance = noise_covariance([CORRELATION], [1.0])
    weights = disc(radius)
    scatters = [np.std(fftconvolve(correlated((800, 800), seed), weights, "valid")) for seed in range(3)]
    predicted = aperture_sigma(covariance, np.ones_like(weights), weights)
    assert np.mean(scatters) == pytest.approx(predicted, rel=0.04)


def test_disc_covers_its_area_and_moves() -> None:
    weights = disc(3.3, 0.25, -0.4)
    assert weights.sum() == pytest.approx(math.pi * 3.3**2, rel=1e-9)
    offsets = np.arange(weights.shape[0]) - weights.shape[0] // 2
    assert (weights.sum(axis=0) * offsets).sum() / weights.sum() == pytest.approx(0.25, abs=0.01)


def test_disc_shares_are_exact() -> None:
    weights = disc(3.7, np.array([0.0, 0.5, -0.31]), np.array([0.0, -0.5, 0.12]))
    assert weights.shape == (3, 11, 11)
    assert weights.sum(axis=(1, 2)) == pytest.approx(np.pi * 3.7**2, rel=1e-13)
    assert np.all(weights[:, 5, 5] == 1.0) and np.all(weights[:, 0, 0] == 0.0)
    np.testing.assert_array_equal(weights[2], disc(3.7, -0.31, 0.12))
    fine = (np.arange(2200) + 0.5) / 200 - 5.5
    counted = (fine + 0.31) ** 2 + (fine[:, None] - 0.12) ** 2 <= 3.7**2
    np.testing.assert_allclose(weights[2], counted.reshape(11, 200, 11, 200).mean(axis=(1, 3)), atol=2e-3)
    assert disc(0.3)[1, 1] == pytest.approx(np.pi * 0.09, rel=1e-13)
