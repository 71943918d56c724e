"""The running sky, its outliers, and the shrinkage of its pixel noise."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.sky import MEDIAN_CHI2, RunningSky, SkyFrames, pattern_power, subtract_sky


def frames_of(data, ok=None, zero=None, unit=None, level=None):
    n = len(data)
    return SkyFrames(
        [np.asarray(d, np.float32) for d in data],
        [np.ones(np.shape(d), np.uint8) for d in data] if ok is None else list(ok),
        np.zeros(n) if zero is None else np.asarray(zero, float),
        np.ones(n) if unit is None else np.asarray(unit, float),
        np.full(n, 100.0) if level is None else np.asarray(level, float),
        np.ones(n),
    )


@pytest.fixture
def night():
    """Nine frames of 12 x 10 pixels, a fifth of them not sky; scaled skies."""
    rng = np.random.default_rng(1)
    unit = rng.uniform(900, 1100, 9)
    pattern = 1 + 0.05 * rng.standard_normal((12, 10))
    data = [u * pattern + np.sqrt(u) * rng.standard_normal(pattern.shape) for u in unit]
    ok = [(rng.random(pattern.shape) > 0.2).astype(np.uint8) for _ in unit]
    return frames_of(data, ok, unit=unit, level=unit)


def direct(frames, members):
    top = np.sum([frames.ok[j] * (frames.data[j].astype(float) - frames.zero[j]) for j in members], axis=0)
    units = np.sum([frames.ok[j] * frames.unit[j] for j in members], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(units > 0, top / units, np.nan), units


def test_running_sums_equal_direct_ones_however_the_set_was_reached(night):
    running = RunningSky(night)
    for members in [(0, 1, 2), (1, 2, 3), (8,), (0, 1, 2, 3, 4, 5, 6, 7), (2, 4, 6), (2, 4, 6)]:
        running.move_to(members)
        got, expected = running.pattern(), direct(night, members)
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-12)
        np.testing.assert_allclose(got[1], expected[1], rtol=1e-12, atol=1e-6)
        assert np.array_equal(np.isnan(got[0]), np.isnan(expected[0]))


def test_no_sky_anywhere_is_nan_with_no_units(night):
    for flags in night.ok:
        flags[3, 4] = 0
    running = RunningSky(night)
    running.move_to((0, 1, 2, 3))
    g, units = running.pattern()
    assert np.isnan(g[3, 4]) and units[3, 4] == 0
    running.move_to((1, 2, 3, 4))
    assert np.isnan(running.pattern()[0][3, 4])


def test_one_frame_of_one_pixel():
    running = RunningSky(frames_of([[[7.0]]], zero=[2.0]))
    running.move_to((0,))
    assert running.pattern()[0][0, 0] == 5.0


def test_outliers_are_cleared_and_noise_is_not():
    rng = np.random.default_rng(2)
    data = 100 + 10 * rng.standard_normal((5, 40, 40))
    data[3, 7, 7] += 80
    data[1, 9, 9] -= 80
    frames = frames_of(data, level=np.full(5, 100.0))
    centre, spread = np.full((40, 40), 100.0), np.zeros((40, 40))
    noise = np.zeros((40, 40), np.float32), np.ones((40, 40), np.float32)
    frames.flag_outliers([0, 1, 2, 3], centre, spread, noise, 4.0)
    assert frames.ok[3][7, 7] == 0 == frames.ok[1][9, 9]
    expected = [np.abs(d - 100) <= 40 for d in frames.data[:4]]
    assert all(np.array_equal(ok != 0, e) for ok, e in zip(frames.ok, expected))
    assert frames.ok[4].all()  # not asked for


def test_a_pixel_without_centre_is_not_sky():
    frames = frames_of([np.ones((2, 2))])
    centre = np.array([[1.0, np.nan], [1.0, 1.0]])
    noise = np.ones((2, 2), np.float32), np.ones((2, 2), np.float32)
    frames.flag_outliers([0], centre, np.zeros((2, 2)), noise, 4.0)
    assert frames.ok[0].tolist() == [[1, 0], [1, 1]]


# -- shrinkage ----------------------------------------------------------------------------------------------------


def sky_and_truth(power, noise, n=4, size=96, seed=3):
    """A flat sky whose pixels differ by `power` (variance) and estimates from n frames of variance `noise`."""
    rng = np.random.default_rng(seed)
    truth = np.sqrt(power) * rng.standard_normal((size, size))
    seen = [truth + np.sqrt(noise) * rng.standard_normal(truth.shape) for _ in range(n)]
    first = np.mean(seen[0::2], axis=0), np.full(truth.shape, float(len(seen[0::2])))
    second = np.mean(seen[1::2], axis=0), np.full(truth.shape, float(len(seen[1::2])))
    both = np.mean(seen, axis=0), np.full(truth.shape, float(n))
    return truth, first, second, both


@pytest.mark.parametrize(("power", "noise"), [(25.0, 100.0), (100.0, 25.0), (0.0, 49.0)])
def test_power_of_pattern_and_noise_are_found(power, noise):
    _, first, second, _ = sky_and_truth(power, noise, size=256)
    p, v = pattern_power(first, second, np.zeros((256, 256), np.float32))
    assert v.mean() == pytest.approx(noise, rel=0.03)
    assert p.mean() == pytest.approx(power, abs=0.03 * (power + noise))


def test_unequal_halves_give_the_same_noise():
    _, first, second, _ = sky_and_truth(0.0, 90.0, n=3, size=256)
    _, v = pattern_power(first, second, np.zeros((256, 256), np.float32))
    assert v.mean() == pytest.approx(90.0, rel=0.03)


def test_power_ignores_pixels_that_one_half_does_not_see():
    _, first, second, _ = sky_and_truth(25.0, 100.0, size=128)
    first[0][:, :40], first[1][:, :40] = np.nan, 0.0
    p, v = pattern_power(first, second, np.zeros((128, 128), np.float32))
    assert np.isfinite(p).all() and np.isfinite(v).all()
    assert v.mean() == pytest.approx(100.0, rel=0.1)
    nothing = np.full((128, 128), np.nan), np.zeros((128, 128))
    p, v = pattern_power(nothing, nothing, np.zeros((128, 128), np.float32))
    assert not p.any() and not v.any()


@pytest.mark.parametrize(("power", "noise"), [(4.0, 100.0), (25.0, 100.0), (100.0, 100.0)])
def test_shrunk_sky_errs_less_than_the_full_and_the_smooth_one(power, noise):
    truth, first, second, both = sky_and_truth(power, noise, size=256)
    smooth = np.zeros(truth.shape, np.float32)
    shrink = pattern_power(first, second, smooth)
    none = np.zeros_like(smooth), np.zeros_like(smooth)
    data = truth.astype(np.float32)  # noise-free: what is left over is the sky's own error
    shrunk = subtract_sky(data, both, smooth, shrink, (0.0, 1.0)).std()
    full = subtract_sky(data, both, smooth, none, (0.0, 1.0)).std()
    flat = truth.std()
    assert full == pytest.approx(np.sqrt(noise / 4), rel=0.02)
    best = np.sqrt(1 / (1 / power + 4 / noise))
    assert shrunk < min(full, flat)
    assert shrunk == pytest.approx(best, rel=0.06)


@pytest.mark.parametrize("power", [0.0, 4.0])
def test_a_real_pattern_pixel_of_ten_sigma_is_taken_off(power):
    v = 25.0
    g = np.zeros((5, 5))
    g[2, 2] = 10 * np.sqrt(power + v)
    shrink = np.full((5, 5), power, np.float32), np.full((5, 5), 4 * v, np.float32)
    data = g.astype(np.float32)
    left = subtract_sky(data, (g, np.full((5, 5), 4.0)), np.zeros((5, 5), np.float32), shrink, (0.0, 1.0))
    assert abs(left[2, 2]) < np.sqrt(power + v)  # 90 % and more: what stays is below the noise


def test_without_sky_the_smooth_part_alone_is_subtracted():
    g, units = np.full((2, 3), np.nan), np.zeros((2, 3))
    smooth = np.full((2, 3), 2.0, np.float32)
    nothing = np.zeros((2, 3), np.float32)
    out = subtract_sky(np.full((2, 3), 50.0, np.float32), (g, units), smooth, (nothing, nothing), (5.0, 10.0))
    assert out.tolist() == [[25.0] * 3] * 2
    assert out.dtype == np.float32


def test_plane_counts_from_the_first_row_and_column():
    zero = np.zeros((3, 4), np.float32)
    pattern = np.zeros((3, 4)), np.ones((3, 4))
    out = subtract_sky(zero, pattern, zero, (zero, zero), (0.0, 1.0), (1.0, 10.0, 100.0))
    y, x = np.indices((3, 4))
    np.testing.assert_array_equal(out, -(1.0 + 10.0 * x + 100.0 * y))


def test_constant_of_the_median_is_that_of_chi_square():
    rng = np.random.default_rng(5)
    assert np.median(rng.standard_normal(400_000) ** 2) == pytest.approx(MEDIAN_CHI2, rel=0.01)
