"""Resampling by a pure shift: two one-dimensional filters per row, whatever the mask.

Leaving masked pixels out and renormalising the kernel is the quotient of two convolutions, of the data with
masked pixels set to zero and of the mask's complement.  With a product kernel both are separable, so masked
regions cost no gather.  Masked and non-finite pixels and those outside the array are left out; a shift by whole
pixels is an exact copy; the weights sum to 1 per axis, so flux is kept.

A variance plane is resampled with ``kernel="bilinear"``: weights, not their squares.  It then predicts the noise in
apertures of one FWHM and larger; the scatter of single pixels is lower by the centre of `kernel_correlation`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.background import as_mask
from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.resample_kernels import MIN_COVERAGE, Kernel, split_shift


def shift_rows(
    data: NDArray[np.float32],
    bad: NDArray[np.uint8] | NDArray[np.bool_] | None,
    dx: float,
    dy: float,
    *,
    kernel: Kernel = "lanczos3",
    shape: tuple[int, int] | None = None,
    origin: tuple[int, int] = (0, 0),
    rows: tuple[int, int] | None = None,
    out: NDArray[np.float32] | None = None,
    coverage: NDArray[np.float32] | None = None,
    covered: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Resample an image by a shift onto rows of an output grid.

    Output pixel ``(X, Y)`` is the input at ``(X + origin_x + dx, Y + origin_y + dy)``.

    Parameters
    ----------
    data : float32 array, shape (ny, nx)
        The image.
    bad : uint8 or bool array, shape (ny, nx), or None
        Not zero where a pixel is unusable.
    dx, dy : float
        Position in the input minus position in the reference (px).
    kernel : {"lanczos3", "bilinear", "nearest"}
        The interpolant.
    shape, origin : tuple of int
        (ny, nx) of the whole output grid, else the input's; (x, y) of its pixel (0, 0) in the reference frame.
    rows : tuple of int, optional
        Rows ``[first, last)`` of the output grid that are wanted; all if not given.
    out, coverage : float32 array, shape (last - first, nx), optional
        Buffers for the results, to be used again from tile to tile.
    covered : bool
        Whether the coverage is wanted; without, it has no rows.

    Returns
    -------
    out : float32 array
        The resampled rows, NaN where there is no data: where the nearest input pixel is outside the array or
        less than half of the kernel's weight is left.
    coverage : float32 array
        Part of the kernel's absolute weight that fell on usable pixels, 0 to 1.

    Raises
    ------
    ValueError
        A shift is not finite, or shapes do not fit.
    """
    image = np.ascontiguousarray(data, dtype=np.float32)
    mask = np.zeros((1, image.shape[1]), np.uint8) if bad is None else as_mask(bad, image.shape)
    grid = shape or image.shape
    first, last = rows or (0, grid[0])
    (x0, wx), (y0, wy) = split_shift(dx, kernel), split_shift(dy, kernel)
    sci = _buffer(out, (last - first, grid[1]))
    cov = _buffer(coverage, (last - first if covered else 0, grid[1]))
    corner = (x0 + origin[0], y0 + origin[1] + first)
    nearest = (int(np.floor(dx + 0.5)) + origin[0], int(np.floor(dy + 0.5)) + origin[1] + first)
    _shift(image, mask, corner, nearest, wx.astype(np.float32), wy.astype(np.float32), sci, cov)
    return sci, cov


def bad_fraction_shift_rows(
    bad: NDArray[np.uint8] | NDArray[np.bool_],
    dx: float,
    dy: float,
    *,
    shape: tuple[int, int] | None = None,
    origin: tuple[int, int] = (0, 0),
    rows: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Return the part of each shifted output pixel's area that masked input pixels cover.

    Parameters
    ----------
    bad : uint8 or bool array, shape (ny, nx)
        Not zero where a pixel carries the flag in question.
    dx, dy, shape, origin, rows
        As for `shift_rows`.

    Returns
    -------
    float32 array, shape (last - first, nx)
        0 to 1 (bilinear weights); 1 where the nearest input pixel is outside the array.
    """
    grid = shape or (bad.shape[0], bad.shape[1])
    first, last = rows or (0, grid[0])
    if bad.size == 0:
        return np.ones((last - first, grid[1]), np.float32)
    (x0, wx), (y0, wy) = split_shift(dx, "bilinear"), split_shift(dy, "bilinear")
    out = np.empty((last - first, grid[1]), np.float32)
    corner = (x0 + origin[0], y0 + origin[1] + first)
    nearest = (int(np.floor(dx + 0.5)) + origin[0], int(np.floor(dy + 0.5)) + origin[1] + first)
    _hide(as_mask(bad, bad.shape), corner, nearest, wx.astype(np.float32), wy.astype(np.float32), out)
    return out


def _buffer(given: NDArray[np.float32] | None, shape: tuple[int, int]) -> NDArray[np.float32]:
    if given is None:
        return np.empty(shape, dtype=np.float32)
    if given.shape != shape or given.dtype != np.float32:
        raise ValueError(f"the buffer must be float32 of shape {shape}, got {given.dtype} {given.shape}")
    return given


@subkernel
def _overlap(size: int, start: int, width: int) -> tuple[int, int]:
    """Part [low, high) of a row of `width` inside an array of `size` pixels, if it begins at its pixel `start`."""
    low = min(max(0, -start), width)
    return low, max(low, min(width, size - start))


@subkernel
def _fill_beside(row: np.ndarray, low: int, high: int, filling: np.float32) -> None:
    """Fill a row except [low, high)."""
    for part in (row[:low], row[high:]):
        for x in range(part.size):
            part[x] = filling


@subkernel
def _fill_row(
    data: np.ndarray, mask: np.ndarray, y: int, x0: int, values: np.ndarray, good: np.ndarray
) -> int | np.int32:
    """Copy a row into padded buffers, zero where unusable; return how many pixels inside are."""
    nx = data.shape[1]
    low, high = _overlap(nx, x0, values.size)
    if y < 0 or y >= data.shape[0]:
        high = low
    for part in (values, good):
        _fill_beside(part, low, high, np.float32(0.0))
    if low == high:
        return 0
    # Slices, because an index that might be negative keeps the loops from being vectorised.
    source = data[y, low + x0 : high + x0]
    flags = mask[y if mask.shape[0] > 1 else 0, low + x0 : high + x0]
    value_part = values[low:high]
    good_part = good[low:high]
    unusable = np.int32(0)  # as wide as the pixels, for the vector unit
    for j in range(source.size):
        value = source[j]
        usable = (value - value == np.float32(0.0)) & (flags[j] == 0)
        value_part[j] = value if usable else np.float32(0.0)
        good_part[j] = np.float32(1.0) if usable else np.float32(0.0)
        unusable += np.int32(not usable)
    return unusable


@subkernel
def _copy_row(source: np.ndarray, target: np.ndarray) -> None:
    """Copy; a slice assignment would go element by element."""
    for x in range(target.size):
        target[x] = source[x]


@subkernel
def _filter_row(source: np.ndarray, weights: np.ndarray, target: np.ndarray) -> None:
    """One-dimensional filter along a row; the taps are added in a fixed order."""
    n = target.size
    if weights.size == 6:
        w0, w1, w2, w3, w4, w5 = weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]
        s1, s2, s3, s4, s5 = source[1:], source[2:], source[3:], source[4:], source[5:]
        for x in range(n):
            inner = w0 * source[x] + w1 * s1[x] + w2 * s2[x]
            target[x] = inner + (w3 * s3[x] + w4 * s4[x] + w5 * s5[x])
    elif weights.size == 2:
        w0, w1 = weights[0], weights[1]
        s1 = source[1:]
        for x in range(n):
            target[x] = w0 * source[x] + w1 * s1[x]
    else:
        for x in range(n):
            target[x] = source[x]


@subkernel
def _filter_column(ring: np.ndarray, first: int, weights: np.ndarray, target: np.ndarray) -> None:
    """Combine the rows of a ring buffer; the taps are added in a fixed order."""
    n = target.size
    taps = weights.size
    if taps == 6:
        w0, w1, w2, w3, w4, w5 = weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]
        s0, s1, s2 = ring[first % 6], ring[(first + 1) % 6], ring[(first + 2) % 6]
        s3, s4, s5 = ring[(first + 3) % 6], ring[(first + 4) % 6], ring[(first + 5) % 6]
        for x in range(n):
            inner = w0 * s0[x] + w1 * s1[x] + w2 * s2[x]
            target[x] = inner + (w3 * s3[x] + w4 * s4[x] + w5 * s5[x])
    elif taps == 2:
        w0, w1 = weights[0], weights[1]
        s0, s1 = ring[first % 2], ring[(first + 1) % 2]
        for x in range(n):
            target[x] = w0 * s0[x] + w1 * s1[x]
    else:
        s0 = ring[0]
        for x in range(n):
            target[x] = s0[x]


@subkernel
def _renormalise(norm: np.ndarray, scale: np.float32, value: np.ndarray, cover: np.ndarray) -> None:
    """Divide a row by the weight that is left; NaN where too little is."""
    for x in range(value.size):
        part = cover[x] * scale
        # Where nothing is missing the norm is 1 but for rounding: leave such pixels alone.
        kept = value[x] if part > np.float32(0.999999) else value[x] / norm[x]
        least = part if part < norm[x] else norm[x]
        value[x] = kept if least >= np.float32(MIN_COVERAGE) else np.float32(np.nan)
        cover[x] = part if part < np.float32(1.0) else np.float32(1.0)


@subkernel
def _edge_weights(nx: int, x0: int, wx: np.ndarray, good: np.ndarray, edge: np.ndarray) -> None:
    """Weight and absolute weight that fall inside the array, along a row."""
    for j in range(good.size):
        good[j] = np.float32(1.0) if 0 <= j + x0 < nx else np.float32(0.0)
    _filter_row(good, wx, edge[0])
    _filter_row(good, np.abs(wx), edge[1])


@subkernel
def _filter_weights(
    good: np.ndarray, wx: np.ndarray, abs_x: np.ndarray, alike: bool, weights: np.ndarray, sizes: np.ndarray
) -> None:
    """Weights of a row, and absolute ones unless these are `alike`: where none is negative they are not needed."""
    _filter_row(good, wx, weights)
    if not alike:
        _filter_row(good, abs_x, sizes)


@subkernel
def _combine_weights(
    ring: np.ndarray, first: int, wy: np.ndarray, abs_y: np.ndarray, alike: bool, norm: np.ndarray, cover: np.ndarray
) -> None:
    """Combine the ring's weights and absolute weights."""
    _filter_column(ring[1], first, wy, norm)
    if alike:
        _copy_row(norm, cover)
    else:
        _filter_column(ring[2], first, abs_y, cover)


@subkernel
def _write_down(state: np.ndarray, edge: np.ndarray, zero: np.ndarray, ring: np.ndarray) -> None:
    """Weights of rows of the ring that are clean (0) or outside (1)."""
    for k in range(state.size):
        if state[k] < 2:
            _copy_row(edge[0] if state[k] == 0 else zero, ring[1, k])
            _copy_row(edge[1] if state[k] == 0 else zero, ring[2, k])
            state[k] = 2


@subkernel
def _renormalise_edge(
    edge: np.ndarray, whole: np.ndarray, scale: np.float32, norm: np.ndarray, value: np.ndarray, cover: np.ndarray
) -> None:
    """Renormalise pixels of clean rows whose samples lie outside in part; `norm` and `cover` are overwritten."""
    _copy_row(edge, norm)
    _copy_row(whole, cover)
    _renormalise(norm, scale, value, cover)


@kernel
def _shift(
    data: np.ndarray,
    mask: np.ndarray,
    start: tuple[int, int],
    nearest: tuple[int, int],
    wx: np.ndarray,
    wy: np.ndarray,
    out: np.ndarray,
    coverage: np.ndarray,
) -> None:
    """Shift with renormalisation: data, weight, absolute weight are filtered side by side; `coverage` may be empty."""
    rows, taps_y = out.shape[0], wy.size
    low, high = _overlap(data.shape[1], nearest[0], out.shape[1])  # all columns that are drawn
    width, left = high - low, start[0] + low
    abs_x, abs_y = np.abs(wx), np.abs(wy)
    zero, one = np.zeros(width, np.float32), np.ones(width, np.float32)
    scale = np.float32(1.0) / (np.abs(wx).sum() * abs_y.sum())
    alike = np.all(abs_x == wx) and np.all(abs_y == wy)
    values, good = np.empty(width + wx.size - 1, np.float32), np.empty(width + wx.size - 1, np.float32)
    ring, edge = np.zeros((3, taps_y, width), np.float32), np.zeros((2, width), np.float32)
    norm, cover, state, clean = np.empty(width, np.float32), np.empty(width, np.float32), np.zeros(taps_y, np.uint8), 0
    # A clean row's weights depend only on x: they are filtered once, and are 1 where all samples are inside.
    _edge_weights(data.shape[1], left, wx, good, edge)
    whole = edge[1] * np.float32(abs_y.sum())
    first, last = _overlap(data.shape[1] - wx.size + 1, left, width)
    for j in range(rows + taps_y - 1):
        y = j + start[1]
        slot = j % taps_y
        lost = _fill_row(data, mask, y, left, values, good)
        _filter_row(values, wx, ring[0, slot])
        inside = 0 <= y < data.shape[0]
        clean = clean + 1 if inside and lost == 0 else 0
        state[slot] = 0 if inside else 1  # defined by the edges, or outside: filled in only when a neighbour needs it
        if lost > 0:
            _filter_weights(good, wx, abs_x, alike, ring[1, slot], ring[2, slot])
            state[slot] = 2
        r = j - taps_y + 1
        if r < 0:
            continue
        drawn = width > 0 and 0 <= nearest[1] + r < data.shape[0]
        x0, x1 = (low, high) if drawn else (0, 0)
        _fill_beside(out[r], x0, x1, np.float32(np.nan))
        if coverage.shape[0] > 0:
            _fill_beside(coverage[r], x0, x1, np.float32(0.0))
        if not drawn:
            continue
        value = out[r, low:high]
        _filter_column(ring[0], r, wy, value)
        if clean >= taps_y:
            for part in (slice(0, first), slice(last, width)):
                _renormalise_edge(edge[0, part], whole[part], scale, norm[part], value[part], cover[part])
            if coverage.shape[0] > 0:
                _copy_row(one[first:last], cover[first:last])
        else:
            _write_down(state, edge, zero, ring)
            _combine_weights(ring, r, wy, abs_y, alike, norm, cover)
            _renormalise(norm, scale, value, cover)
        if coverage.shape[0] > 0:
            _copy_row(cover, coverage[r, low:high])


@kernel
def _hide(
    mask: np.ndarray, start: tuple[int, int], nearest: tuple[int, int], wx: np.ndarray, wy: np.ndarray, out: np.ndarray
) -> None:
    """Bilinear fraction of masked pixels; beyond the edges the outermost pixels are repeated while they are nearest."""
    (height, nx), rows = mask.shape, out.shape[0]
    low, high = _overlap(nx, nearest[0], out.shape[1])  # all columns with a nearest pixel
    width, left = high - low, start[0] + low
    samples = np.zeros(width + wx.size - 1, np.float32)
    ring = np.zeros((wy.size, width), np.float32)
    first, last = _overlap(nx, left, samples.size)
    for j in range(rows + wy.size - 1):
        y = min(max(j + start[1], 0), height - 1)
        flags, inside = mask[y, first + left : last + left], samples[first:last]
        for x in range(flags.size):
            inside[x] = np.float32(flags[x] != 0)
        if last > first:
            samples[:first] = samples[first]
            samples[last:] = samples[last - 1]
        _filter_row(samples, wx, ring[j % wy.size])
        r = j - wy.size + 1
        if r < 0:
            continue
        drawn = width > 0 and 0 <= nearest[1] + r < height
        x0, x1 = (low, high) if drawn else (0, 0)
        _fill_beside(out[r], x0, x1, np.float32(1.0))
        if drawn:
            _filter_column(ring, r, wy, out[r, low:high])
