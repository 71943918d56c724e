"""Blank sky as even as its noise lets expect, and not."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.evenness import evenness

SHAPE = (512, 640)


def _sky(seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data = np.random.default_rng(seed).normal(100.0, 5.0, SHAPE).astype(np.float32)
    return data, np.full(SHAPE, 25.0, np.float32), np.ones(SHAPE, bool)


def test_noise_is_even() -> None:
    data, var, blank = _sky()
    found = evenness(data, var, blank)
    assert 0.7 < found.ratio < 1.3 and found.excess < 0.1


def test_quadrants_that_differ_are_told_in_the_unit_of_the_data() -> None:
    data, var, blank = _sky()
    data[:256, :320] += 2.0
    data[256:, 320:] += 2.0
    found = evenness(data, var, blank)
    assert found.ratio > 5.0
    assert found.excess == pytest.approx(1.48, abs=0.2)  # by the median of deviations of 1 from the middle


def test_objects_do_not_count() -> None:
    data, var, blank = _sky()
    data[100:300, 100:300], blank[100:300, 100:300] = np.nan, False
    assert evenness(data, var, blank).ratio < 1.3


@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (512, 640)])
def test_too_little_blank_sky_tells_nothing(shape: tuple[int, int]) -> None:
    data = np.zeros(shape, np.float32)
    assert evenness(data, data, np.zeros(shape, bool)).ratio == 0.0
