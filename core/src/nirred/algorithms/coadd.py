"""Frames onto one grid by tiles: model of the sequence, outliers on the detector, and the weighted stack.

Everything works on rows of the output grid, so that memory is bounded whatever the number of frames, and sums run over
frames in a fixed order in float64, so that neither tile size nor number of threads changes a bit of the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]


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


def union_grid(shifts: Sequence[tuple[float, float]], shape: tuple[int, int]) -> Grid:
    """Smallest grid that holds every frame.

    Parameters
    ----------
    shifts : sequence of (dx, dy)
        Position of a source in a frame minus in the reference, pixels.
    shape : (int, int)
        (ny, nx) of the frames.
    """
    ny, nx = shape
    return enclosing_grid([(-dx, -dy, nx - 1 - dx, ny - 1 - dy) for dx, dy in shifts])


def enclosing_grid(bounds: Sequence[tuple[float, float, float, float]]) -> Grid:
    """Smallest grid that holds the pixels whose outermost centres lie at (x0, y0, x1, y1) of the reference."""
    x0, y0 = (math.floor(min(b[k] for b in bounds) + 0.5) for k in (0, 1))
    x1, y1 = (math.floor(max(b[k] for b in bounds) + 0.5) for k in (2, 3))
    return Grid(x0, y0, (y1 - y0 + 1, x1 - x0 + 1))


def common_grid(shifts: Sequence[tuple[float, float]], shape: tuple[int, int]) -> Grid:
    """Largest grid that every frame covers; ValueError when there is none."""
    ny, nx = shape
    x0 = math.ceil(max(-dx for dx, _ in shifts))
    y0 = math.ceil(max(-dy for _, dy in shifts))
    x1 = math.floor(min(nx - 1 - dx for dx, _ in shifts))
    y1 = math.floor(min(ny - 1 - dy for _, dy in shifts))
    if x1 < x0 or y1 < y0:
        raise ValueError("the frames have no area in common")
    return Grid(x0, y0, (y1 - y0 + 1, x1 - x0 + 1))


def nearest_rows(
    plane: np.ndarray, shift: tuple[float, float], grid: Grid, rows: tuple[int, int], fill: float
) -> np.ndarray:
    """Rows of the grid from the nearest pixels of a frame's plane; `fill` outside it.

    Parameters
    ----------
    plane : (ny, nx)
        Any dtype.
    shift : (dx, dy)
        As in `union_grid`.
    grid : Grid
        The output grid.
    rows : (int, int)
        [first, last).
    fill : float
        Value outside the frame.
    """
    out = np.full((rows[1] - rows[0], grid.shape[1]), fill, plane.dtype)
    x = grid.x0 + math.floor(shift[0] + 0.5)
    y = grid.y0 + math.floor(shift[1] + 0.5) + rows[0]
    x_low, x_high = max(0, -x), min(out.shape[1], plane.shape[1] - x)
    y_low, y_high = max(0, -y), min(out.shape[0], plane.shape[0] - y)
    if x_high > x_low and y_high > y_low:
        out[y_low:y_high, x_low:x_high] = plane[y + y_low : y + y_high, x + x_low : x + x_high]
    return out


def frame_rows(
    shift: tuple[float, float], grid: Grid, rows: tuple[int, int], ny: int, margin: int = 4
) -> tuple[int, int]:
    """Rows [first, last) of a frame that rows of the grid draw on; empty (0, 0) when there are none."""
    first = math.floor(rows[0] + grid.y0 + shift[1]) - margin
    last = math.ceil(rows[1] - 1 + grid.y0 + shift[1]) + margin + 1
    first, last = max(0, first), min(ny, last)
    return (first, last) if last > first else (0, 0)


@njit(nogil=True, cache=True, error_model="numpy")
def _flag(sub, bright, model, count, constant, per_electron, frame, limits, flags):  # type: ignore[no-untyped-def]
    """1 where a pixel strays far from the model; 2 where it strays a little: kept only beside a 1.

    Of two values the model is the mean: half their difference is compared, and only the higher is an outlier.
    """
    scale, sky, extra = frame
    high, low, slope_high, slope_low, least, reach = limits
    ny, nx = sub.shape
    for y in range(ny):
        for x in range(nx):
            m = model[y, x]
            flags[y, x] = 0
            if not (count[y, x] >= 2 and math.isfinite(m)):
                continue
            if count[y, x] < least and not (least <= 3 and sub[y, x] > scale * m):
                continue
            variance = (constant[y, x] + (sky + max(m, 0.0) * scale) * per_electron[y, x]) * extra
            n = count[y, x]
            # the median of few frames is the highest of the others where this one is high: nearer than its noise says
            sigma = math.sqrt(variance * (0.5 if n < 3 else 1.0 + 1.6 / n - 4.8 / (n * n)))
            off = abs(sub[y, x] - scale * m)
            others = scale * m if count[y, x] > 2 else 2.0 * scale * m - sub[y, x]
            if bright[y, x] and others > high * sigma:  # a star's core, not a cosmic ray or a hot pixel
                continue
            if not off > low * sigma:  # nearly all: spared the steps
                continue
            steep = 0.0
            for step in range(8):
                far = 1 if step < 4 else reach
                yy = min(max(y + far * ((step % 4 == 0) - (step % 4 == 1)), 0), ny - 1)
                xx = min(max(x + far * ((step % 4 == 2) - (step % 4 == 3)), 0), nx - 1)
                d = abs(model[yy, xx] - m)
                if d > steep:
                    steep = d
            # the steepest of eight steps of a model that has noise of its own is never nothing
            steep = math.sqrt(max(steep * steep - 9.0 * variance * 1.6 / n, 0.0))
            if count[y, x] < 3:
                steep *= 0.5
            if off > high * sigma + slope_high * steep:
                flags[y, x] = 1
            elif off > low * sigma + slope_low * steep:
                flags[y, x] = 2


@njit(nogil=True, cache=True, error_model="numpy")
def _grow(flags, out):  # type: ignore[no-untyped-def]
    """Keep 1, and 2 that touches a 1."""
    ny, nx = flags.shape
    for y in range(ny):
        for x in range(nx):
            out[y, x] = flags[y, x] == 1
            if flags[y, x] == 2:
                for yy in range(max(y - 1, 0), min(y + 2, ny)):
                    for xx in range(max(x - 1, 0), min(x + 2, nx)):
                        if flags[yy, xx] == 1:
                            out[y, x] = 1


@njit(nogil=True, cache=True, error_model="numpy")
def _mean_around(data, hidden, y, x):  # type: ignore[no-untyped-def]
    """Mean of the good pixels in 3 x 3, else 5 x 5, else 7 x 7; 0 without any."""
    ny, nx = data.shape
    for reach in range(1, 4):
        total, n = 0.0, 0
        for yy in range(max(y - reach, 0), min(y + reach + 1, ny)):
            for xx in range(max(x - reach, 0), min(x + reach + 1, nx)):
                if not hidden[yy, xx]:
                    total += data[yy, xx]
                    n += 1
        if n > 0:
            return np.float32(total / n)
    return np.float32(0)


@njit(nogil=True, cache=True, error_model="numpy")
def _patch(data, hidden, model, out):  # type: ignore[no-untyped-def]
    """Give hidden pixels the model's value, else the mean of good ones around, else 0."""
    ny, nx = data.shape
    blocks = (nx + 15) // 16  # of 16 pixels: where three of them and seven rows hold no good pixel, none is sought
    good = np.zeros((ny, blocks + 2), np.uint8)
    for y in range(ny):
        for x in range(nx):
            good[y, x // 16 + 1] |= not hidden[y, x]
    near = np.zeros(blocks + 2, np.uint8)
    for y in range(ny):
        near[:] = 0
        for yy in range(max(y - 3, 0), min(y + 4, ny)):
            near |= good[yy]
        for x in range(nx):
            b = x // 16 + 1
            if not hidden[y, x]:
                out[y, x] = data[y, x]
            elif math.isfinite(model[y, x]):
                out[y, x] = model[y, x]
            elif near[b - 1] or near[b] or near[b + 1]:
                out[y, x] = _mean_around(data, hidden, y, x)
            else:
                out[y, x] = np.float32(0)


def patch_hidden(data: Float32, hidden: UInt8, model: Float32) -> Float32:
    """Fill unusable pixels before interpolation, so that they ring into no neighbour.

    Parameters
    ----------
    data : float32 (ny, nx)
        Sky-subtracted frame.
    hidden : uint8 (ny, nx)
        Not zero where the value is not to be used.
    model : float32 (ny, nx)
        What the other frames say, at the frame's own scale; NaN where they say nothing: neighbours are taken.

    Returns
    -------
    float32 (ny, nx)
    """
    out = np.empty(data.shape, np.float32)
    _patch(data, hidden, model, out)
    return out


@dataclass(frozen=True)
class OutlierLimits:
    """When a pixel of a frame is an outlier against the sequence.

    Parameters
    ----------
    high, low : float
        Sigma of the noise model; `low` holds for neighbours of an outlier.
    slope_high, slope_low : float
        Share of the model's steepest step to a neighbour that is allowed besides: seeing and registration change it.
    least : int
        Frames that must have contributed to the model.
    reach : int
        Pixels to the second ring of neighbours, half the FWHM: a Gaussian's core changes by 0.23 of its peak when the
        seeing does by a tenth, and falls by half of it that far away, whatever the sampling.
    """

    high: float = 5.0
    low: float = 3.0
    slope_high: float = 0.6
    slope_low: float = 0.4
    least: int = 3
    reach: int = 2


def core_slope(fwhm: float, usual: float) -> float:
    """Share of the steepness by which a star's core may differ in a frame of seeing `fwhm` among others of `usual`.

    A Gaussian of the same flux has (usual/fwhm)**2 times the peak, and its steepness is taken over half a FWHM: half of
    the peak. A quarter of margin is for profiles that are no Gaussians; 0 where a width is not known, 2 at most.
    """
    change = abs((usual / fwhm) ** 2 - 1.0) if fwhm > 0 and usual > 0 else 0.0
    return min(2.5 * change, 2.0)


def flag_outliers(
    sub: Float32,
    bright: UInt8,
    model: tuple[Float32, Float32],
    noise: tuple[Float32, Float32],
    frame: tuple[float, float, float],
    limits: OutlierLimits,
) -> UInt8:
    """Pixels of a sky-subtracted frame, on its detector, that the sequence's blotted model does not explain.

    Parameters
    ----------
    sub : float32 (ny, nx)
        Sky-subtracted frame, electron.
    bright : uint8 (ny, nx)
        Not zero where the frame is saturated or non-linear: such a star's core differs from frame to frame.
    model : (model, count), float32 (ny, nx)
        Median of the sequence at the frame's pixels, NaN without one, and how many frames are behind it.
    noise : (constant, per_electron), float32 (ny, nx)
        Noise model of the frame's pixels.
    frame : (scale, sky, extra)
        Transparency of the frame, sky level (electron), and factor on its variance (sky noise, measured noise).
    limits : OutlierLimits
        Thresholds.

    Returns
    -------
    uint8 (ny, nx)
        1 where flagged.
    """
    flags = np.empty(sub.shape, np.uint8)
    out = np.empty(sub.shape, np.uint8)
    values = (limits.high, limits.low, limits.slope_high, limits.slope_low, float(limits.least), limits.reach)
    _flag(sub, bright, model[0], model[1], *noise, frame, values, flags)
    _grow(flags, out)
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _add(values, hidden, constant, per_electron, frame, limit, sums, count):  # type: ignore[no-untyped-def]
    """Add one frame's rows: value / scale with its weight; `hidden` is the share of masked pixels in the value."""
    weight, scale, sky, extra = frame
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            v = values[y, x]
            if hidden[y, x] <= limit and math.isfinite(v):
                sums[0, y, x] += weight * np.float64(v) / scale
                sums[1, y, x] += weight
                noise = (constant[y, x] + sky * per_electron[y, x]) * extra
                sums[2, y, x] += weight * weight * noise / (scale * scale)
                sums[3, y, x] += weight * weight * per_electron[y, x] / scale
                count[y, x] += 1


@dataclass(frozen=True)
class Accumulator:
    """Rows of a stack in the making.

    Parameters
    ----------
    sums : float64 (4, rows, nx)
        Of weighted values, weights, weighted noise, weighted electrons per source electron.
    count : uint16 (rows, nx)
        Frames per pixel.
    """

    sums: Float64
    count: NDArray[np.uint16]

    @classmethod
    def empty(cls, rows: int, nx: int) -> Accumulator:
        """All zero."""
        return cls(np.zeros((4, rows, nx)), np.zeros((rows, nx), np.uint16))

    def add(
        self,
        values: Float32,
        hidden: Float32,
        noise: tuple[Float32, Float32],
        frame: tuple[float, float, float, float],
        limit: float,
    ) -> None:
        """Add one frame.

        Parameters
        ----------
        values : float32 (rows, nx)
            Resampled, NaN without data.
        hidden : float32 (rows, nx)
            Share of the pixel that comes from masked pixels, 0 to 1.
        noise : (constant, per_electron), float32 (rows, nx)
            Noise model at the pixels.
        frame : (weight, scale, sky, extra)
            Weight; transparency that values are divided by; sky level; factor on the variance.
        limit : float
            A pixel with more than this hidden is left out.
        """
        _add(values, hidden, *noise, frame, limit, self.sums, self.count)

    def result(self) -> tuple[Float32, Float32]:
        """Stacked rows and their variance, the stack's own signal included; NaN without data."""
        value, weight, noise, gain = self.sums
        with np.errstate(invalid="ignore", divide="ignore"):
            sci = value / weight
            var = (noise + gain * np.maximum(sci, 0.0)) / weight**2
        return sci.astype(np.float32), var.astype(np.float32)
