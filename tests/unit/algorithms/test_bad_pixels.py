"""Pixels whose flat or dark is out of range."""

from __future__ import annotations

import numpy as np

from nirred.algorithms.bad_pixels import DARK_SCATTER, bad_in_dark, bad_in_flat

SHAPE = (128, 128)
GOOD = np.zeros(SHAPE, np.uint8)


def test_a_flat_is_judged_by_its_surroundings() -> None:
    flat = np.linspace(0.2, 2.0, 128 * 128, dtype=np.float32).reshape(SHAPE)
    flat[20, 20] *= 0.5
    flat[90, 90] *= 1.6
    flat[60, 60] = np.nan
    assert np.argwhere(bad_in_flat(flat, GOOD, 0.65, 1.35)).tolist() == [[20, 20], [60, 60], [90, 90]]
    assert np.argwhere(bad_in_flat(flat, GOOD, None, None)).tolist() == [[60, 60]]


def test_a_pixel_within_the_noise_of_a_dark_is_not_bad() -> None:
    dark = np.zeros(SHAPE, np.float32)
    dark[5, 5], dark[6, 6] = 130.0, 150.0
    var = np.full(SHAPE, 100.0, np.float32)
    assert np.argwhere(bad_in_dark(dark, var, GOOD, -20.0, 100.0)).tolist() == [[6, 6]]
    assert np.argwhere(bad_in_dark(dark, None, GOOD, -20.0, 100.0)).tolist() == [[5, 5], [6, 6]]


def test_without_limits_the_scatter_of_the_dark_gives_them() -> None:
    rng = np.random.default_rng(2)
    dark = rng.normal(30.0, 3.0, SHAPE).astype(np.float32)
    dark[5, 5], dark[6, 6], dark[7, 7] = 30.0 + 25 * 3, 30.0 - 25 * 3, 30.0 + 15 * 3
    assert DARK_SCATTER == 20.0
    assert np.argwhere(bad_in_dark(dark, None, GOOD, None, None)).tolist() == [[5, 5], [6, 6]]
