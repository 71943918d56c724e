"""Power of a sky pattern relative to its noise, and the gain from shrinking it."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.background import level
from nirred.algorithms.sky import (
    MEDIAN_CHI2,
    WHOLE,
    join_halves,
    levels_alike,
    pattern_power,
    pixel_noise,
    shrinkage,
)


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
    assert v.mean() == pytest.approx(90.0, rel=0.04)


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
    truth, first, second, (g, units) = sky_and_truth(power, noise, size=256)
    p, v = (a.mean() for a in pattern_power(first, second, np.zeros(truth.shape, np.float32)))
    shrunk = (p / (p + v / units) * g - truth).std()
    assert (g - truth).std() == pytest.approx(np.sqrt(noise / 4), rel=0.02)
    assert shrunk < min((g - truth).std(), truth.std())
    assert shrunk == pytest.approx(np.sqrt(1 / (1 / power + 4 / noise)), rel=0.06)


def test_tiles_become_pixels_and_a_strong_pattern_is_whole():
    units = np.full((5, 7), 4.0, np.float32)
    units[:, 6] = 1.0
    p, v = shrinkage(np.array([[1.0, 3.0]]), np.array([[2.0, 10.0]]), units)
    assert p.dtype == v.dtype == np.float32
    assert (p[:, :4] == WHOLE).all() and (p[:, 4:6] == WHOLE).all() and (p[:, 6] == 3).all()
    assert (v[:, :4] == 2).all() and (v[:, 4:] == 10).all()
    assert shrinkage(np.zeros((1, 1)), np.zeros((1, 1)), units)[0].max() == 0


def test_halves_are_joined_by_their_units():
    nothing = np.nan
    halves = np.array([[[1, 1, nothing, nothing]], [[3, 3, 0, 0]], [[5, nothing, 5, nothing]], [[1, 0, 1, 0]]])
    g, units = join_halves(halves.astype(np.float32))
    assert np.array_equal(g, np.array([[2, 1, 5, np.nan]], np.float32), equal_nan=True)
    assert units.tolist() == [[4, 3, 1, 0]]


def test_noise_of_pixels_on_a_slope():
    image = np.random.default_rng(6).normal(0, 3, (70, 200)).astype(np.float32) + 2 * np.arange(200, dtype=np.float32)
    bad = np.zeros(image.shape, np.uint8)
    for step in (1, 7):
        assert pixel_noise(image, bad, step) == pytest.approx(3, rel=0.1)
    assert np.isnan(pixel_noise(image, bad + 1))


def test_constant_of_the_median_is_that_of_chi_square():
    rng = np.random.default_rng(5)
    assert np.median(rng.standard_normal(400_000) ** 2) == pytest.approx(MEDIAN_CHI2, rel=0.01)


@pytest.mark.parametrize("scaled", [True, False])
def test_masks_in_a_valley_of_the_pattern_do_not_move_levels_apart(scaled):
    rng = np.random.default_rng(5)
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    ring = 0.1 * np.exp(-0.5 * ((np.hypot(x, y) - 0.7) / 0.25) ** 2)
    true = np.array([1000.0, 1010.0, 1020.0, 990.0, 1005.0])
    skies = [value * (1 + ring) if scaled else value + 1000.0 * ring for value in true]
    frames = np.stack([sky + 5.0 * rng.standard_normal(sky.shape) for sky in skies]).astype(np.float32)
    bad = np.zeros(frames.shape, np.uint8)
    bad[:2, np.hypot(x, y) < 0.4] = 1
    bad[2:, (np.abs(x) > 0.8) & (np.abs(y) > 0.8)] = 1
    first = np.array([level(frame, mask, step=1).value for frame, mask in zip(frames, bad)])
    found = levels_alike(frames, bad, first, scaled=scaled)
    np.testing.assert_array_equal(levels_alike(frames, bad, first, scaled=scaled, threads=3), found)

    def apart(levels):
        return np.ptp(levels - true * levels.mean() / true.mean() if scaled else levels - true)

    assert apart(first) > 2.0
    assert apart(found) < 0.3
    assert found.mean() == pytest.approx(first.mean(), abs=1.0)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_target_is_levelled_against_the_pattern_of_the_sky_frames(scaled):
    """A galaxy leaves only the corners of its frame, where the sky is faint."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    radius = np.hypot(x, y)
    true = np.array([1000.0, 1010.0, 1020.0, 1015.0])
    shape = 1.0 - 0.1 * radius**2
    frames = np.stack([value * shape if scaled else value + 1000 * shape for value in true])
    frames += 5.0 * rng.standard_normal(frames.shape)
    frames[3] += 200.0 * np.exp(-radius / 0.2)
    bad = np.zeros(frames.shape, np.uint8)
    bad[3, radius < 1.0] = 1
    first = np.array([level(frame.astype(np.float32), mask, step=1).value for frame, mask in zip(frames, bad)])
    found = levels_alike(frames.astype(np.float32), bad, first, scaled=scaled, skies=3)
    skies = levels_alike(frames[:3].astype(np.float32), bad[:3], first[:3], scaled=scaled)
    np.testing.assert_array_equal(found[:3], skies)
    expected = true[3] * found[0] / true[0] if scaled else true[3] + found[0] - true[0]
    assert first[3] < expected - 30.0
    assert found[3] == pytest.approx(expected, abs=2.0)


def test_levels_of_frames_that_show_nothing_together_stay():
    frames = np.full((2, 8, 8), 7.0, np.float32)
    bad = np.zeros(frames.shape, np.uint8)
    bad[0, :, :4] = bad[1, :, 4:] = 1
    first = np.array([7.0, 9.0])
    np.testing.assert_array_equal(levels_alike(frames, bad, first, scaled=True), first)
    np.testing.assert_array_equal(levels_alike(frames, bad + 1, first, scaled=False), first)
