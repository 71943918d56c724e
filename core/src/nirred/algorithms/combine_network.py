"""The kernel of `combine`: a tile of pixels, frame-major, is filled, clipped and summed in SIMD lanes.

Every loop over the lanes of a tile is branch-free, so that it runs at the width of the vector unit. Inside a tile a
masked or rejected value is NaN. Lanes are independent of each other and are summed in frame order: a pixel's result
does not depend on its tile.
"""

from __future__ import annotations

import numpy as np

from nirred.algorithms import combine_tiles as kinds
from nirred.algorithms.combine_rejection import clip, clip_noise, minmax, subtract_median, tile_median
from nirred.algorithms.combine_tiles import WIDTH, Options, Tile
from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.flags import (
    BAD_PIXEL,
    COSMIC_RAY,
    NO_DATA,
    NON_LINEAR,
    OVERLAP,
    SATURATED,
    UNILLUMINATED,
)

__all__ = ["Options", "Tile", "combine_block"]  # kernels in numba's caches know both types by this module's name

_NAN, _INF = np.float32(np.nan), np.float32(np.inf)
_GOOD_BITS = np.uint16(0xFFFF ^ (NON_LINEAR | SATURATED))  # such pixels are as good as any
_RANKED = BAD_PIXEL | NON_LINEAR | SATURATED | COSMIC_RAY | OVERLAP | UNILLUMINATED


@subkernel
def _badness(bits: int) -> int:
    """Tier of a pixel, as the highest bit set of a number: 0 for the best, 16 for those that are never combined.

    In between, from better to worse: cosmic ray 1, overlap 2, bad pixel 4, unilluminated 8.
    """
    if bits & ~_RANKED:
        return 16
    return (bits & COSMIC_RAY) >> 3 | (bits & OVERLAP) >> 4 | (bits & BAD_PIXEL) << 2 | (bits & UNILLUMINATED) >> 3


@subkernel
def _usable(value: np.float32, variance: np.float32, options: Options) -> bool | np.bool_:
    positive = variance > 0 or options.operation != kinds.INVERSE_VARIANCE
    return abs(value) < _INF and abs(variance) < _INF and positive


@subkernel
def _load_pixel(
    data: np.ndarray,
    dq: np.ndarray,
    kept: np.ndarray,
    var: np.ndarray,
    frames: np.ndarray,
    options: Options,
    pixel: int,
    lane: int,
    tile: Tile,
) -> None:
    """Fill one lane with the best tier of its pixel; variances are those of `_load`."""
    best, mask = 16, kept[lane]
    for i in range(data.shape[0]):
        variance = var[i, pixel] if options.variance == kinds.PLANES else np.float32(1)
        if _usable(data[i, pixel], variance, options):
            best = min(best, _badness(np.int64(dq[i, pixel] & mask)))
    limit = best | best >> 1
    limit = min(limit | limit >> 2 | limit >> 4, 15)
    for i in range(data.shape[0]):
        variance = var[i, pixel] if options.variance == kinds.PLANES else np.float32(1)
        usable = _usable(data[i, pixel], variance, options) and _badness(np.int64(dq[i, pixel] & mask)) <= limit
        tile.values[i, lane] = data[i, pixel] * frames[0, i] + frames[1, i] if usable else _NAN


@subkernel
def _load(
    data: np.ndarray,
    dq: np.ndarray,
    kept: np.ndarray,
    var: np.ndarray,
    model: np.ndarray,
    frames: np.ndarray,
    options: Options,
    place: int,
    start: int,
    m: int,
    tile: Tile,
) -> None:
    """Fill a tile with the scaled good values; a pixel that has none gets its best tier."""
    n_good = tile.lanes[0]
    n_good[:m] = 0
    nothing, one = np.float32(0), np.float32(1)
    for i in range(data.shape[0]):
        scale, zero, level = frames[0, i], frames[1, i], frames[2, i]
        source, bits = data[i, start : start + m], dq[i, start : start + m]
        values, variances = tile.values[i], tile.variances[i]
        for j in range(m):
            good = ((bits[j] & kept[j] & _GOOD_BITS) == 0) & (abs(source[j]) < _INF)
            value = source[j] * scale + zero
            values[j] = value if good else _NAN
        if options.variance == kinds.PLANES:
            given = var[i, start : start + m]
            needs_positive = options.operation == kinds.INVERSE_VARIANCE
            for j in range(m):
                usable = (abs(given[j]) < _INF) & ((given[j] > nothing) | (not needs_positive))
                values[j] = values[j] if usable else _NAN
                variances[j] = given[j] * (scale * scale) if usable else nothing
        elif options.variance == kinds.MODEL:
            constant, per_electron = model[0, place : place + m], model[1, place : place + m]
            for j in range(m):
                variances[j] = (constant[j] + level * per_electron[j]) * (scale * scale)
        for j in range(m):
            n_good[j] += one if values[j] == values[j] else nothing
    empty = 0
    for j in range(m):
        empty += 1 if n_good[j] == nothing else 0
    for j in range(m if empty else 0):
        if n_good[j] == 0:
            _load_pixel(data, dq, kept, var, frames, options, start + j, j, tile)


@subkernel
def _sums(tile: Tile, frames: np.ndarray, options: Options, m: int, sums: np.ndarray) -> None:
    """Sums per lane: weights, weighted values, and weight**2 variance (unknown: weight value**2)."""
    sums[:, :m] = 0.0
    weights, totals, spread = sums[0], sums[1], sums[2]
    by_variance, known = options.operation == kinds.INVERSE_VARIANCE, options.variance != kinds.NO_VARIANCE
    for i in range(tile.values.shape[0]):
        values, variances, weight = tile.values[i], tile.variances[i], np.float64(frames[3, i])
        for j in range(m):
            alive = values[j] == values[j]
            given = 1.0 / np.float64(variances[j]) if by_variance else weight
            w, value = given if alive else 0.0, np.float64(values[j] if alive else np.float32(0))
            square = np.float64(variances[j]) * w if known else value * value
            weights[j] += w
            totals[j] += w * value
            spread[j] += w * square if alive else 0.0


@subkernel
def _finish(
    dq: np.ndarray,
    kept: np.ndarray,
    options: Options,
    start: int,
    m: int,
    tile: Tile,
    base: np.ndarray,
    sums: np.ndarray,
    sci: np.ndarray,
    var: np.ndarray,
    flags: np.ndarray,
    number: np.ndarray,
) -> None:
    """Results of a tile: `base` is the zero point of its values, or its median if that is requested."""
    n_frames = tile.values.shape[0]
    count, seen = tile.lanes[0], tile.seen
    count[:m], seen[:m] = 0, 0
    for i in range(n_frames):
        values, bits = tile.values[i], dq[i, start : start + m]
        for j in range(m):
            alive, flag = values[j] == values[j], np.int32(bits[j] & kept[j])
            count[j] += np.float32(1) if alive else np.float32(0)
            seen[j] |= flag if alive else np.int32(0)
    is_median = options.operation == kinds.MEDIAN or options.operation == kinds.LOWER_MEDIAN
    factor = np.pi / 2 if is_median else 1.0
    known, value, variance = options.variance != kinds.NO_VARIANCE, sci[start : start + m], var[start : start + m]
    for j in range(m):
        weight, n = sums[0, j], np.float64(count[j])
        mean = sums[1, j] / weight
        scatter = sums[2, j] / weight - mean * mean
        scatter = (scatter if scatter > 0.0 else 0.0) / (n - 1.0)
        value[j] = base[j] if is_median else base[j] + mean
        variance[j] = factor * (sums[2, j] / (weight * weight) if known else scatter)
    known_flags, known_number, empty = flags[start : start + m], number[start : start + m], 0
    for j in range(m):
        known_flags[j], known_number[j] = seen[j], np.int32(count[j])
        empty += 1 if count[j] == 0 else 0
    for j in range(m if empty else 0):
        if count[j] == 0:
            p = start + j
            sci[p], var[p], flags[p] = _NAN, _NAN, NO_DATA
            for i in range(n_frames):
                flags[p] |= dq[i, p] & kept[j]


@kernel
def combine_block(
    data: np.ndarray,
    dq: np.ndarray,
    ignored: np.ndarray,
    var: np.ndarray,
    model: np.ndarray,
    frames: np.ndarray,
    middle: np.ndarray,
    full: np.ndarray,
    options: Options,
    width: int,
    first: int,
    last: int,
    sci: np.ndarray,
    out_var: np.ndarray,
    flags: np.ndarray,
    number: np.ndarray,
) -> None:
    """Combine pixels `first` to `last`, this one left out.

    data, dq (n, size); ignored (size,) or (1,) for none; var (n, size) or (1, 1); model (2, last - first) constant
    and per-electron variance, or (2, 1); frames (4, n): scale, zero, level, weight; results (size,).
    """
    n, width = data.shape[0], min(width, WIDTH)
    kept = np.full(width, 0xFFFF, np.uint16)
    planes = np.zeros((5, n, width), np.float32)
    lanes, seen, order = np.zeros((8, WIDTH), np.float32), np.zeros(width, np.int32), np.zeros((2, width), np.int64)
    tile = Tile(planes[0], planes[1], planes[2], planes[3], planes[4], lanes, seen, order)
    base, centre, sums = np.zeros(width, np.float32), np.zeros(width, np.float32), np.empty((3, width))
    for start in range(first, last, width):
        m = min(width, last - start)
        for j in range(m if ignored.size > 1 else 0):
            kept[j] = ~ignored[start + j]
        _load(data, dq, kept, var, model, frames, options, start - first, start, m, tile)
        if options.rule == kinds.MINMAX:
            minmax(options, full, m, tile)
        if options.rule > kinds.MINMAX or options.variance == kinds.CENTRE:
            subtract_median(model, frames, options, middle, start - first, m, tile, base)
        if options.rule == kinds.NOISE:
            clip_noise(options, m, tile)
        elif options.rule > kinds.MINMAX:
            clip(options, middle, m, tile)
        for j in range(m if options.rule > kinds.MINMAX else 0):
            if tile.order[1, j]:  # everything rejected means nothing rejected
                _load_pixel(data, dq, kept, var, frames, options, start + j, j, tile)
                for i in range(n):
                    tile.values[i, j] -= base[j]
        _sums(tile, frames, options, m, sums)
        at = base
        if options.operation == kinds.MEDIAN or options.operation == kinds.LOWER_MEDIAN:
            lower, at = options.operation == kinds.LOWER_MEDIAN, centre
            tile_median(tile.values, tile.sorted, middle, m, lower, tile.lanes[0], centre)
            for j in range(m):
                centre[j] += base[j]
        _finish(dq, kept, options, start, m, tile, at, sums, sci, out_var, flags, number)
