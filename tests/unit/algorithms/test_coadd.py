"""The sums of a stack."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.coadd import Accumulator, Entry, Through, Under


def test_weighted_mean_and_its_variance_against_a_monte_carlo():
    rng = np.random.default_rng(3)
    truth = np.zeros((100, 100))
    truth[:, 50:] = 4000.0
    sky, transparency = np.array([2000.0, 3000.0, 2500.0]), np.array([0.9, 1.1, 1.0])
    weight = transparency**2 / (sky + 100)
    weight, transparency = weight / weight.sum(), transparency / (weight @ transparency / weight.sum())
    flags = np.zeros(truth.shape, np.uint16)
    under = Under(flags, np.full(truth.shape, 100.0, np.float32), np.ones(truth.shape, np.float32))
    stack = Accumulator.empty(100, 100)
    for k in range(3):
        expected = truth * transparency[k] + sky[k]
        seen = rng.poisson(expected) - sky[k] + 10 * rng.standard_normal(truth.shape)
        entry = Entry(float(weight[k]), float(transparency[k]), float(sky[k]))
        stack.add(seen.astype(np.float32), np.zeros(truth.shape, np.float32), under, entry, 0.5)
    sci, var = stack.result()
    pull = (sci - truth) / np.sqrt(var)
    for part in (pull[:, :50], pull[:, 50:]):
        assert abs(part.mean()) < 4 / np.sqrt(part.size)
        assert part.std() == pytest.approx(1.0, abs=0.03)
    assert (stack.count == 3).all()


@pytest.mark.parametrize("electrons", [True, False])
def test_through_a_map_the_pixels_below_count_by_their_area(electrons):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(4, 9)).astype(np.float32)
    flags = rng.integers(0, 8, (6, 7)).astype(np.uint16)
    constant, per_electron = (1 + rng.random((6, 7)).astype(np.float32) for _ in range(2))
    index = rng.integers(0, 42, (4, 9)).astype(np.int32)
    index[:, :2], index[2, 5], index[3] = -1, -1, -1
    area = (0.8 + 0.4 * rng.random((4, 9))).astype(np.float32)
    hidden = (index < 0).astype(np.float32)
    stack, drawn = Accumulator.empty(4, 9), Accumulator.empty(4, 9)
    rest = (Entry(0.5, 2.0, 3.0, 1.5), 0.1, (3, 5))
    through = Through(index, area, electrons, 1.25)
    stack.add(values, hidden, Under(flags, constant, per_electron, through=through), *rest)
    factor = np.float32(1.25) * (area if electrons else 1 / area)
    below = [np.where(index < 0, 0, plane.ravel()[index]) for plane in (flags, constant, per_electron)]
    under = Under(below[0].astype(np.uint16), below[1] * factor, below[2] * factor)
    drawn.add(values * area if electrons else values, hidden, under, *rest)
    for name in ("sums", "count", "seen"):
        np.testing.assert_array_equal(getattr(stack, name), getattr(drawn, name))
    assert stack.count.sum() == (index >= 0).sum()


def test_hidden_and_missing_values_are_left_out_and_their_flags_told():
    ones = np.ones((1, 4), np.float32)
    under = Under(np.array([[5, 5, 9, 9]], np.uint16), ones, ones)
    stack = Accumulator.empty(1, 4)
    values = np.array([[1, np.nan, 3, 4]], np.float32)
    stack.add(values, np.array([[0, 0, 0.4, 0.6]], np.float32), under, Entry(1.0, 1.0, 0.0), 0.5, (4, 13))
    sci, var = stack.result()
    assert stack.count.tolist() == [[1, 0, 1, 0]]
    assert stack.seen.tolist() == [[[4, 0, 0, 0]], [[0, 5, 0, 9]]]
    np.testing.assert_array_equal(sci, np.array([[1, np.nan, 3, np.nan]], np.float32))
    np.testing.assert_array_equal(var, np.array([[2, np.nan, 4, np.nan]], np.float32))


@pytest.mark.parametrize("origin", [(0, 0), (-3, 2), (2, -1), (-20, 0), (0, 20)])
def test_noise_and_flags_are_those_of_the_pixels_below(origin):
    rng = np.random.default_rng(4)
    values = rng.normal(size=(5, 9)).astype(np.float32)
    constant, electrons = (1 + rng.random((7, 8)).astype(np.float32) for _ in range(2))
    flags = rng.integers(0, 8, (7, 8)).astype(np.uint16)
    constant[2, 2], values[1, 4] = np.nan, np.nan
    stack, (x, y) = Accumulator.empty(5, 9), origin
    stack.add(
        values, np.zeros((5, 9), np.float32), Under(flags, constant, electrons, origin), Entry(0.5, 2.0, 3.0, 1.5), 0.1
    )
    for r, c in np.ndindex(5, 9):
        inside = 0 <= r + y < 7 and 0 <= c + x < 8 and np.isfinite(values[r, c])
        noise = (constant[r + y, c + x] + 3.0 * electrons[r + y, c + x]) * 1.5 * 0.5**2 / 2.0**2 if inside else 0.0
        own = 0.5**2 / 2.0 * electrons[r + y, c + x] if inside else 0.0
        expected = [0.25 * values[r, c] if inside else 0.0, 0.5 if inside else 0.0, noise, own]
        np.testing.assert_allclose(stack.sums[:, r, c], expected, rtol=1e-6)
        assert stack.count[r, c] == inside
