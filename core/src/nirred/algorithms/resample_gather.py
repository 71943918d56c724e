"""Resampling by any smooth map: each output pixel gathers its kernel's samples from the input.

A variance plane is carried with ``kernel="bilinear"`` and the same `conserve`: as the number of output pixels in an
aperture goes with 1 / area, variance times area keeps the aperture's noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nirred.algorithms.pixelmap import PixelMap
from nirred.algorithms.resample_kernels import MIN_COVERAGE, TAPS, Kernel, phase_weights

#: Weights are tabulated for this many positions between two samples: true to 1/4096 px.
PHASES = 2048

_PAD = 3


def gather_rows(
    data: NDArray[np.float32],
    bad: NDArray[np.uint8] | NDArray[np.bool_] | None,
    pixelmap: PixelMap,
    *,
    kernel: Kernel = "lanczos3",
    rows: tuple[int, int] | None = None,
    conserve: bool = True,
    part: tuple[int, int] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Resample an image through a pixel map onto rows of the output grid, unusable pixels left out.

    Parameters
    ----------
    data : float32 array, shape (ny, nx)
        The image.
    bad : uint8 or bool array, shape (ny, nx), or None
        Not zero where a pixel is unusable.
    pixelmap, kernel : PixelMap, {"lanczos3", "bilinear", "nearest"}
        From output to input, and the interpolant.
    rows : tuple of int, optional
        Rows ``[first, last)`` of the output grid that are wanted; all if not given.
    conserve : bool
        Multiply by the input area of each output pixel, which keeps the flux of sources.
    part : (int, int), optional
        `data` and `bad` are rows of an image (the first one's number, how many it has), all that `input_rows` names.

    Returns
    -------
    out : float32 array, shape (last - first, nx)
        NaN where the nearest input pixel is outside the array or less than half of the kernel's weight is left.
    coverage : float32 array, shape (last - first, nx)
        Part of the kernel's absolute weight that fell on usable pixels, 0 to 1.

    Raises
    ------
    ValueError
        The mask does not fit the data.
    """
    if bad is not None and bad.shape != data.shape:
        raise ValueError(f"the mask has shape {bad.shape}, the data {data.shape}")
    first, last = rows or (0, pixelmap.shape[0])
    start, ny = part or (0, data.shape[0])
    low, high = input_rows(pixelmap, first, last, ny)
    mine = slice(low - start, high - start)
    work = _padded(data[mine], None if bad is None else bad[mine])
    out = np.empty((last - first, pixelmap.shape[1]), dtype=np.float32)
    coverage = np.empty_like(out)
    _gather(
        work,
        (low, ny),
        _weight_table(kernel),
        kernel == "bilinear",
        pixelmap.nodes,
        (pixelmap.step, first, conserve),
        out,
        coverage,
    )
    return out, coverage


def _padded(part: NDArray[np.float32], bad: NDArray[np.uint8] | NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Copy rows into a frame of NaN; unusable pixels are NaN too."""
    work = np.empty((part.shape[0] + 2 * _PAD, part.shape[1] + 2 * _PAD), dtype=np.float32)
    work[:_PAD] = work[-_PAD:] = np.nan
    work[:, :_PAD] = work[:, -_PAD:] = np.nan
    _keep_usable(part, np.zeros((0, 0), np.uint8) if bad is None else bad.view(np.uint8), work[_PAD:-_PAD, _PAD:-_PAD])
    return work


@njit(nogil=True, cache=True, error_model="numpy")
def _keep_usable(part, bad, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            value = part[y, x]
            usable = abs(value) < np.inf
            if bad.size:
                usable &= bad[y, x] == 0
            out[y, x] = value if usable else np.float32(np.nan)


@dataclass(frozen=True)
class Survey:
    """What lies under the pixels of rows of an output grid, each array of shape (rows, nx).

    Parameters
    ----------
    index : int32
        Nearest pixel, as an index into the ravelled input rows; -1 outside the input.
    hidden : float32
        Share that masked pixels have in a bilinear interpolation, 0 to 1; 1 outside the input.
    area : float32
        Input area per output area.
    """

    index: NDArray[np.int32]
    hidden: NDArray[np.float32]
    area: NDArray[np.float32]

    def take(self, plane: NDArray[Any], fill: float) -> NDArray[Any]:
        """Values of the nearest pixels of input rows of any dtype; `fill` outside."""
        out = np.empty(self.index.shape, plane.dtype)
        _take(np.ascontiguousarray(plane).ravel(), self.index.ravel(), np.asarray(fill, plane.dtype)[()], out.ravel())
        return out


def survey_rows(
    bad: NDArray[np.uint8] | None,
    pixelmap: PixelMap,
    rows: tuple[int, int],
    part: tuple[int, int],
    shape: tuple[int, int],
) -> Survey:
    """Find what lies under rows of the output grid.

    Parameters
    ----------
    bad : uint8 (high - low, nx), or None
        Not zero where a pixel of rows [low, high) of the input is masked.
    pixelmap : PixelMap
        From output to input.
    rows : (int, int)
        Rows [first, last) of the output grid.
    part : (int, int)
        Rows [low, high) of the input that there are.
    shape : (int, int)
        (ny, nx) of the whole input.
    """
    size = (rows[1] - rows[0], pixelmap.shape[1])
    found = Survey(np.empty(size, np.int32), np.empty(size, np.float32), np.empty(size, np.float32))
    how, extent = (pixelmap.step, rows[0]), (*part, *shape)
    _survey(pixelmap.nodes, how, extent, found.index, found.area)
    np.less(found.index, 0, out=found.hidden, casting="unsafe")
    if bad is not None and bad.any():
        _hide(pixelmap.nodes, how, extent, bad, _round(bad), found.index, found.hidden)
    return found


def _round(bad: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Not zero where a pixel or one of its eight neighbours is."""
    rows = bad.copy()
    rows[1:] |= bad[:-1]
    rows[:-1] |= bad[1:]
    both = rows.copy()
    both[:, 1:] |= rows[:, :-1]
    both[:, :-1] |= rows[:, 1:]
    return both


@njit(nogil=True, cache=True, error_model="numpy")
def _take(plane, index, fill, out):  # type: ignore[no-untyped-def]
    for k in range(index.size):
        out[k] = plane[index[k]] if index[k] >= 0 else fill


@njit(nogil=True, cache=True, error_model="numpy")
def _hidden(bad, low, ny, x, y):  # type: ignore[no-untyped-def]
    """Masked share of the four pixels round a position, those beyond the edge left out."""
    ix, iy = int(x + 1.0) - 1, int(y + 1.0) - 1
    masked, weight = 0.0, 0.0
    for j in range(2):
        across = y - iy if j else 1.0 + iy - y
        for i in range(2):
            share = across * (x - ix if i else 1.0 + ix - x)
            if 0 <= iy + j < ny and 0 <= ix + i < bad.shape[1]:
                weight += share
                masked += share * (bad[iy + j - low, ix + i] != 0)
    return masked / weight


@njit(nogil=True, cache=True, error_model="numpy")
def _survey(nodes, how, extent, index, area):  # type: ignore[no-untyped-def]
    """Nearest pixels and areas; positions of a whole row first, so that the rest is one long loop for SIMD."""
    (step, first), (low, high, _, nx) = how, extent
    top, bottom, width = np.float64(low), np.float64(high), np.float64(nx)
    x, y = np.empty(index.shape[1]), np.empty(index.shape[1])
    for r in range(index.shape[0]):
        j = (first + r) // step
        ty = (first + r - j * step) / step
        line = nodes[:, j] * (1.0 - ty) + nodes[:, j + 1] * ty
        for i in range(line.shape[1] - 1):
            x0, y0, area0 = line[0, i], line[1, i], line[2, i]
            slope_x, slope_y = (line[0, i + 1] - x0) / step, (line[1, i + 1] - y0) / step
            slope_area = (line[2, i + 1] - area0) / step
            for k in range(min(step, index.shape[1] - i * step)):
                at = np.uint64(i * step + k)
                x[at] = x0 + k * slope_x + 0.5
                y[at] = y0 + k * slope_y + 0.5
                area[r, at] = area0 + k * slope_area
        for c in range(index.shape[1]):
            inside = (x[c] >= 0.0) & (x[c] < width) & (y[c] >= top) & (y[c] < bottom)
            place = np.floor(y[c] - top) * width + np.floor(x[c])  # exact: far below 2^53
            index[r, c] = np.int32(place if inside else -1.0)


@njit(nogil=True, cache=True, error_model="numpy")
def _between(rows, i, tx, ty):  # type: ignore[no-untyped-def]
    left = rows[0, i] * (1.0 - ty) + rows[1, i] * ty
    right = rows[0, i + 1] * (1.0 - ty) + rows[1, i + 1] * ty
    return left * (1.0 - tx) + right * tx


@njit(nogil=True, cache=True, error_model="numpy")
def _hide(nodes, how, extent, bad, near, index, hidden):  # type: ignore[no-untyped-def]
    """Masked shares of the pixels that have one masked pixel nearby, which are few."""
    (step, first), (low, _, ny, _) = how, extent
    flat = near.ravel()
    for r in range(index.shape[0]):
        j = (first + r) // step
        ty = (first + r - j * step) / step
        for c in range(index.shape[1]):
            if index[r, c] >= 0 and flat[index[r, c]]:
                i = c // step
                tx = (c - i * step) / step
                x, y = _between(nodes[0, j : j + 2], i, tx, ty), _between(nodes[1, j : j + 2], i, tx, ty)
                hidden[r, c] = _hidden(bad, low, ny, x, y)


def input_rows(pixelmap: PixelMap, first: int, last: int, ny: int) -> tuple[int, int]:
    """Rows of the input that output rows [first, last) draw on."""
    nodes = pixelmap.y[first // pixelmap.step : -(-last // pixelmap.step) + 1]
    nodes = nodes[np.isfinite(nodes)]
    if nodes.size == 0:
        return 0, 0
    low = int(np.clip(np.floor(nodes.min()) - _PAD, 0, ny))
    return low, int(np.clip(np.ceil(nodes.max()) + _PAD + 1, low, ny))


@lru_cache(maxsize=4)
def _weight_table(kernel: Kernel) -> NDArray[np.float32]:
    """Weights for PHASES + 1 positions from one sample to the next, six taps (zeros for shorter kernels)."""
    phase = np.arange(PHASES + 1) / PHASES
    table = np.zeros((PHASES + 1, 6), dtype=np.float32)
    if kernel == "nearest":
        table[phase < 0.5, 2] = 1.0
        table[phase >= 0.5, 3] = 1.0
        return table
    start = 3 - TAPS[kernel] // 2
    table[:, start : start + TAPS[kernel]] = phase_weights(phase, kernel)
    return table


@njit(nogil=True, cache=True, error_model="numpy")
def _masked(flat, corner, stride, table, kx, ky):  # type: ignore[no-untyped-def]
    """Weighted mean, weight and part of the absolute weight over the usable samples of a 6x6 window."""
    value, weight, good, total = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for j in range(6):
        for i in range(6):
            w = table[ky + j] * table[kx + i]
            total += abs(w)
            sample = flat[corner + j * stride + i]
            if w != 0 and sample == sample:
                value += w * sample
                weight += w
                good += abs(w)
    return value / weight, weight, good / total


# Fused multiply-adds are safe here: every pixel goes through the same scalar code, whatever the tile.
@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _clean(flat, corner, stride, table, kx, ky):  # type: ignore[no-untyped-def]
    """Weighted sum over a 6x6 window; NaN if a sample is not usable. Columns side by side, for SIMD."""
    # Unsigned indices: signed ones would be checked for counting from the end.
    i1, i2, i3, i4, i5 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4), np.uint64(5)
    p, k = np.uint64(corner), np.uint64(ky)
    down = np.uint64(stride)
    a, b, c = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    d, e, f = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for _ in range(6):
        w = table[k]
        a += w * flat[p]
        b += w * flat[p + i1]
        c += w * flat[p + i2]
        d += w * flat[p + i3]
        e += w * flat[p + i4]
        f += w * flat[p + i5]
        p += down
        k += i1
    q = np.uint64(kx)
    left = a * table[q] + b * table[q + i1] + c * table[q + i2]
    return left + (d * table[q + i3] + e * table[q + i4] + f * table[q + i5])


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _clean_bilinear(flat, corner, stride, table, kx, ky):  # type: ignore[no-untyped-def]
    """The same for the four samples of the bilinear kernel, which sit in the middle of the window."""
    i1, i2, i3 = np.uint64(1), np.uint64(2), np.uint64(3)
    p = np.uint64(corner + 2 * stride + 2)
    q = p + np.uint64(stride)
    x, y = np.uint64(kx), np.uint64(ky)
    upper = table[x + i2] * flat[p] + table[x + i3] * flat[p + i1]
    lower = table[x + i2] * flat[q] + table[x + i3] * flat[q + i1]
    return table[y + i2] * upper + table[y + i3] * lower


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _gather(work, extent, table, small, nodes, how, out, coverage):  # type: ignore[no-untyped-def]
    """Positions are linear between nodes; weights come from the table at the nearest phase."""
    (low, ny), (step, first, conserve) = extent, how
    stride = work.shape[1]
    nx = stride - 6
    flat, weights = work.ravel(), table.ravel()
    phases = table.shape[0] - 1
    for r in range(out.shape[0]):
        j = (first + r) // step
        ty = (first + r - j * step) / step
        line = nodes[:, j] * (1.0 - ty) + nodes[:, j + 1] * ty
        for i in range(line.shape[1] - 1):
            x0, y0, area0 = line[0, i], line[1, i], line[2, i]
            slope_x, slope_y = (line[0, i + 1] - x0) / step, (line[1, i + 1] - y0) / step
            slope_area = (line[2, i + 1] - area0) / step
            for k in range(min(step, out.shape[1] - i * step)):
                x, y = x0 + k * slope_x, y0 + k * slope_y
                value, part = np.float32(np.nan), np.float32(0.0)
                if x >= -0.5 and x < nx - 0.5 and y >= -0.5 and y < ny - 0.5:
                    ix, iy = int(x + 1.0) - 1, int(y + 1.0) - 1
                    # The window starts two samples before the one below; the padding of three allows for it.
                    corner = (iy - low + 1) * stride + ix + 1
                    kx, ky = 6 * int((x - ix) * phases + 0.5), 6 * int((y - iy) * phases + 0.5)
                    part = np.float32(1.0)
                    if small:
                        value = _clean_bilinear(flat, corner, stride, weights, kx, ky)
                    else:
                        value = _clean(flat, corner, stride, weights, kx, ky)
                    if not value == value:
                        value, weight, part = _masked(flat, corner, stride, weights, kx, ky)
                        if weight < np.float32(MIN_COVERAGE) or part < np.float32(MIN_COVERAGE):
                            value = np.float32(np.nan)
                    if conserve:
                        value *= np.float32(area0 + k * slope_area)
                out[r, i * step + k] = value
                coverage[r, i * step + k] = part
