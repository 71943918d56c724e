"""The predicted sky level and whether its error is true."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nirred.algorithms.drift import predict_level

TIMES = np.arange(5) * 60.0


def test_a_straight_line_is_met_inside_and_outside():
    levels = 1000 + 0.5 * TIMES
    for when in (-90.0, 0.0, 30.0, 120.0, 235.0, 300.0):
        level, error = predict_level(TIMES, levels, np.ones(5), when)
        assert level == pytest.approx(1000 + 0.5 * when, abs=1e-6)
        assert 0 < error < 5


def test_order_of_the_measurements_does_not_matter():
    rng = np.random.default_rng(1)
    levels, order = rng.normal(1000, 10, 5), rng.permutation(5)
    straight = predict_level(TIMES, levels, np.ones(5), 100.0)
    assert predict_level(TIMES[order], levels[order], np.ones(5), 100.0) == straight


def test_none_one_and_two_measurements():
    level, error = predict_level([], [], [], 10.0)
    assert math.isnan(level) and error == math.inf
    assert predict_level([0.0], [200.0], [3.0], 1e4) == (200.0, pytest.approx(math.hypot(3, 10)))
    level, error = predict_level([0.0, 100.0], [200.0, 220.0], [0.0, 0.0], 50.0)
    assert level == pytest.approx(210.0)
    assert error == pytest.approx(20.0 * np.sqrt(25.0 / 100.0))


def test_measurements_without_times_are_averaged():
    level, error = predict_level([0.0, 0.0, 0.0], [90.0, 100.0, 110.0], [1.0, 1.0, 1.0], 0.0)
    assert level == pytest.approx(100.0)
    assert math.isfinite(error)
    level, _ = predict_level([0.0, 0.0], [90.0, 110.0], [1.0, 1.0], 0.0)
    assert level == pytest.approx(100.0)


def test_measurements_at_one_time_within_a_sequence():
    level, _ = predict_level([0.0, 60.0, 60.0, 120.0], [100.0, 110.0, 112.0, 120.0], np.ones(4), 60.0)
    assert 110.0 <= level <= 112.0


def drifting(rng, times, kind):
    """A sky of 1000 that drifts: a line and a parabola, or a random walk."""
    if kind == "smooth":
        x = times / 600.0
        return 1000 * (1 + 0.04 * rng.normal() * x + 0.02 * rng.normal() * x**2)
    order = np.argsort(times)
    walk = np.cumsum(rng.normal(0, 3, times.size) * np.sqrt(np.diff(times[order], prepend=0.0) / 60.0))
    out = np.empty(times.size)
    out[order] = 1000 + walk
    return out


@pytest.mark.parametrize("kind", ["smooth", "walk"])
@pytest.mark.parametrize("when", [330.0, 640.0])
def test_error_covers_what_happens(kind, when):
    rng = np.random.default_rng(7)
    pulls = []
    for _ in range(400):
        times = np.append(np.arange(6) * 120.0 + 1, when)
        truth = drifting(rng, times, kind)
        level, error = predict_level(times[:-1], truth[:-1] + rng.normal(0, 0.5, 6), np.full(6, 0.5), when)
        pulls.append((level - truth[-1]) / error)
    width = 1.4826 * np.median(np.abs(pulls))
    assert 0.2 < width < 1.5
    assert np.mean(np.abs(pulls) > 5) < 0.03
