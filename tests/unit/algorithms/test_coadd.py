"""Grids, the input rows that they need, outliers on the detector, and the sums of a stack."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.coadd import (
    Accumulator,
    Grid,
    Through,
    Under,
    common_grid,
    enclosing_grid,
    frame_rows,
    nearest_rows,
)
from nirred.algorithms.placement import Placement

SHIFTS = [(0.0, 0.0), (2.4, -3.6), (-5.5, 1.5), (0.49, 7.51)]
SHAPE = (20, 30)


def union_grid(shifts, shape):
    return enclosing_grid([Placement.shifted(dx, dy, shape).bounds for dx, dy in shifts])


@pytest.mark.parametrize("shift", SHIFTS)
def test_union_grid_holds_every_pixel_and_no_more(shift):
    grid = union_grid([(0.0, 0.0), shift], SHAPE)
    for dx, dy in [(0.0, 0.0), shift]:
        # the frame's corners, in the reference's coordinates, are at most half a pixel outside
        assert grid.x0 - 0.5 <= -dx and SHAPE[1] - 1 - dx <= grid.x0 + grid.shape[1] - 0.5
        assert grid.y0 - 0.5 <= -dy and SHAPE[0] - 1 - dy <= grid.y0 + grid.shape[0] - 0.5
    assert grid.shape[1] <= SHAPE[1] + abs(shift[0]) + 1 and grid.shape[0] <= SHAPE[0] + abs(shift[1]) + 1


def test_grid_of_one_frame_is_the_frame():
    for make in (union_grid, common_grid):
        assert make([(0.0, 0.0)], SHAPE) == Grid(0, 0, SHAPE)
        assert make([(0.0, 0.0)], (1, 1)) == Grid(0, 0, (1, 1))


def test_common_grid_lies_in_every_frame():
    grid = common_grid(SHIFTS, SHAPE)
    for dx, dy in SHIFTS:
        assert grid.x0 + dx >= 0 and grid.x0 + grid.shape[1] - 1 + dx <= SHAPE[1] - 1
        assert grid.y0 + dy >= 0 and grid.y0 + grid.shape[0] - 1 + dy <= SHAPE[0] - 1
    with pytest.raises(ValueError, match="no area in common"):
        common_grid([(0.0, 0.0), (30.0, 0.0)], SHAPE)


@pytest.mark.parametrize("shift", SHIFTS)
def test_nearest_rows_by_tiles_equal_the_whole_and_the_definition(shift):
    plane = np.arange(600, dtype=np.uint16).reshape(SHAPE) + 1
    grid = union_grid(SHIFTS, SHAPE)
    whole = nearest_rows(plane, shift, grid, (0, grid.shape[0]), 0)
    tiles = [nearest_rows(plane, shift, grid, (s, min(s + 7, grid.shape[0])), 0) for s in range(0, grid.shape[0], 7)]
    np.testing.assert_array_equal(np.concatenate(tiles), whole)
    expected = np.zeros(grid.shape, np.uint16)
    for y in range(grid.shape[0]):
        for x in range(grid.shape[1]):
            j, i = int(np.floor(x + grid.x0 + shift[0] + 0.5)), int(np.floor(y + grid.y0 + shift[1] + 0.5))
            if 0 <= i < 20 and 0 <= j < 30:
                expected[y, x] = plane[i, j]
    np.testing.assert_array_equal(whole, expected)


def test_rows_outside_the_frame_are_empty():
    assert frame_rows((0.0, 0.0), Grid(0, 100, (10, 10)), (0, 10), 20) == (0, 0)
    assert frame_rows((0.0, 0.0), Grid(0, 0, (20, 10)), (0, 20), 20) == (0, 20)
    low, high = frame_rows((0.0, 2.4), Grid(0, 0, (200, 10)), (64, 128), 200)
    assert low <= 64 + 2 - 3 and high >= 128 + 2 + 1 + 3  # Lanczos-3 reaches three pixels to either side


# -- sums ---------------------------------------------------------------------------------------------------------


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
        frame = (float(weight[k]), float(transparency[k]), float(sky[k]), 1.0)
        stack.add(seen.astype(np.float32), np.zeros(truth.shape, np.float32), under, frame, 0.5)
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
    rest = ((0.5, 2.0, 3.0, 1.5), 0.1, (3, 5))
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
    stack.add(values, np.array([[0, 0, 0.4, 0.6]], np.float32), under, (1.0, 1.0, 0.0, 1.0), 0.5, (4, 13))
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
        values, np.zeros((5, 9), np.float32), Under(flags, constant, electrons, origin), (0.5, 2.0, 3.0, 1.5), 0.1
    )
    for r, c in np.ndindex(5, 9):
        inside = 0 <= r + y < 7 and 0 <= c + x < 8 and np.isfinite(values[r, c])
        noise = (constant[r + y, c + x] + 3.0 * electrons[r + y, c + x]) * 1.5 * 0.5**2 / 2.0**2 if inside else 0.0
        own = 0.5**2 / 2.0 * electrons[r + y, c + x] if inside else 0.0
        expected = [0.25 * values[r, c] if inside else 0.0, 0.5 if inside else 0.0, noise, own]
        np.testing.assert_allclose(stack.sums[:, r, c], expected, rtol=1e-6)
        assert stack.count[r, c] == inside


def test_places_of_a_grid_are_those_of_its_reference_frame():
    x, y = Grid(-3, 10, (5, 9)).places(4)
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [(-1, 12), (3, 12)]
    x, y = Grid(0, 0, (8, 6)).places(4)
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [(2, 2), (2, 6)]
