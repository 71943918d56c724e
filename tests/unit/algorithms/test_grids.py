"""Grids, and the pixels of frames under them."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.grids import Grid, common_grid, enclosing_grid, frame_rows, nearest_rows
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


def test_places_of_a_grid_are_those_of_its_reference_frame():
    x, y = Grid(-3, 10, (5, 9)).places(4)
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [(-1, 12), (3, 12)]
    x, y = Grid(0, 0, (8, 6)).places(4)
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [(2, 2), (2, 6)]
