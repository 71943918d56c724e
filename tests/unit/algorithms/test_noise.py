from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import correlate2d, fftconvolve

from nirred.algorithms.noise import aperture_sigma, noise_covariance
from nirred.algorithms.overlap import disc

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
