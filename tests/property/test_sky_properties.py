"""The running sky equals direct sums for any sets; shrinkage never increases or inverts a pattern."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nirred.algorithms.drift import predict_sky
from nirred.algorithms.sky_rows import SkyFrames, Targets, subtract

N = 6


def taken(data, ok, unit, sets, shrink=(0.0, 0.0)):
    """The sky subtracted from each of the first frames, whose smooth sky is 0."""
    dq = np.where(ok, 0, 1).astype(np.uint16)
    frames = SkyFrames(data, dq, range(len(data)), 0, np.zeros(len(data)), unit, unit, np.ones(len(data)))
    targets = Targets(range(len(sets)), np.zeros(len(sets)), unit[: len(sets)], np.zeros(len(sets)), sets)
    out = np.zeros((len(sets), *data.shape[1:]), np.float32)
    planes = tuple(np.full(data.shape[1:], s, np.float32) for s in shrink)
    subtract(frames, targets, 1, np.zeros(data.shape[1:], np.float32), planes, (out, range(len(sets)), 0))
    return data[: len(sets)] - out


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.sets(st.integers(0, N - 1), min_size=1), min_size=1, max_size=N))
def test_running_sums_equal_direct_ones(seed, sets):
    rng = np.random.default_rng(seed)
    unit = rng.uniform(100, 1000, N)
    data = np.stack([rng.normal(u, 30, (3, 4)).astype(np.float32) for u in unit])
    ok = rng.random(data.shape) > 0.4
    sky = taken(data, ok, unit, [sorted(s) for s in sets])
    for i, members in enumerate(map(sorted, sets)):
        units = sum(ok[j] * unit[j] for j in members)
        total = sum(ok[j] * data[j].astype(float) for j in members)
        expected = unit[i] * np.where(units > 0, total / np.maximum(units, 1), 0)
        np.testing.assert_allclose(sky[i], expected, rtol=1e-4, atol=1e-2)


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(0, 1e4), st.floats(0, 1e4), st.integers(1, 50))
def test_what_is_taken_off_lies_between_nothing_and_the_whole_pattern(g, power, noise, number):
    data = np.full((number + 1, 1, 1), g, np.float32)
    members = [list(range(1, number + 1))]
    off = float(taken(data, np.ones(data.shape, bool), np.ones(number + 1), members, (power, noise))[0, 0, 0])
    low, high = sorted((0.0, float(np.float32(g))))
    assert low - 1e-3 <= off <= high + 1e-3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(1, 1e5)), min_size=1, max_size=8), st.floats(-1e4, 2e4))
def test_predicted_levels_are_finite_and_within_their_errors_of_what_was_measured(measured, when):
    times, levels = zip(*measured, strict=True)
    sky = predict_sky(times, levels, np.ones(len(levels)), [when])
    assert np.isfinite(sky.values[0]) and np.isfinite(sky.errors[0]) and sky.errors[0] > 0
    if min(times) <= when <= max(times):
        assert min(levels) - 5 * sky.errors[0] <= sky.values[0] <= max(levels) + 5 * sky.errors[0]
