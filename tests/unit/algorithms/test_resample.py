from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from nirred.algorithms import gnomonic
from nirred.algorithms.pixelmap import PixelMap
from nirred.algorithms.resample_gather import gather_rows
from nirred.algorithms.resample_kernels import kernel_correlation, phase_weights, split_shift
from nirred.algorithms.resample_shift import bad_fraction_shift_rows, shift_rows
from nirred.algorithms.survey import survey_rows


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
        norm = (weight[: good.shape[0], : good.shape[1]] * good).sum()
        if min(left, norm) >= 0.5:
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


def emir(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From a constant pixel scale to EMIR's distorted detector (its ZPN polynomial)."""
    u, v = x - 1021.5, y - 1015.5
    theta2 = (u**2 + v**2) * np.radians(5.396445e-5) ** 2
    factor = 1 + 14584.8 * theta2 + 1755295542.4 * theta2**2
    return 1021.5 + u * factor, 1015.5 + v * factor


def test_pixel_map_of_a_distorted_camera_is_true_to_a_thousandth() -> None:
    pixelmap = PixelMap.from_function(emir, (2048, 2048))
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 2047, (2, 20000))
    got, expected = pixelmap.at(x, y), emir(x, y)
    assert np.hypot(got[0] - expected[0], got[1] - expected[1]).max() < 1.1e-3
    assert pixelmap.shift is None
    # A corner pixel covers some 13 % less sky, that is, more detector area per unit of sky.
    middle = 1016 // pixelmap.step
    assert 1.08 < pixelmap.area[0, 0] < 1.2 and pixelmap.area[middle, middle] == pytest.approx(1.0, abs=1e-3)


def test_pixel_map_knows_a_shift() -> None:
    assert PixelMap.from_shift(1.5, -2.25, (40, 50)).shift == pytest.approx((1.5, -2.25))
    turn = np.array([[1.0, -1e-3], [1e-3, 1.0]])
    assert PixelMap.from_affine(turn, np.zeros(2), (400, 500)).shift is None
    found = PixelMap.from_function(lambda x, y: (x + 3.25, y - 1.5), (100, 80)).shift
    assert found == pytest.approx((3.25, -1.5), abs=1e-6)


def test_rough_or_empty_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="not smooth"):
        PixelMap.from_function(lambda x, y: (x + np.sin(x * 1.3), y), (64, 64))
    with pytest.raises(ValueError, match="no finite"):
        PixelMap.from_function(lambda x, y: (x * np.nan, y), (64, 64))


@pytest.mark.parametrize("kernel", ["lanczos3", "bilinear", "nearest"])
def test_gather_and_shift_agree(kernel: str) -> None:
    rng = np.random.default_rng(4)
    image = rng.normal(0, 1, (70, 90)).astype(np.float32)
    bad = rng.random(image.shape) < 0.02
    a = shift_rows(image, bad, 0.25, -1.625, kernel=kernel, shape=(80, 95))
    b = gather_rows(image, bad, PixelMap.from_shift(0.25, -1.625, (80, 95)), kernel=kernel)
    assert np.array_equal(np.isnan(a[0]), np.isnan(b[0]))
    np.testing.assert_allclose(a[0], b[0], atol=1e-5)
    both = np.isfinite(a[0])
    np.testing.assert_allclose(a[1][both], b[1][both], atol=1e-5)


def test_gather_bilinear_agrees_with_reproject() -> None:
    from astropy.wcs import WCS
    from reproject import reproject_interp

    def camera(angle: float, centre: float) -> WCS:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval, wcs.wcs.crpix = [10.0, 20.0], [centre, centre]
        c, s = np.cos(angle) * 1e-4, np.sin(angle) * 1e-4
        wcs.wcs.cd = [[-c, s], [s, c]]
        return wcs

    source, target = camera(0.0, 30.5), camera(0.2, 33.2)
    image = gaussian((60, 60), 31.0, 27.0, 4.0)
    expected, _ = reproject_interp((image, source), target, shape_out=(60, 60), order="bilinear")
    pixelmap = PixelMap.from_function(lambda x, y: source.wcs_world2pix(*target.wcs_pix2world(x, y, 0), 0), (60, 60))
    got, _ = gather_rows(image, None, pixelmap, kernel="bilinear", conserve=False)
    both = np.isfinite(expected) & np.isfinite(got)
    assert both.sum() > 2500
    assert np.abs(got - expected)[both].max() < 1e-3 * image.max()


@pytest.mark.parametrize("fwhm, allowed", [(2.3, 1e-3), (3.0, 2e-4)])
def test_gather_keeps_flux_and_place_through_distortion(fwhm: float, allowed: float) -> None:
    def transform(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = x - 100, y - 100
        factor = 1 + 2e-6 * (u**2 + v**2)
        return 100 + u * factor + 0.02 * v, 100 + v * factor - 0.02 * u

    pixelmap = PixelMap.from_function(transform, (200, 200))
    xs, ys = pixelmap.at(np.array([140.3]), np.array([61.8]))
    star = gaussian((200, 200), float(xs[0]), float(ys[0]), fwhm)
    out, _ = gather_rows(star, None, pixelmap)
    y, x = np.indices(out.shape)
    inner = np.where(np.hypot(x - 140.3, y - 61.8) < 5 * fwhm, np.nan_to_num(out), 0)
    assert abs(inner.sum(dtype=np.float64) / 1e4 - 1) < allowed
    assert centroid(inner) == (pytest.approx(140.3, abs=0.005), pytest.approx(61.8, abs=0.005))


@pytest.mark.parametrize("angle", [0.0, 0.01, 0.5, 2.2])
def test_gather_is_lanczos_at_every_phase_masked_or_not(angle: float) -> None:
    rng = np.random.default_rng(6)
    image = rng.normal(0, 1, (60, 70)).astype(np.float32)
    bad = rng.random(image.shape) < 0.03
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, s], [-s, c]])
    pixelmap = PixelMap.from_affine(matrix, np.array([35.3, 30.6]) - matrix @ (150.0, 20.0), (40, 300))
    plain, masked = gather_rows(image, None, pixelmap)[0], gather_rows(image, bad, pixelmap)[0]
    y, x = np.indices(plain.shape)
    u, v = pixelmap.at(x.astype(float), y.astype(float))
    inner = (u > 3) & (u < 66) & (v > 3) & (v < 56)
    assert 500 < inner.sum() and np.isnan(plain[:, 0]).all()
    for r, k in np.argwhere(inner)[::7]:
        i, j = int(u[r, k]), int(v[r, k])
        wx, wy = (phase_weights(np.array([f]), "lanczos3")[0] for f in (u[r, k] - i, v[r, k] - j))
        window, good, weight = image[j - 2 : j + 4, i - 2 : i + 4], ~bad[j - 2 : j + 4, i - 2 : i + 4], np.outer(wy, wx)
        assert plain[r, k] == pytest.approx((weight * window).sum(), abs=2e-5)
        if np.isfinite(masked[r, k]):
            assert masked[r, k] == pytest.approx((weight * window * good).sum() / (weight * good).sum(), abs=1e-4)


def test_gather_multiplies_by_the_area_that_the_map_gives() -> None:
    pixelmap = PixelMap.from_function(bent, (61, 83))
    image = np.random.default_rng(9).normal(10, 1, (70, 90)).astype(np.float32)
    for rows in ((0, 61), (5, 24), (60, 61)):
        kept, plain = (gather_rows(image, None, pixelmap, rows=rows, conserve=c)[0] for c in (True, False))
        x, y = np.meshgrid(np.arange(83.0), np.arange(*rows, dtype=float))
        assert np.isfinite(kept).any()
        np.testing.assert_array_equal(kept, plain * pixelmap.read(x, y)[2].astype(np.float32))


def test_gather_of_nothing_is_nothing() -> None:
    shift = PixelMap.from_shift(0.3, 0.3, (9, 9))
    for image, bad in (
        (np.full((9, 9), np.nan, np.float32), None),
        (np.ones((9, 9), np.float32), np.ones((9, 9), bool)),
    ):
        out, coverage = gather_rows(image, bad, shift)
        assert np.isnan(out).all() and (coverage == 0).all()
    far, _ = gather_rows(np.ones((9, 9), np.float32), None, PixelMap.from_shift(0.0, 500.0, (9, 9)))
    assert np.isnan(far).all()
    one, _ = gather_rows(np.full((1, 1), 5.0, np.float32), None, PixelMap.from_shift(0.0, 0.0, (1, 1)))
    assert one.tolist() == [[5.0]]
    with pytest.raises(ValueError, match="mask has shape"):
        gather_rows(np.ones((9, 9), np.float32), np.ones((9, 8), bool), shift)


def bent(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A map with distortion, rotation and an edge outside the input."""
    u, v = x - 40, y - 30
    factor = 1 + 1e-5 * (u**2 + v**2)
    return 38 + u * factor + 0.1 * v, 33 + v * factor - 0.1 * u


def test_survey_finds_the_nearest_pixels_and_what_masks_hide() -> None:
    rng = np.random.default_rng(8)
    shape, out = (60, 70), (77, 90)
    bad = (rng.random(shape) < 0.1).astype(np.uint8)
    pixelmap = PixelMap.from_function(bent, out)
    y, x = np.indices(out).astype(float)
    u, v, area = pixelmap.read(x, y)
    found = survey_rows(bad, pixelmap, (0, 77), (0, 60), shape)
    inside = (u >= -0.5) & (u < 69.5) & (v >= -0.5) & (v < 59.5)
    i, j = np.floor(u + 0.5).astype(int), np.floor(v + 0.5).astype(int)
    assert np.array_equal(found.index, np.where(inside, j * 70 + i, -1))
    np.testing.assert_allclose(found.area, area, rtol=1e-6)
    # masked fraction of a bilinear interpolation, without samples outside the image
    masked = map_coordinates(np.pad(bad, 3).astype(float), [v + 3, u + 3], order=1)
    weight = map_coordinates(np.pad(np.ones(shape), 3), [v + 3, u + 3], order=1)
    np.testing.assert_allclose(found.hidden[inside], (masked / np.maximum(weight, 1e-9))[inside], atol=1e-6)
    assert (found.hidden[~inside] == 1).all() and 0.2 < inside.mean() < 0.9
    assert np.array_equal(survey_rows(None, pixelmap, (0, 77), (0, 60), shape).hidden, (~inside).astype(np.float32))
    part = survey_rows(bad[10:40], pixelmap, (20, 31), (10, 40), shape)
    assert np.array_equal(part.hidden, found.hidden[20:31])
    assert np.array_equal(np.where(part.index < 0, -1, part.index + 700), found.index[20:31])
    near = gather_rows(
        np.arange(4200, dtype=np.float32).reshape(shape), None, pixelmap, kernel="nearest", conserve=False
    )
    assert np.array_equal(np.nan_to_num(near[0], nan=-5), np.where(inside, found.index, -5))
    assert np.array_equal(near[1], inside)


def test_survey_of_nothing_and_of_one_pixel() -> None:
    all_bad = survey_rows(np.ones((9, 9), np.uint8), PixelMap.from_shift(0.3, 0.3, (9, 9)), (0, 9), (0, 9), (9, 9))
    assert (all_bad.hidden == 1).all() and (all_bad.index >= 0).sum() == 81
    one = survey_rows(np.zeros((1, 1), np.uint8), PixelMap.from_shift(0.0, 0.0, (1, 1)), (0, 1), (0, 1), (1, 1))
    assert one.index.tolist() == [[0]] and one.hidden.tolist() == [[0.0]]


def test_a_projective_map_before_a_distortion() -> None:
    pixelmap = PixelMap.from_function(bent, (200, 200))
    matrix = gnomonic.motion(0.01, (50.0, 60.0), (53.3, 55.5))
    matrix[2] = 1e-6, -2e-6, 1.0
    both = pixelmap.behind(matrix, (-7, 12), (90, 110))
    assert both.step == pixelmap.step and both.shape == (90, 110)
    y, x = np.indices(both.x.shape) * float(both.step)
    u, v = gnomonic.apply(matrix, x - 7, y + 12)
    expected = pixelmap.read(u, v)
    for got, wanted in zip((both.x, both.y), expected[:2], strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-9)
    np.testing.assert_allclose(both.area, expected[2] * gnomonic.area(matrix, x - 7, y + 12), rtol=1e-12)
