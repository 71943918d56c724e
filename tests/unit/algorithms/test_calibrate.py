from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from nirred.algorithms.calibrate import calibrate
from nirred.algorithms.holes import MAX_HOLE
from nirred.algorithms.response import CalibrationInputs, LinearityCurve, linear_level

NIRI_LOW = LinearityCurve(np.array([[1.0, 6.006310407e-07, 1.282732019e-12]]), (1.2662732,))
F2 = LinearityCurve(np.array([[0.9999107, -4.2854848e-08, 1.0096585e-12]]))


def full_inputs(rng, shape):
    return CalibrationInputs(
        gain=12.3,
        coadds=2,
        exposure_per_coadd=10.0,
        linearity=LinearityCurve(NIRI_LOW.coefficients, NIRI_LOW.time_delta, 120_000.0),
        saturation=21_000.0,
        non_linear=20_000.0,
        dark=rng.normal(20, 2, shape).astype(np.float32),
        flat_reciprocal=np.where(rng.random(shape) < 0.02, 0, 1 / rng.normal(1, 0.1, shape)).astype(np.float32),
        static_dq=rng.choice(np.array([0, 0, 0, 1, 64], np.uint16), shape),
        dark_scale=0.5,
    )


def reference(raw, inputs):
    """The same in float64, step by step."""
    curve = inputs.linearity
    x = raw.astype(np.float64) * inputs.gain / inputs.coadds
    c = curve.coefficients[np.arange(raw.shape[0]) % len(curve.coefficients)].T[:, :, None]
    powers = np.arange(1, len(c) + 1)[:, None, None]
    inside = np.clip(x, 0, curve.valid_to)
    slope = np.where(x < 0, c[0], np.sum(powers * c * inside ** (powers - 1), axis=0))
    y = np.sum(c * inside**powers, axis=0) + slope * (x - inside)
    t = inputs.exposure_per_coadd
    k = t / (t + np.array(curve.time_delta))[np.arange(raw.shape[0]) % len(curve.time_delta)][:, None]
    sci = (y * inputs.coadds * k - inputs.dark_scale * inputs.dark) * inputs.flat_reciprocal
    dq = inputs.static_dq | np.where((inputs.flat_reciprocal == 0) & (inputs.static_dq & 65 == 0), 1, 0)
    dq |= np.where(raw >= inputs.saturation, 4, np.where((raw >= inputs.non_linear) | (x > curve.valid_to), 2, 0))
    bad = ~np.isfinite(sci)
    return np.where(bad, 0, sci), dq | bad


@pytest.mark.parametrize("dtype", ["i2", "u2", ">i2", ">i4", "f4", ">f4", "f8"])
def test_matches_step_by_step(dtype):
    rng = np.random.default_rng(1)
    raw = rng.uniform(-200, 25_000, (67, 33)).astype(dtype)
    inputs = full_inputs(rng, raw.shape)
    sci, dq = calibrate(raw, inputs)
    expected, flags = reference(raw, inputs)
    assert sci.dtype == np.float32 and dq.dtype == np.uint16
    np.testing.assert_allclose(sci, expected, rtol=2e-6, atol=1e-2)
    kept = dq & ~np.uint16(4) | np.where(raw >= inputs.saturation, 4, 0)  # holes are tested elsewhere
    np.testing.assert_array_equal(kept, flags)


def test_published_check_values():
    raw = np.full((1, 1), 100_000, np.int32)
    sci, _ = calibrate(raw, CalibrationInputs(exposure_per_coadd=10.0, linearity=NIRI_LOW))
    assert sci[0, 0] == pytest.approx(95230.3, abs=0.1)
    sci, _ = calibrate(raw, CalibrationInputs(linearity=F2))
    assert sci[0, 0] == pytest.approx(100572.2, abs=0.1)
    assert linear_level(100_000, CalibrationInputs(linearity=F2)) == pytest.approx(100572.2, abs=0.05)


def test_row_sets_and_per_pixel_coefficients_agree():
    rng = np.random.default_rng(2)
    raw = rng.uniform(-50, 9000, (10, 7)).astype(np.float32)
    terms = np.array([[1, 7e-7, 1e-11], [1, 9e-7, 5e-12]])
    rows = LinearityCurve(terms, (0.1, 0.2), 50_000.0)
    planes = np.repeat(terms[np.arange(10) % 2].T[:, :, None], 7, axis=2)
    quartic = LinearityCurve(np.pad(terms, ((0, 0), (0, 2))), (0.1, 0.2), 50_000.0)
    results = [
        calibrate(raw, CalibrationInputs(gain=10, exposure_per_coadd=3.0, linearity=curve))
        for curve in (rows, quartic, LinearityCurve(planes, (0.1, 0.2), 50_000.0))
    ]
    for sci, dq in results[1:]:
        np.testing.assert_allclose(sci, results[0][0], rtol=1e-6)
        np.testing.assert_array_equal(dq, results[0][1])
    assert (results[0][1] == 2).any()


def test_not_finite_is_flagged_and_zero():
    raw = np.array([[np.nan, np.inf, -np.inf, 5.0]], np.float32)
    sci, dq = calibrate(raw, CalibrationInputs(linearity=F2))
    np.testing.assert_array_equal(dq & 1, [[1, 1, 1, 0]])  # +inf is above every level, too
    np.testing.assert_array_equal(sci[0, :3], 0)


def test_polynomials_of_any_degree_agree_with_the_cubic_and_flag_the_same():
    rng = np.random.default_rng(8)
    shape = (5, 300)
    inputs = full_inputs(rng, shape)
    raw = rng.uniform(-200, 25_000, shape).astype(np.float32)
    raw[0, :4] = np.nan, np.inf, -np.inf, 1e30
    results = []
    for more in (0, 1):
        terms = np.pad(NIRI_LOW.coefficients, ((0, 0), (0, more)))
        curve = LinearityCurve(terms, NIRI_LOW.time_delta, 120_000.0)
        results.append(calibrate(raw, replace(inputs, linearity=curve)))
    np.testing.assert_array_equal(results[0][1], results[1][1])
    np.testing.assert_allclose(results[0][0][1:], results[1][0][1:], rtol=2e-6, atol=1e-2)
    assert (results[0][1][0, :3] & 1).all() and not results[0][0][0, :3].any()


def test_threads_and_buffers_change_nothing():
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 25_000, (200, 50)).astype(np.uint16)
    inputs = full_inputs(rng, raw.shape)
    sci, dq = calibrate(raw, inputs)
    out = np.empty_like(sci), np.empty_like(dq)
    assert calibrate(raw, inputs, out, threads=3)[0] is out[0]
    np.testing.assert_array_equal(out[0].view(np.uint32), sci.view(np.uint32))
    np.testing.assert_array_equal(out[1], dq)


def holes_by_labelling(raw, non_linear, saturation):
    """Regions of the whole array, and the clump above each region's first pixel."""
    low = raw < non_linear
    regions, n_regions = ndimage.label(low)
    clumps, _ = ndimage.label(~low, np.ones((3, 3)))
    saturated = raw >= saturation
    crowd = ndimage.convolve((~low).astype(int), np.ones((3, 3), int), mode="constant") - 1
    seeds = set(clumps[saturated & (crowd >= 2)]) - {0}
    holes = np.zeros(raw.shape, bool)
    border = set(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
    for number in range(1, n_regions + 1):
        y, x = np.nonzero(regions == number)
        if number not in border and y.size <= MAX_HOLE and clumps[y[0] - 1, x[0]] in seeds:
            holes[y, x] = True
    return holes


@pytest.mark.parametrize("density", [0.2, 0.45, 0.6])
def test_holes_equal_labelling_of_the_whole_array(density):
    rng = np.random.default_rng(4)
    raw = np.where(rng.random((60, 45)) < density, rng.choice([110.0, 150.0], (60, 45)), 10.0)
    _, dq = calibrate(raw, CalibrationInputs(saturation=140.0, non_linear=100.0))
    expected = holes_by_labelling(raw, 100.0, 140.0)
    assert expected.any()
    np.testing.assert_array_equal(dq == 4, expected | (raw >= 140.0))


def test_ring_flags_its_hole_but_not_the_sky_of_a_small_array():
    raw = np.full((40, 40), 10.0)
    y, x = np.indices(raw.shape)
    r = np.hypot(y - 15, x - 20)
    raw[(r < 9) & (r >= 4)] = 100.0
    _, dq = calibrate(raw, CalibrationInputs(saturation=90.0, non_linear=80.0))
    np.testing.assert_array_equal(dq == 4, r < 9)


def test_large_enclosed_region_is_sky():
    raw = np.full((140, 140), 100.0)
    raw[10:130, 10:130] = 10.0  # 14400 pixels
    _, dq = calibrate(raw, CalibrationInputs(saturation=90.0, non_linear=80.0))
    np.testing.assert_array_equal(dq == 4, raw == 100.0)


def test_all_saturated_and_single_pixel():
    inputs = CalibrationInputs(saturation=90.0, non_linear=80.0)
    assert (calibrate(np.full((70, 9), 100, np.int16), inputs)[1] == 4).all()
    assert calibrate(np.array([[85]], np.uint16), inputs)[1][0, 0] == 2


def test_errors_name_the_mismatch():
    raw = np.zeros((4, 4), np.uint16)
    with pytest.raises(ValueError, match="shape"):
        calibrate(raw, CalibrationInputs(dark=np.zeros((4, 5), np.float32)))
    with pytest.raises(ValueError, match="exposure"):
        calibrate(raw, CalibrationInputs(linearity=NIRI_LOW))
    with pytest.raises(ValueError, match="2 dimensions"):
        calibrate(raw[0], CalibrationInputs())
    with pytest.raises(ValueError, match="float32"):
        calibrate(raw, CalibrationInputs(), (np.zeros((4, 4)), np.zeros((4, 4), np.uint16)))
