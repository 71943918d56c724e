"""The noise and the levels that are predicted are those of calibrated pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nirred.algorithms.calibrate import calibrate
from nirred.algorithms.response import CalibrationInputs, LinearityCurve, linear_level, noise_planes


def test_noise_planes_predict_scatter():
    rng = np.random.default_rng(5)
    shape, delta, t, read_noise, flat = (400, 400), 2.0, 6.0, 15.0, 0.7
    dark_current, light = 200.0, 900.0
    collected = rng.poisson(dark_current + light * flat, shape) + rng.normal(0, read_noise, shape)
    k = t / (t + delta)
    inputs = CalibrationInputs(
        exposure_per_coadd=t,
        linearity=LinearityCurve(np.ones((1, 1)), (delta,)),
        dark=np.full(shape, k * dark_current, np.float32),
        flat_reciprocal=np.full(shape, 1 / flat, np.float32),
    )
    sci, _ = calibrate(collected, inputs)
    constant, per_electron = noise_planes(inputs, read_noise)
    assert sci.mean() == pytest.approx(k * light, rel=1e-3)
    assert np.mean(constant + sci.mean() * per_electron) == pytest.approx(sci.var(), rel=0.02)


def test_noise_planes_rows_and_dark_variance():
    dark = np.full((4, 3), -5, np.float32)
    curve = LinearityCurve(np.ones((2, 1)), (0.0, 10.0))
    inputs = CalibrationInputs(exposure_per_coadd=10.0, linearity=curve, dark=dark, dark_variance=dark * 0 + 2)
    constant, per_electron = noise_planes(inputs, 4.0)
    np.testing.assert_allclose(np.broadcast_to(per_electron, dark.shape)[:, 0], [1, 0.5, 1, 0.5])
    np.testing.assert_allclose(constant[:, 0], [18, 6, 18, 6])


@pytest.mark.parametrize("threads", [1, 3])
def test_noise_planes_are_those_of_each_row_alone(threads):
    rng = np.random.default_rng(5)
    shape = (150, 6)
    dark, flat = (rng.uniform(0.5, 2, shape).astype(np.float32) for _ in range(2))
    curve = LinearityCurve(np.ones((2, 1)), (0.0, 10.0))
    whole = CalibrationInputs(exposure_per_coadd=10.0, linearity=curve, dark=dark, flat_reciprocal=flat, dark_scale=0.5)
    for planes in zip(noise_planes(whole, 4.0, threads), (0, 1), strict=True):
        for row in (0, 1, 63, 64, 149):
            pair = slice(row - row % 2, row - row % 2 + 2)
            one = replace(whole, dark=dark[pair], flat_reciprocal=flat[pair])
            np.testing.assert_array_equal(planes[0][pair], noise_planes(one, 4.0)[planes[1]])


def test_noise_planes_without_planes_are_numbers():
    constant, per_electron = noise_planes(CalibrationInputs(), 4.0)
    assert (constant.ndim, per_electron.ndim) == (0, 0)
    assert (float(constant), float(per_electron)) == (16.0, 1.0)


@pytest.mark.parametrize("level", [-100.0, 5000.0, 30_000.0])
def test_linear_level_is_what_a_pixel_becomes(level):
    curve = LinearityCurve(np.array([[1, 7e-7, 1e-11], [1, 9e-7, 5e-12]]), (0.1,), 150_000.0)
    inputs = CalibrationInputs(gain=13.5, coadds=2, exposure_per_coadd=4.0, linearity=curve)
    sci, _ = calibrate(np.full((2, 1), level), inputs)
    assert linear_level(level, inputs) == pytest.approx(sci.mean(), rel=1e-6)
