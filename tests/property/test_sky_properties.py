"""The running sky equals direct sums for any sets; shrinkage never adds to a pattern nor turns it round."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nirred.algorithms.drift import predict_level
from nirred.algorithms.sky import RunningSky, SkyFrames, subtract_sky

N = 6


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.sets(st.integers(0, N - 1), min_size=1), min_size=1, max_size=6))
def test_running_sums_equal_direct_ones(seed, sets):
    rng = np.random.default_rng(seed)
    unit = rng.uniform(100, 1000, N)
    data = [rng.normal(u, 30, (3, 4)).astype(np.float32) for u in unit]
    ok = [(rng.random((3, 4)) > 0.4).astype(np.uint8) for _ in range(N)]
    frames = SkyFrames(data, ok, np.zeros(N), unit, unit, np.ones(N))
    running = RunningSky(frames)
    for members in sets:
        running.move_to(tuple(sorted(members)))
        g, units = running.pattern()
        expected = sum(ok[j] * unit[j] for j in members)
        np.testing.assert_allclose(units, expected, atol=1e-6)
        total = sum(ok[j] * data[j].astype(float) for j in members)
        seen = expected > 0
        np.testing.assert_allclose(g[seen], total[seen] / expected[seen], rtol=1e-9)
        assert np.isnan(g[~seen]).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(0, 1e4), st.floats(0, 1e4), st.floats(1, 1e4))
def test_what_is_taken_off_lies_between_nothing_and_the_whole_pattern(g, power, noise, units):
    zero = np.zeros((1, 1), np.float32)
    shrink = np.full((1, 1), power, np.float32), np.full((1, 1), noise, np.float32)
    pattern = np.full((1, 1), g), np.full((1, 1), units)
    taken = -float(subtract_sky(zero, pattern, zero, shrink, (0.0, 1.0))[0, 0])
    low, high = sorted((0.0, float(np.float32(g))))
    assert low - 1e-3 <= taken <= high + 1e-3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(1, 1e5)), min_size=1, max_size=8), st.floats(-1e4, 2e4))
def test_predicted_levels_are_finite_and_between_neighbours_inside(measured, when):
    times, levels = zip(*measured, strict=True)
    level, error = predict_level(times, levels, np.ones(len(levels)), when)
    assert np.isfinite(level) and np.isfinite(error) and error > 0
    if min(times) <= when <= max(times):
        assert min(levels) * (1 - 1e-9) <= level <= max(levels) * (1 + 1e-9)
