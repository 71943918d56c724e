"""Levels of columns and rows, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import median_filter

from nirred.algorithms.unsteady import AROUND, PARTS, SAMPLES, line_levels, unsteady_lines


def noise(columns, seed=1):
    return np.random.default_rng(seed).standard_normal((PARTS * SAMPLES, columns)).astype(np.float32)


@pytest.mark.parametrize("columns", [1, 4, 15, 70])
def test_levels_are_means_above_the_running_median(columns):
    data = noise(columns)
    level, error = line_levels(data, np.zeros(data.shape, bool), 1.0)
    means = np.clip(data, -4, 4).reshape(PARTS, SAMPLES, -1).mean(axis=1)
    np.testing.assert_allclose(level, means - median_filter(means, (1, AROUND), mode="nearest"), atol=1e-6)
    np.testing.assert_allclose(error, 1 / np.sqrt(SAMPLES))


def test_unusable_pixels_do_not_count():
    data, bad = noise(40), np.zeros((PARTS * SAMPLES, 40), bool)
    data[:, 20] += 1.0
    bad[::2, 20], bad[: SAMPLES * 3 // 4, 30] = True, True
    data[bad] = np.nan
    level, error = line_levels(data, bad, 1.0)
    assert np.abs(level[:, 20] - 1.0).max() < 4 * error[0, 20] and error[0, 20] == pytest.approx(
        2 / SAMPLES**0.5 / 2**0.5
    )
    assert np.isnan(level[0, 30]) and np.isfinite(np.delete(level, 30, axis=1)).all()


def test_nothing_usable_has_no_level():
    data = np.full((PARTS * SAMPLES, 3), np.nan, np.float32)
    level, error = line_levels(data, np.ones(data.shape, bool), 1.0)
    assert np.isnan(level).all() and np.isnan(error).all()
    nothing = np.stack([level] * 4)
    assert not unsteady_lines(nothing, nothing, np.arange(4.0)).any()
