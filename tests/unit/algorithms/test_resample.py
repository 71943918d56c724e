from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from nirred.algorithms.resample_kernels import kernel_correlation, phase_weights, split_shift
from nirred.algorithms.resample_shift import bad_fraction_shift_rows, shift_rows


def gaussian(shape: tuple[int, int], x: float, y: float, fwhm: float, flux: float = 1e4) -> np.ndarray:
    """A star integrated over the pixels."""
    from scipy.special import erf

    sigma = fwhm / 2.3548

    def axis(n: int, centre: float) -> np.ndarray:
        edges = (np.arange(n + 1) - 0.5 - centre) / (np.sqrt(2) * sigma)
        return np.diff(erf(edges)) / 2

    return (flux * np.outer(axis(shape[0], y), axis(shape[1], x))).astype(np.float32)


def centroid(image: np.ndarray) -> tuple[float, float]:
    y, x = np.indices(image.shape)
    total = image.sum(dtype=np.float64)
    return float((image * x).sum(dtype=np.float64) / total), float((image * y).sum(dtype=np.float64) / total)


@pytest.mark.parametrize("kernel", ["lanczos3", "bilinear", "nearest"])
def test_weights_sum_to_one(kernel: str) -> None:
    weights = phase_weights(np.linspace(0, 0.999, 50), kernel)
    assert np.allclose(weights.sum(axis=1), 1.0, atol=1e-15)


def test_split_shift_of_a_whole_pixel_is_one_sample() -> None:
    for shift in (-3.0, 0.0, 4.0, 4.0 - 1e-9):
        first, weights = split_shift(shift, "lanczos3")
        assert first == round(shift) and weights.tolist() == [1.0]
    with pytest.raises(ValueError, match="finite"):
        split_shift(float("nan"), "lanczos3")


@pytest.mark.parametrize("fwhm, allowed", [(2.3, 1e-3), (3.0, 1e-4), (6.0, 1e-4)])
@pytest.mark.parametrize("dx, dy", [(0.5, 0.5), (-0.3, 0.77), (12.25, -7.4)])
def test_shift_keeps_flux_and_moves_the_star(fwhm: float, allowed: float, dx: float, dy: float) -> None:
    star = gaussian((80, 90), 45.2, 40.6, fwhm)
    moved, coverage = shift_rows(star, None, dx, dy)
    inner = np.nan_to_num(moved)
    y, x = np.indices(star.shape)
    aperture = np.hypot(x - 45.2 + dx, y - 40.6 + dy) < 5 * fwhm
    assert abs(inner[aperture].sum(dtype=np.float64) / 1e4 - 1) < allowed
    cx, cy = centroid(np.where(aperture, inner, 0))
    assert cx == pytest.approx(45.2 - dx, abs=0.005) and cy == pytest.approx(40.6 - dy, abs=0.005)
    assert (
        np.abs(moved - gaussian(star.shape, 45.2 - dx, 40.6 - dy, fwhm))[coverage > 0.99].max()
        < (0.05 if fwhm < 3 else 0.012) * star.max()
    )


def test_bilinear_agrees_with_scipy() -> None:
    image = np.random.default_rng(1).normal(size=(40, 50)).astype(np.float32)
    shifted, _ = shift_rows(image, None, 1.3, -2.6, kernel="bilinear")
    y, x = np.indices(image.shape)
    expected = map_coordinates(image.astype(np.float64), [y - 2.6, x + 1.3], order=1, cval=np.nan)
    both = np.isfinite(expected)
    assert both.sum() > 1500
    np.testing.assert_allclose(shifted[both], expected[both], atol=2e-6)


def test_masked_lanczos_is_the_renormalised_kernel() -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(10, 1, size=(30, 34)).astype(np.float32)
    bad = rng.random(image.shape) < 0.1
    image[bad] = np.nan
    shifted, coverage = shift_rows(image, bad, 0.4, 0.3)
    wx, wy = split_shift(0.4, "lanczos3")[1], split_shift(0.3, "lanczos3")[1]
    weight = np.outer(wy, wx)
    for y, x in ((10, 10), (12, 20), (20, 7), (15, 15), (25, 30)):
        window = (slice(y - 2, y + 4), slice(x - 2, x + 4))
        good = ~bad[window]
        value = (weight[: good.shape[0], : good.shape[1]] * np.where(good, image[window], 0)).sum()
        left = np.abs(weight[: good.shape[0], : good.shape[1]] * good).sum() / np.abs(weight).sum()
        assert coverage[y, x] == pytest.approx(left, abs=1e-5)
        if left >= 0.5:
            norm = (weight[: good.shape[0], : good.shape[1]] * good).sum()
            assert shifted[y, x] == pytest.approx(value / norm, rel=1e-5)
        else:
            assert np.isnan(shifted[y, x])


def test_mask_and_nan_mean_the_same() -> None:
    image = np.random.default_rng(3).normal(size=(20, 20)).astype(np.float32)
    bad = np.zeros(image.shape, np.uint8)
    bad[5:8, 9] = 4
    holes = np.where(bad > 0, np.nan, image).astype(np.float32)
    for kernel in ("lanczos3", "bilinear"):
        a = shift_rows(image, bad, 0.2, 0.6, kernel=kernel)
        b = shift_rows(holes, None, 0.2, 0.6, kernel=kernel)
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


def test_constant_stays_constant_to_the_border_and_outside_is_nan() -> None:
    image = np.full((20, 24), 7.0, np.float32)
    shifted, coverage = shift_rows(image, None, 3.4, -2.3, shape=(26, 30), origin=(-2, -1))
    inside = np.isfinite(shifted)
    np.testing.assert_allclose(shifted[inside], 7.0, rtol=1e-6)
    y, x = np.indices(shifted.shape)
    xin, yin = np.floor(x - 2 + 3.4 + 0.5), np.floor(y - 1 - 2.3 + 0.5)
    outside = (xin < 0) | (xin > 23) | (yin < 0) | (yin > 19)
    assert np.isnan(shifted[outside]).all() and (coverage[outside] == 0).all()
    assert inside[~outside].mean() > 0.95


@pytest.mark.parametrize("kernel", ["lanczos3", "bilinear", "nearest"])
def test_all_bad_and_single_pixel(kernel: str) -> None:
    image = np.ones((9, 9), np.float32)
    shifted, coverage = shift_rows(image, np.ones((9, 9), bool), 0.3, 0.3, kernel=kernel)
    assert np.isnan(shifted).all() and (coverage == 0).all()
    one, _ = shift_rows(np.full((1, 1), 5.0, np.float32), None, 0.0, 0.0, kernel=kernel)
    assert one.tolist() == [[5.0]]
    far, _ = shift_rows(np.full((1, 1), 5.0, np.float32), None, 900.5, 0.0, kernel=kernel)
    assert np.isnan(far).all()


def test_wrong_shapes_are_refused() -> None:
    image = np.ones((9, 9), np.float32)
    with pytest.raises(ValueError, match="mask has shape"):
        shift_rows(image, np.ones((9, 8), bool), 0.3, 0.3)
    with pytest.raises(ValueError, match="buffer"):
        shift_rows(image, None, 0.3, 0.3, out=np.empty((3, 3), np.float32))


def test_bad_fraction_is_the_covered_area() -> None:
    bad = np.zeros((12, 12), np.uint8)
    bad[6, 6] = 1
    fraction = bad_fraction_shift_rows(bad, 0.25, 0.5)
    assert fraction[6, 6] == pytest.approx(0.75 * 0.5)
    assert fraction[6, 5] == pytest.approx(0.25 * 0.5)
    assert fraction[5, 6] == pytest.approx(0.75 * 0.5)
    assert fraction[3, 3] == 0 and (bad_fraction_shift_rows(bad, 50.0, 0.0) == 1).all()
    tiles = [bad_fraction_shift_rows(bad, 0.25, 0.5, rows=(r, r + 3)) for r in range(0, 12, 3)]
    np.testing.assert_array_equal(np.vstack(tiles), fraction)


@pytest.mark.parametrize("kernel", ["lanczos3", "bilinear", "nearest"])
def test_kernel_correlation_is_the_noise_of_a_shifted_frame(kernel: str) -> None:
    noise = np.random.default_rng(5).normal(size=(700, 700)).astype(np.float32)
    shifted = shift_rows(noise, None, 0.3, 0.45, kernel=kernel)[0][5:-5, 5:-5].astype(np.float64)
    expected = kernel_correlation(0.3, 0.45, kernel)
    n = shifted.shape[0]
    for ly in range(4):
        for lx in range(-3, 4):
            a = shifted[ly:, max(0, lx) : n + min(0, lx)]
            b = shifted[: n - ly, max(0, -lx) : n - max(0, lx)]
            assert (a * b).mean() == pytest.approx(expected[3 + ly, 3 + lx], abs=0.008)
    assert abs(expected.sum() - 1) < 0.02
    np.testing.assert_allclose(expected, expected[::-1, ::-1], atol=1e-15)
