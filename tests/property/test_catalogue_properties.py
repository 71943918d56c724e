from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

from nirred.algorithms import catalogue_kernels as kernels
from nirred.algorithms.catalogue import _ellipse, detect
from nirred.algorithms.overlap import circle, ellipse

seeds, sides, places = st.integers(0, 9999), st.integers(1, 12), st.floats(0.0, 1.0)


def covariance_of(rng: np.random.Generator) -> np.ndarray:
    kernel = rng.random((3, 3))
    whole = correlate2d(kernel, kernel)
    return whole / whole.sum()


def reads(usable: np.ndarray, weights: np.ndarray, corner: tuple[int, int], middle: tuple[int, int]) -> np.ndarray:
    """Weight of every pixel of the image if unusable pixels are replaced by their mirror images."""
    found = np.zeros(usable.shape)
    for (j, i), weight in np.ndenumerate(weights):
        for y, x in [(corner[0] + j, corner[1] + i), (2 * middle[0] - corner[0] - j, 2 * middle[1] - corner[1] - i)]:
            if 0 <= y < usable.shape[0] and 0 <= x < usable.shape[1] and usable[y, x]:
                found[y, x] += weight
                break
    return found


def variance_of(share: np.ndarray, variance: np.ndarray, covariance: np.ndarray) -> float:
    noisy = share * np.sqrt(variance)
    half = covariance.shape[0] // 2
    padded = np.pad(noisy, half)
    return float(np.sum(correlate2d(padded, noisy, "valid") * covariance))


@settings(max_examples=60, deadline=None)
@given(seed=seeds, ny=sides, nx=sides, u=places, v=places, major=st.floats(0.3, 6.0), ratio=st.floats(0.2, 1.0))
def test_sums_of_a_source_and_their_variance(
    seed: int, ny: int, nx: int, u: float, v: float, major: float, ratio: float
) -> None:
    rng = np.random.default_rng(seed)
    centre = np.array([u * (nx - 1), v * (ny - 1)])
    good, labels = rng.random((ny, nx)) < 0.8, rng.integers(0, 4, (ny, nx))
    data = np.where(good, rng.normal(0.0, 10.0, (ny, nx)), np.nan).astype(np.float32)
    variance = np.where(good & (labels < 2), rng.uniform(1.0, 9.0, (ny, nx)), 1e6).astype(np.float32)
    covariance = covariance_of(rng)
    weights, corner = _ellipse(centre, (major, ratio * major), rng.uniform(-1.6, 1.6), (ny, nx))
    total, error2 = kernels.own_sum((data, variance), good, labels, (1, corner, centre), weights, covariance)
    middle = math.floor(centre[1] + 0.5), math.floor(centre[0] + 0.5)
    share = reads(good & (labels < 2), weights, corner, middle)
    np.testing.assert_allclose(total, np.sum(share * np.where(share > 0, data, 0.0)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(error2, variance_of(share, variance, covariance), rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, ny=st.integers(1, 40), nx=st.integers(1, 40), u=places, v=places, fwhm=st.floats(1.0, 6.0))
def test_fluxes_in_circles_and_their_errors(seed: int, ny: int, nx: int, u: float, v: float, fwhm: float) -> None:
    """Stars at any position, with circles cut by edges and by regions of NaN."""
    rng = np.random.default_rng(seed)
    x, y = u * (nx - 1), v * (ny - 1)
    rows, columns = np.mgrid[:ny, :nx]
    image = 1e4 * np.exp(-4.0 * math.log(2.0) * ((columns - x) ** 2 + (rows - y) ** 2) / fwhm**2)
    good = rng.random((ny, nx)) < 0.9
    image, variance = np.where(good, image, np.nan).astype(np.float32), rng.uniform(1.0, 9.0, (ny, nx))
    variance = variance.astype(np.float32)
    covariance = covariance_of(rng)
    found = detect(image, variance, None, noisecov=covariance, fwhm=fwhm).columns
    for k in range(found["NUMBER"].size):
        x, y = found["X_IMAGE"][k] - 1.0, found["Y_IMAGE"][k] - 1.0
        row, column = int(np.rint(y)), int(np.rint(x))
        if not (0 <= row < ny and 0 <= column < nx):
            assert np.isnan(found["FLUX_APER"][k])
            continue
        half = math.ceil(fwhm) + 2
        edges = (column - half - 0.5 - x, column + half + 0.5 - x, row - half - 0.5 - y, row + half + 0.5 - y)
        weights = circle(edges, (2 * half + 1, 2 * half + 1), fwhm)
        share = reads(good, weights, (row - half, column - half), (row, column))
        flux = np.sum(share * np.where(good, image, 0.0))
        np.testing.assert_allclose(found["FLUX_APER"][k], flux, rtol=1e-6)
        expected = math.sqrt(variance_of(share, variance, covariance))
        np.testing.assert_allclose(found["FLUXERR_APER"][k], expected, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-3.0, 3.0),
    y=st.floats(-3.0, 3.0),
    major=st.floats(0.05, 8.0),
    ratio=st.floats(0.05, 1.0),
    angle=st.floats(-4.0, 4.0),
)
def test_shares_of_ellipses(x: float, y: float, major: float, ratio: float, angle: float) -> None:
    n, fine = 21, 40
    edges = (-n / 2 - x, n / 2 - x, -n / 2 - y, n / 2 - y)
    share = ellipse(edges, (n, n), (major, ratio * major), angle)
    assert share.min() >= 0.0 and share.max() <= 1.0
    reach = 0.5 * n - max(abs(x), abs(y))
    if major < reach:
        assert math.isclose(share.sum(), math.pi * ratio * major**2, rel_tol=1e-9)
    u = (np.arange(n * fine) + 0.5) / fine - n / 2
    dx, dy = (u - x)[None, :], (u - y)[:, None]
    along = (dx * math.cos(angle) + dy * math.sin(angle)) / major
    across = (dy * math.cos(angle) - dx * math.sin(angle)) / (ratio * major)
    inside = (along**2 + across**2 <= 1.0).reshape(n, fine, n, fine)
    assert np.abs(share - inside.mean(axis=(1, 3))).max() < 3.0 / fine
    np.testing.assert_allclose(ellipse(edges, (n, n), (major, major), angle), circle(edges, (n, n), major), atol=1e-12)
