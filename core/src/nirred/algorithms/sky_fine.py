"""Structure of the sky a few pixels wide, too faint to be measured in single pixels: in cells, for each frame's sky.

A flat that was divided by its own median of 11 pixels leaves such structure in every frame, as do dust and fringes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel
from nirred.algorithms.mesh import Mesh
from nirred.algorithms.sky import pattern_power

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Side of the smallest cell, pixels; structure lost in cells of 16 pixels is measured at 8, then at 4.
CELL = 4
#: Sides of the scales, in cells, from coarse to fine.
SCALES = (2, 1)
#: Cells per side of an area that shares one measure of power.
TILE = 32
#: One in so many rows of cells of 8 pixels is sampled, to test for such structure.
STEP = 8
#: Least power over noise of a cell of 8 pixels for which the structure is modelled.
WORTH = 0.5
#: A pixel this far from the sky's shape, in sigma, is hot or a source and is excluded from its cell.
OWN = 5.0


def fine_power(first: tuple[Float32, Float32], second: tuple[Float32, Float32], smooth: Float32, limit: float) -> float:
    """Power of the pattern in cells of 8 pixels over its noise there, from a sample of rows.

    Parameters
    ----------
    first, second : (g, units), float32 (ny, nx)
        Patterns of two halves of the sky frames.
    smooth : float32 (ny, nx)
        Known part of the pattern.
    limit : float
        Pixels this far from it are left out.

    Returns
    -------
    float
        0 for an image of fewer pixels than a cell.
    """
    side = CELL * max(SCALES)
    ny, nx = (n // side for n in smooth.shape)
    tops = range(0, ny, STEP)
    if ny == 0 or nx == 0:
        return 0.0
    sums = np.zeros((4, len(tops), nx))
    for k, j in enumerate(tops):
        rows = np.s_[side * j : side * (j + 1), : side * nx]
        near = np.ones(smooth[rows].shape, bool)
        for g, units in (first, second):
            near &= (units[rows] > 0) & (np.abs(g[rows] - smooth[rows]) < limit)
        for n, (g, units) in enumerate((first, second)):
            weight = np.where(near, units[rows], 0.0)
            parts = np.where(near, g[rows] - smooth[rows], 0.0) * weight, weight
            sums[2 * n : 2 * n + 2, k] = [part.sum(axis=0).reshape(nx, side).sum(axis=1) for part in parts]
    power, noise = _powers((sums[0], sums[1]), (sums[2], sums[3]), max(sums.shape))
    units = sums[1] + sums[3]
    typical = float(np.median(units))
    return float(power.mean() / max(noise.mean() / typical, 1e-300)) if typical > 0 else 0.0


@dataclass(frozen=True)
class FrameCells:
    """Cells of one sky frame.

    Parameters
    ----------
    sums, units : float32 (rows, columns)
        Sums of frame - zero - unit * smooth, and of its unit, over the cell's pixels that show sky.
    """

    sums: Float32
    units: Float32


def cells_of(shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of cells, even numbers; 0 for an image of fewer pixels than two cells."""
    coarse = max(SCALES)
    return coarse * round(shape[0] / (CELL * coarse)), coarse * round(shape[1] / (CELL * coarse))


def frame_cells(
    data: Float32, dq: NDArray[np.uint16], smooth: Float32, scale: tuple[float, float], useless: int
) -> FrameCells:
    """Sum a sky frame over cells.

    Parameters
    ----------
    data : float32 (ny, nx)
        The frame.
    dq : uint16 (ny, nx)
        Its flags.
    smooth : float32 (ny, nx)
        Known part of the pattern; NaN where a pixel is excluded from its cell.
    scale : (zero, unit)
        Of the model frame = zero + unit * pattern.
    useless : int
        Flags of pixels that are not sky.
    """
    sums, units = np.zeros((2, *cells_of(data.shape)), np.float32)
    zero, unit = np.float32(scale[0]), np.float32(scale[1])
    _sum_frame(data, dq, smooth, zero, unit, np.uint16(useless), sums, units)
    return FrameCells(sums, units)


@kernel
def _sum_frame(
    data: np.ndarray,
    dq: np.ndarray,
    smooth: np.ndarray,
    zero: np.float32,
    unit: np.float32,
    useless: np.uint16,
    sums: np.ndarray,
    units: np.ndarray,
) -> None:
    rows, columns = sums.shape
    height, width = data.shape
    total, count = np.empty(width, np.float32), np.empty(width, np.float32)
    nothing = np.float32(0)
    for j in range(rows):
        total[:], count[:] = nothing, nothing
        for y in range(j * height // rows, (j + 1) * height // rows):
            frame, flags, expected = data[y], dq[y], smooth[y]
            for x in range(width):
                left = frame[x] - zero - unit * expected[x]
                usable = (flags[x] & useless == 0) & (left == left)
                total[x] += left if usable else nothing
                count[x] += unit if usable else nothing
        for i in range(columns):
            for x in range(i * width // columns, (i + 1) * width // columns):
                sums[j, i] += total[x]
                units[j, i] += count[x]


class FineSky:
    """Common structure of sky frames, in cells.

    Parameters
    ----------
    frames : sequence of FrameCells
        At least two, in order of time: alternate frames form the halves that measure power and noise of the pattern.
    shape : (int, int)
        Of the frames.
    """

    def __init__(self, frames: Sequence[FrameCells], shape: tuple[int, int]) -> None:
        self.frames, self.shape = frames, shape
        self._powers = list(self._measure())

    def of(self, members: Sequence[int]) -> Float64:
        """Pattern of some of the frames, each scale shrunk by its power over its noise; (rows, columns)."""
        sums, units = self._total(members)
        found = np.zeros(sums.shape)
        for side, (power, noise) in zip(SCALES, self._powers, strict=True):
            behind = _coarser(units, side)
            variance = noise / np.where(behind > 0, behind, np.inf)
            weight = np.where(behind > 0, power / np.maximum(power + variance, 1e-300), 0.0)
            step = _drawn(_ratio(_coarser(sums, side), behind) * weight, found.shape, side)
            found += step
            sums -= units * step
        return found

    def draw(self, cells: Float64) -> Float32:
        """A surface interpolated between cells, of the frames' shape."""
        return Mesh(cells, cells, cells, self.shape).evaluate()

    def _total(self, members: Sequence[int]) -> tuple[Float64, Float64]:
        sums, units = np.zeros((2, *self.frames[0].sums.shape))
        for k in members:
            sums += self.frames[k].sums
            units += self.frames[k].units
        return sums, units

    def _measure(self) -> Sequence[tuple[Float64, Float64]]:
        """(Power, noise times units) of each scale, cell by cell."""
        halves = [self._total(range(first, len(self.frames), 2)) for first in (0, 1)]
        found = []
        for side in SCALES:
            parts = [(_coarser(sums, side), _coarser(units, side)) for sums, units in halves]
            tiles = _powers(parts[0], parts[1], TILE)
            rows, columns = (np.arange(n) * m // n for n, m in zip(parts[0][0].shape, tiles[0].shape, strict=True))
            power, noise = (t[np.ix_(rows, columns)] for t in tiles)
            behind = parts[0][1] + parts[1][1]
            variance = noise / np.where(behind > 0, behind, np.inf)
            mean = _ratio(parts[0][0] + parts[1][0], behind) * (power / np.maximum(power + variance, 1e-300))
            step = _drawn(mean, halves[0][0].shape, side)
            for sums, units in halves:
                sums -= units * step
            found.append((power, noise))
        return found


def _powers(first: tuple[Float64, Float64], second: tuple[Float64, Float64], tile: int) -> tuple[Float64, Float64]:
    """Power of the pattern and of its noise in tiles of cells, from two halves' (sums, units)."""
    means = [_ratio(*half).astype(np.float32) for half in (first, second)]
    units = [half[1].astype(np.float32) for half in (first, second)]
    zero = np.zeros(means[0].shape, np.float32)
    return pattern_power((means[0], units[0]), (means[1], units[1]), zero, tile, robust=False)


def _drawn(values: Float64, shape: tuple[int, ...], side: int) -> Float64:
    """A surface through coarse cells, on the finest cells, corrected for the curvature lost in the cells' means."""
    if side == 1:
        return values
    fine = Mesh(values, values, values, (shape[0], shape[1])).evaluate().astype(np.float64)
    lost = values - _coarser(fine, side) / side**2
    return np.asarray(fine + Mesh(lost, lost, lost, (shape[0], shape[1])).evaluate())


def _coarser(cells: Float64, side: int) -> Float64:
    """Sums over squares of `side` x `side` cells."""
    ny, nx = cells.shape
    return np.asarray(cells.reshape(ny // side, side, nx // side, side).sum(axis=(1, 3)))


def _ratio(sums: Float64, units: Float64) -> Float64:
    return np.asarray(sums / np.where(units > 0, units, 1.0))
