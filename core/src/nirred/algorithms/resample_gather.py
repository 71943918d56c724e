"""Resampling by any smooth map: each output pixel gathers its kernel's samples from the input.

Neighbouring output pixels mostly use neighbouring input pixels: such runs of pixels are processed in eight lanes of the
vector unit (`resample_runs`).

A variance plane is resampled with ``kernel="bilinear"`` and the same `conserve`: as the number of output pixels in an
aperture is proportional to 1 / area, variance times area keeps the aperture's noise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.pixelmap import PixelMap
from nirred.algorithms.resample_kernels import Kernel
from nirred.algorithms.resample_runs import (
    CHUNK,
    LANES,
    PITCH,
    masked_bilinear,
    masked_lanczos,
    run_bilinear,
    run_lanczos,
)
from nirred.algorithms.survey import pick_rows

#: Samples per axis of each interpolant.
_TAPS = {"lanczos3": 6, "bilinear": 2}
#: Samples beyond the outermost ones that a window may reach.
_PAD = 3
#: No window begins there: a pixel outside the input; the end of a row.
_OUTSIDE, _END = -9, -99


def gather_rows(
    data: NDArray[np.float32],
    bad: NDArray[np.uint8] | NDArray[np.bool_] | None,
    pixelmap: PixelMap,
    *,
    kernel: Kernel = "lanczos3",
    rows: tuple[int, int] | None = None,
    conserve: bool = True,
    part: tuple[int, int] | None = None,
    covered: bool = True,
    out: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Resample an image through a pixel map onto rows of the output grid, unusable pixels left out.

    Parameters
    ----------
    data, bad : float32 and uint8 or bool arrays, shape (ny, nx)
        The image, and its mask, non-zero where a pixel is unusable, or None.
    pixelmap, kernel : PixelMap, {"lanczos3", "bilinear", "nearest"}
        From output to input, and the interpolant.
    rows : tuple of int, optional
        Rows ``[first, last)`` of the output grid that are wanted; all if not given.
    conserve : bool
        Multiply by the input area of each output pixel, which keeps the flux of sources.
    part : (int, int), optional
        (first row, number of rows of the image) if `data` and `bad` are only rows of it, those given by `input_rows`.
    covered : bool
        Whether the coverage is wanted; without, it has no rows.
    out : float32 array, optional
        Buffer.

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
    image, mask = data[mine], np.zeros((0, 0), np.uint8) if bad is None else bad[mine].view(np.uint8)
    out = np.empty((last - first, pixelmap.shape[1]), dtype=np.float32) if out is None else out
    coverage = np.empty((last - first if covered else 0, pixelmap.shape[1]), dtype=np.float32)
    if kernel == "nearest":
        pick_rows(image, mask if bad is not None else None, pixelmap, (first, last), (low, ny), out, np.nan)
        coverage[:] = np.isfinite(out[: coverage.shape[0]])
    else:
        extent, how = (low, ny, data.shape[1]), (pixelmap.step, first, _TAPS[kernel])
        _gather(_padded(image, mask), extent, pixelmap.nodes, how, out, coverage)
    if conserve:
        pixelmap.times_area(first, out)
    return out, coverage


def _padded(data: NDArray[np.float32], bad: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rows within a frame of NaN, unusable pixels NaN too; raveled, with as much more as blocks overrun."""
    ny, nx = data.shape[0] + 2 * _PAD, data.shape[1] + 2 * _PAD
    flat = np.empty(ny * nx + 2 * LANES, dtype=np.float32)
    work = flat[: ny * nx].reshape(ny, nx)
    work[:_PAD], work[-_PAD:], flat[ny * nx :] = np.nan, np.nan, np.nan
    _keep_usable(data, bad, work[_PAD:-_PAD])
    return flat


@kernel
def _keep_usable(part: np.ndarray, bad: np.ndarray, work: np.ndarray) -> None:
    nan, infinite = np.float32(np.nan), np.float32(np.inf)
    width = part.shape[1]
    for y in range(part.shape[0]):
        row, source = work[y], part[y]
        row[:_PAD] = nan
        row[width + _PAD :] = nan
        inner = row[_PAD : width + _PAD]
        for x in range(width):
            inner[x] = source[x] if abs(source[x]) < infinite else nan
        if bad.size:
            flags = bad[y]
            for x in range(width):
                inner[x] = inner[x] if flags[x] == 0 else nan


def input_rows(pixelmap: PixelMap, first: int, last: int, ny: int) -> tuple[int, int]:
    """Rows of the input that output rows [first, last) need."""
    nodes = pixelmap.y[first // pixelmap.step : -(-last // pixelmap.step) + 1]
    top, bottom = float(np.fmin.reduce(nodes, axis=None)), float(np.fmax.reduce(nodes, axis=None))
    if not (math.isfinite(top) and math.isfinite(bottom)):
        nodes = nodes[np.isfinite(nodes)]
        if nodes.size == 0:
            return 0, 0
        top, bottom = float(nodes.min()), float(nodes.max())
    low = min(max(math.floor(top) - _PAD, 0), ny)
    return low, min(max(math.ceil(bottom) + _PAD + 1, low), ny)


# The functions of a strip get whole arrays: counting the reference of a slice takes longer than processing about twenty
# pixels.
@subkernel
def _spread(nodes: np.ndarray, j: int, step: int, start: int, n: int, out: np.ndarray) -> None:
    """Positions in row j of the nodes of n pixels from `start`, linear between nodes: x, then y from `CHUNK`."""
    part, row = 1.0 / step, nodes.shape[2]
    line = nodes.ravel()
    for axis in range(2):
        before, at = (axis * nodes.shape[1] + j) * row, axis * CHUNK - start
        for i in range(start // step, (start + n - 1) // step + 1):
            left = line[np.uint64(before + i)]
            slope = (line[np.uint64(before + i + 1)] - left) * part
            for k in range(max(start, i * step), min(start + n, (i + 1) * step)):
                out[np.uint64(at + k)] = left + (k - i * step) * slope


@subkernel
def _windows(
    above: np.ndarray,
    below: np.ndarray,
    down: float,
    extent: tuple[int, int, int],
    n: int,
    lanes: np.ndarray,
    corner: np.ndarray,
) -> None:
    """Phases and corners of the windows of n pixels, `down` of the way between two rows of nodes.

    A window starts two samples before the one below; the padding of three allows for it.
    """
    low, ny, nx = extent
    stride, top = np.float64(nx + 2 * _PAD), np.float64(low - 1)
    right, bottom, outside = nx - 0.5, ny - 0.5, np.float64(_OUTSIDE)
    half, pitch = np.uint64(CHUNK), np.uint64(PITCH)
    for c in range(np.uint64(n)):
        u, v = above[c] + down * (below[c] - above[c]), above[c + half] + down * (below[c + half] - above[c + half])
        inside = (u >= -0.5) & (u < right) & (v >= -0.5) & (v < bottom)
        column, row = np.floor(u), np.floor(v)
        lanes[c + pitch], lanes[c + pitch + pitch] = u - column, v - row
        corner[c] = np.int32((row - top) * stride + (column + 1.0) if inside else outside)


@subkernel
def _marked(marks: np.ndarray, words: np.ndarray, found: np.ndarray) -> int:
    """Indices of set marks, which are few; `words` are eight marks each."""
    number = 0
    for w in range(words.size):
        if words[w] != 0:
            for c in range(8 * w, 8 * w + 8):
                found[number] = c
                number += marks[c]
    return number


@subkernel
def _values(
    flat: np.ndarray,
    stride: int,
    corner: np.ndarray,
    n: int,
    taps: int,
    work: tuple[np.ndarray, np.ndarray, np.ndarray],
    lanes: np.ndarray,
) -> None:
    """Write values of n pixels into the first row of `lanes`, NaN outside, by runs of adjacent windows."""
    marks, words, found = work
    for c in range(np.uint64(n)):
        step = corner[c + np.uint64(1)] - corner[c]
        marks[c] = (step != 1) & ((step != 0) | (corner[c] != _OUTSIDE))
    start = 0
    for k in range(_marked(marks, words, found)):
        end = found[k] + 1
        if corner[start] == _OUTSIDE:
            for c in range(start, end):
                lanes[c] = np.nan
        elif taps == 2:
            run_bilinear(flat, corner[start], stride, lanes, start, end - start)
        else:
            run_lanczos(flat, corner[start], stride, lanes, start, end - start)
        start = end


@subkernel
def _store(
    flat: np.ndarray,
    stride: int,
    corner: np.ndarray,
    place: tuple[int, int, int],
    taps: int,
    work: tuple[np.ndarray, np.ndarray, np.ndarray],
    lanes: np.ndarray,
    out: np.ndarray,
    coverage: np.ndarray,
) -> None:
    """Write n values into a row from `start`, recomputing lost ones; coverage if it is requested."""
    (r, start, n), (marks, words, found) = place, work
    first, covered = np.uint64(start), coverage.shape[0] > 0
    for c in range(np.uint64(n)):
        out[r, first + c] = lanes[c]
    for c in range(np.uint64(n)):
        marks[c] = (lanes[c] != lanes[c]) & (corner[c] != _OUTSIDE)
    for c in range(n if covered else 0):
        coverage[r, start + c] = np.float32((corner[c] != _OUTSIDE) & (marks[c] == 0))
    number, k = _marked(marks, words, found), 0
    while k < number:
        c, m = found[k], 1
        while k + m < number and found[k + m] == c + m and corner[c + m] - corner[c] == m:
            m += 1
        k += m
        if taps == 2:
            masked_bilinear(flat, corner[c], stride, lanes, c, m)
        else:
            masked_lanczos(flat, corner[c], stride, lanes, c, m)
        for i in range(c, c + m):
            out[r, start + i] = lanes[i]
            if covered:
                coverage[r, start + i] = lanes[3 * PITCH + i]


@subkernel
def _beyond(
    nodes: np.ndarray, step: int, rows: tuple[int, int], columns: tuple[int, int], extent: tuple[int, int, int]
) -> bool:
    """Whether all pixels of these rows and columns lie outside the input, judged by the nodes around them."""
    places = nodes.ravel()
    for axis in range(2):
        low, high = np.inf, -np.inf
        for j in range(rows[0] // step, (rows[1] - 1) // step + 2):
            before = (axis * nodes.shape[1] + j) * nodes.shape[2]
            for i in range(columns[0] // step, (columns[1] - 1) // step + 2):
                place = places[np.uint64(before + i)]
                low, high = min(low, place), max(high, place)
        if not (low < extent[2 - axis] - 0.5 and high >= -0.5):
            return True
    return False


@kernel
def _gather(
    flat: np.ndarray,
    extent: tuple[int, int, int],
    nodes: np.ndarray,
    how: tuple[int, int, int],
    out: np.ndarray,
    coverage: np.ndarray,
) -> None:
    """Rows of the output, strip by strip of columns, so that a strip's samples stay in the first cache."""
    step, first, taps = how
    stride, width = extent[2] + 2 * _PAD, out.shape[1]
    corner, lanes = np.empty(CHUNK + 1, np.int32), np.zeros(4 * PITCH, np.float32)
    marks = np.zeros(CHUNK, np.uint8)
    work = marks, marks.view(np.uint64), np.empty(CHUNK + 1, np.int64)
    above, below = np.empty(2 * CHUNK), np.empty(2 * CHUNK)
    for start in range(0, width, CHUNK):
        n, known = min(CHUNK, width - start), -9
        if _beyond(nodes, step, (first, first + out.shape[0]), (start, start + n), extent):
            out[:, start : start + n], coverage[:, start : start + n] = np.nan, 0.0
            continue
        corner[n], marks[n:] = _END, 0
        for r in range(out.shape[0]):
            j = (first + r) // step
            if j != known:
                above, below = below, above
                if j != known + 1:
                    _spread(nodes, j, step, start, n, above)
                _spread(nodes, j + 1, step, start, n, below)
                known = j
            _windows(above, below, (first + r - j * step) / step, extent, n, lanes, corner)
            _values(flat, stride, corner, n, taps, work, lanes)
            _store(flat, stride, corner, (r, start, n), taps, work, lanes, out, coverage)
