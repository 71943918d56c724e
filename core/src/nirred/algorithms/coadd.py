"""Grids, and the weighted stack of frames by tiles.

All functions work on rows of the output grid, which limits memory for any number of frames. Sums run over frames in a
fixed order in float64: neither the tile size nor the number of threads changes a bit of the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


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


def frame_rows(
    shift: tuple[float, float], grid: Grid, rows: tuple[int, int], ny: int, margin: int = 4
) -> tuple[int, int]:
    """Rows [first, last) of a frame that are needed for rows of the grid; empty (0, 0) if there are none."""
    first = math.floor(rows[0] + grid.y0 + shift[1]) - margin
    last = math.ceil(rows[1] - 1 + grid.y0 + shift[1]) + margin + 1
    first, last = max(0, first), min(ny, last)
    return (first, last) if last > first else (0, 0)


@subkernel
def _add_row(
    what: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    frame: tuple[float, float, float, float],
    limit: np.float32,
    marks: tuple[np.uint16, np.uint16],
    into: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    work: tuple[np.ndarray, np.ndarray],
) -> None:
    """Add a row of one frame: value / scale with its weight; `h` is the share of masked pixels in the value."""
    (v, h, f, c, e), (light, total, noise, own, number, used, lost), (taken, bits) = what, into, work
    weight, scale, sky, extra = frame
    share, squared, gain = weight / scale, weight * weight * extra / (scale * scale), weight * weight / scale
    zero, infinite, every = np.float32(0), np.float32(np.inf), np.uint16(0xFFFF)
    for j in range(v.size):
        taken[j] = (h[j] <= limit) & (abs(v[j]) < infinite)
    for j in range(v.size):
        there = taken[j] > zero
        electrons = np.float64(e[j])
        light[j] += share * np.float64(v[j] if there else zero)
        total[j] += weight if there else 0.0
        noise[j] += squared * (np.float64(c[j]) + sky * electrons) if there else 0.0
        own[j] += gain * electrons if there else 0.0
    for j in range(v.size):  # a mask as wide as the flags, for the vector unit
        bits[j] = every * np.uint16(taken[j])
    for j in range(v.size):
        number[j] -= bits[j]
        used[j] |= f[j] & marks[0] & bits[j]
        lost[j] |= f[j] & marks[1] & ~bits[j]


@subkernel
def _sums_of(
    r: int, low: int, high: int, sums: np.ndarray, count: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    light, total, noise, own = sums[0, r, low:high], sums[1, r, low:high], sums[2, r, low:high], sums[3, r, low:high]
    return light, total, noise, own, count[r, low:high], seen[0, r, low:high], seen[1, r, low:high]


@kernel
def _add(
    values: np.ndarray,
    hidden: np.ndarray,
    flags: np.ndarray,
    constant: np.ndarray,
    per_electron: np.ndarray,
    origin: tuple[int, int],
    frame: tuple[float, float, float, float],
    limit: np.float32,
    marks: tuple[np.uint16, np.uint16],
    sums: np.ndarray,
    count: np.ndarray,
    seen: np.ndarray,
) -> None:
    """Add one frame's rows, whose pixels correspond to those of the planes apart from `origin`."""
    x, y = origin
    low = min(max(0, -x), values.shape[1])
    high = max(low, min(values.shape[1], flags.shape[1] - x))
    work = np.empty(high - low, np.float32), np.empty(high - low, np.uint16)
    for r in range(max(0, -y), min(values.shape[0], flags.shape[0] - y)):
        f = flags[y + r, x + low : x + high]
        c, e = constant[y + r, x + low : x + high], per_electron[y + r, x + low : x + high]
        what = values[r, low:high], hidden[r, low:high], f, c, e
        _add_row(what, frame, limit, marks, _sums_of(r, low, high, sums, count, seen), work)


@kernel
def _add_mapped(
    values: np.ndarray,
    hidden: np.ndarray,
    planes: tuple[np.ndarray, np.ndarray, np.ndarray],
    index: np.ndarray,
    area: np.ndarray,
    factors: tuple[np.float32, bool],
    frame: tuple[float, float, float, float],
    limit: np.float32,
    marks: tuple[np.uint16, np.uint16],
    sums: np.ndarray,
    count: np.ndarray,
    seen: np.ndarray,
) -> None:
    """Add one frame's rows; `index` and `area` give the plane's pixel under each, nothing where the index is -1."""
    (flags, constant, per_electron), (gain, electrons) = planes, factors
    one, width = np.float32(1), values.shape[1]
    bits, models, grey = flags.ravel(), constant.ravel(), per_electron.ravel()
    light, f = np.empty(width, np.float32), np.empty(width, np.uint16)
    c, e, factor = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    work = np.empty(width, np.float32), np.empty(width, np.uint16)
    for r in range(values.shape[0]):
        low, high = 0, width
        while low < high and index[r, low] < 0:
            low += 1
        while high > low and index[r, high - 1] < 0:
            high -= 1
        v, places, size = values[r, low:high], index[r, low:high], area[r, low:high]
        for j in range(size.size):
            factor[j] = gain * (size[j] if electrons else one / size[j])
            light[j] = v[j] * (size[j] if electrons else one)
        for j in range(places.size):
            k = np.uint64(places[j] if places[j] > 0 else 0)
            c[j], e[j] = models[k] * factor[j], grey[k] * factor[j]
        for j in range(places.size):
            f[j] = bits[np.uint64(places[j])] if places[j] >= 0 else 0
        n = high - low
        what = light[:n], hidden[r, low:high], f[:n], c[:n], e[:n]
        _add_row(what, frame, limit, marks, _sums_of(r, low, high, sums, count, seen), work)


@kernel
def _mean(sums: np.ndarray, sci: np.ndarray, var: np.ndarray) -> None:
    """Values and variances of sums, NaN without weight."""
    for y in range(sci.shape[0]):
        for x in range(sci.shape[1]):
            weight = sums[1, y, x]
            value = sums[0, y, x] / weight
            sci[y, x] = value
            var[y, x] = (sums[2, y, x] + sums[3, y, x] * (value if value > 0.0 else 0.0)) / (weight * weight)


@dataclass(frozen=True)
class Through:
    """Pixels of a plane under rows of a grid, for a plane that is mapped onto it by more than a shift.

    Parameters
    ----------
    index : int32 (rows, nx)
        Nearest pixel, as an index into the ravelled plane; -1 where there is none.
    area : float32 (rows, nx)
        Plane's pixels per pixel of the grid.
    electrons : bool
        Values are electrons in the plane's pixels and are multiplied by the area; else they are surface brightness.
    gain : float
        Factor on the variance besides the area: for noise in apertures, where the number of grid pixels that share a
        pixel of the plane is proportional to 1 / area.
    """

    index: NDArray[np.int32]
    area: Float32
    electrons: bool
    gain: float = 1.0


@dataclass(frozen=True)
class Under:
    """Flags and noise model of a plane's pixels nearest to those of rows of a grid.

    Parameters
    ----------
    flags : uint16 (ny, nx)
    constant, per_electron : float32 (ny, nx)
        Noise model.
    origin : (int, int)
        (x, y) in these planes of the rows' pixel (0, 0); pixels beyond the planes have no data.
    through : Through, optional
        Used instead of `origin` if the planes are not merely shifted relative to the rows.
    """

    flags: NDArray[np.uint16]
    constant: Float32
    per_electron: Float32
    origin: tuple[int, int] = (0, 0)
    through: Through | None = None


@dataclass(frozen=True)
class Accumulator:
    """Running sums of rows of a stack.

    Parameters
    ----------
    sums : float64 (4, rows, nx)
        Of weighted values, weights, weighted noise, weighted electrons per source electron.
    count : uint16 (rows, nx)
        Frames per pixel.
    seen : uint16 (2, rows, nx)
        Flags of the pixels that were used, and of those that were left out.
    """

    sums: Float64
    count: NDArray[np.uint16]
    seen: NDArray[np.uint16]

    @classmethod
    def empty(cls, rows: int, nx: int) -> Accumulator:
        """All zero."""
        return cls(np.zeros((4, rows, nx)), np.zeros((rows, nx), np.uint16), np.zeros((2, rows, nx), np.uint16))

    def add(
        self,
        values: Float32,
        hidden: Float32,
        under: Under,
        frame: tuple[float, float, float, float],
        limit: float,
        marks: tuple[int, int] = (0, 0),
    ) -> None:
        """Add one frame.

        Parameters
        ----------
        values : float32 (rows, nx)
            Resampled, NaN without data.
        hidden : float32 (rows, nx)
            Share of the pixel that comes from masked pixels, 0 to 1.
        under : Under
            Flags and noise model at the pixels.
        frame : (weight, scale, sky, extra)
            Weight; transparency that values are divided by; sky level; factor on the variance.
        limit : float
            Pixels with a larger masked share are left out.
        marks : (int, int)
            Flags that are recorded of pixels that are used, and of those that are left out.
        """
        bits = (np.uint16(marks[0]), np.uint16(marks[1]))
        planes, rules = (under.flags, under.constant, under.per_electron), (frame, np.float32(limit), bits)
        if under.through is None:
            _add(values, hidden, *planes, under.origin, *rules, self.sums, self.count, self.seen)
            return
        t = under.through
        factors = (np.float32(t.gain), t.electrons)
        _add_mapped(values, hidden, planes, t.index, t.area, factors, *rules, self.sums, self.count, self.seen)

    def result(self) -> tuple[Float32, Float32]:
        """Stacked rows and their variance, including the noise of the stack's signal; NaN without data."""
        sci, var = (np.empty(self.count.shape, np.float32) for _ in range(2))
        _mean(self.sums, sci, var)
        return sci, var

    def variance(self, signal: Float32) -> Float32:
        """Variance of rows with this signal, float32 (rows, nx), in place of that of their mean; NaN where empty."""
        with np.errstate(invalid="ignore"):
            noise = self.sums[2] + self.sums[3] * np.maximum(signal, np.float32(0))
            return np.asarray(noise / self.sums[1] ** 2, np.float32)
