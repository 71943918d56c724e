"""Grids of whole pixels of a reference frame: the area that frames cover, and the frames' pixels under it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Rows beyond those under a grid that an interpolant may reach: three for Lanczos-3, and one for rounding.
_MARGIN = 4


@dataclass(frozen=True)
class Grid:
    """Output grid: integer pixels of the reference frame.

    Parameters
    ----------
    x0, y0 : int
        Pixel of the reference frame at grid pixel (0, 0).
    shape : (int, int)
        (ny, nx).
    """

    x0: int
    y0: int
    shape: tuple[int, int]

    @property
    def origin(self) -> tuple[int, int]:
        """(x0, y0)."""
        return self.x0, self.y0

    def places(self, step: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(x, y) in the reference frame of points `step` pixels apart, by rows, beginning half a step inside."""
        ny, nx = self.shape
        x, y = (first + np.arange(step / 2, n, step) for first, n in ((self.x0, nx), (self.y0, ny)))
        return np.tile(x, y.size), np.repeat(y, x.size)


def enclosing_grid(bounds: Sequence[tuple[float, float, float, float]]) -> Grid:
    """Smallest grid that contains pixels whose outermost centres lie at (x0, y0, x1, y1) in the reference."""
    x0, y0 = (math.floor(min(b[k] for b in bounds) + 0.5) for k in (0, 1))
    x1, y1 = (math.floor(max(b[k] for b in bounds) + 0.5) for k in (2, 3))
    return Grid(x0, y0, (y1 - y0 + 1, x1 - x0 + 1))


def common_grid(shifts: Sequence[tuple[float, float]], shape: tuple[int, int]) -> Grid:
    """Largest grid that every frame covers.

    Parameters
    ----------
    shifts : sequence of (dx, dy)
        Position of a source in a frame minus in the reference, pixels.
    shape : (int, int)
        (ny, nx) of the frames.

    Raises
    ------
    ValueError
        The frames have no area in common.
    """
    ny, nx = shape
    x0 = math.ceil(max(-dx for dx, _ in shifts))
    y0 = math.ceil(max(-dy for _, dy in shifts))
    x1 = math.floor(min(nx - 1 - dx for dx, _ in shifts))
    y1 = math.floor(min(ny - 1 - dy for _, dy in shifts))
    if x1 < x0 or y1 < y0:
        raise ValueError("the frames have no area in common")
    return Grid(x0, y0, (y1 - y0 + 1, x1 - x0 + 1))


def nearest_rows(
    plane: np.ndarray,
    shift: tuple[float, float],
    grid: Grid,
    rows: tuple[int, int],
    fill: float,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Rows of the grid from the nearest pixels of a frame's plane; `fill` outside it.

    Parameters
    ----------
    plane : (ny, nx)
        Any dtype.
    shift : (dx, dy)
        As in `common_grid`.
    grid : Grid
        The output grid.
    rows : (int, int)
        [first, last).
    fill : float
        Value outside the frame.
    out : (last - first, nx), optional
        Buffer for the values.
    """
    out = np.empty((rows[1] - rows[0], grid.shape[1]), plane.dtype) if out is None else out
    x = grid.x0 + math.floor(shift[0] + 0.5)
    y = grid.y0 + math.floor(shift[1] + 0.5) + rows[0]
    x_low, x_high = max(0, -x), min(out.shape[1], plane.shape[1] - x)
    y_low, y_high = max(0, -y), min(out.shape[0], plane.shape[0] - y)
    if not (x_high > x_low and y_high > y_low):
        out[:] = fill
        return out
    out[:y_low], out[y_high:] = fill, fill
    out[y_low:y_high, :x_low], out[y_low:y_high, x_high:] = fill, fill
    out[y_low:y_high, x_low:x_high] = plane[y + y_low : y + y_high, x + x_low : x + x_high]
    return out


def frame_rows(shift: tuple[float, float], grid: Grid, rows: tuple[int, int], ny: int) -> tuple[int, int]:
    """Rows [first, last) of a frame that are needed for rows of the grid; empty (0, 0) if there are none."""
    first = math.floor(rows[0] + grid.y0 + shift[1]) - _MARGIN
    last = math.ceil(rows[1] - 1 + grid.y0 + shift[1]) + _MARGIN + 1
    first, last = max(0, first), min(ny, last)
    return (first, last) if last > first else (0, 0)
