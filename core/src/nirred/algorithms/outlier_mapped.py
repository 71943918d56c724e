"""Outliers of a plane against a model on a grid, to which a map leads.

The model is interpolated only where a pixel may deviate, judged by the largest values of the grid's blocks: by more
than the upper limit, or less next to such a pixel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.outlier_kernels import (
    Conditions,
    Median,
    Noise,
    OutlierLimits,
    between,
    buried,
    judge,
    model_at,
    number_at,
    steepest,
)

#: Side of a block of a grid, and most of one of a plane's tiles, pixels.
BLOCK = 8
#: Temporary flag: a pixel next to an outlier that is not one itself.
_JUDGED = 4
#: No number of frames from three on makes more of the scatter of a difference to their median.
_MOST_SPREAD = 1.065


class Blocks(NamedTuple):
    """Blocks of a grid's pixels, see `survey_blocks`: largest absolute value, float32, and least count, uint16."""

    most: NDArray[np.float32]
    least: NDArray[np.uint16]


class _Tiles(NamedTuple):
    """Tiles of a plane: the model's largest value in each, the least factor on a variance, and their side, pixels."""

    reach: NDArray[np.float32]
    factor: NDArray[np.float32]
    side: int


@kernel
def survey_blocks(model: np.ndarray, count: np.ndarray, most: np.ndarray, least: np.ndarray) -> None:
    """Largest absolute value of each block of a grid, -1 without values, inf if some are missing; its least count."""
    for j in range(most.shape[0]):
        for i in range(most.shape[1]):
            found, fewest, lost = np.float32(-1), np.uint16(0xFFFF), 0
            for y in range(BLOCK * j, min(BLOCK * (j + 1), model.shape[0])):
                for x in range(BLOCK * i, min(BLOCK * (i + 1), model.shape[1])):
                    size = abs(model[y, x])
                    lost += size != size
                    found = size if size > found else found
                    fewest = min(fewest, count[y, x])
            most[j, i] = np.float32(np.inf) if found >= 0 and lost else found
            least[j, i] = fewest


@subkernel
def _tile(
    corners: tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]],
    most: np.ndarray,
    least: np.ndarray,
    extent: tuple[int, int],
) -> tuple[np.float32, np.uint16]:
    """Largest value, as in `survey_blocks`, and least count of the grid around a tile of the plane."""
    height, width = extent
    (a, p), (b, q), (c, r), (d, s) = corners
    left, right, top, bottom = min(a, b, c, d), max(a, b, c, d), min(p, q, r, s), max(p, q, r, s)
    if not (left < width and right >= -1.0 and top < height and bottom >= -1.0):
        return np.float32(-1), np.uint16(0)
    x0, x1, y0, y1 = (
        math.floor(left),
        math.floor(right) + 1,
        math.floor(top),
        math.floor(bottom) + 1,
    )
    lost = x0 < 0 or y0 < 0 or x1 >= width or y1 >= height
    found, fewest = np.float32(-1), np.uint16(0xFFFF)
    for j in range(max(y0, 0) // BLOCK, min(y1, height - 1) // BLOCK + 1):
        for i in range(max(x0, 0) // BLOCK, min(x1, width - 1) // BLOCK + 1):
            lost |= most[j, i] < 0
            found = max(found, most[j, i])
            fewest = min(fewest, least[j, i])
    return (np.float32(np.inf) if found >= 0 and lost else found), fewest


@subkernel
def _corner_row(nodes: np.ndarray, step: int, side: int, y: int, corners: np.ndarray) -> None:
    """Positions on the grid of the pixels (0, y), (side, y), (2 side, y) ... of the plane."""
    j = min(y // step, nodes.shape[1] - 2)
    down, every = (y - j * step) / step, step // side  # side is a power of two, and at most step
    for axis in range(2):
        for k in range(corners.shape[1]):
            i = min(k // every, nodes.shape[2] - 2)
            right = (k - i * every) / every
            a, b, c, d = nodes[axis, j, i], nodes[axis, j, i + 1], nodes[axis, j + 1, i], nodes[axis, j + 1, i + 1]
            corners[axis, k] = between(a, b, c, d, right, down)


@subkernel
def _tile_limits(
    nodes: np.ndarray,
    step: int,
    side: int,
    blocks: Blocks,
    extent: tuple[int, int],
    reach: np.ndarray,
    factor: np.ndarray,
) -> None:
    """Fill in `_Tiles`."""
    (most, least), none = blocks, np.float32(-1)
    above, below = np.empty((2, reach.shape[1] + 1)), np.empty((2, reach.shape[1] + 1))
    _corner_row(nodes, step, side, 0, below)
    for j in range(reach.shape[0]):
        above, below = below, above
        _corner_row(nodes, step, side, (j + 1) * side, below)
        for k in range(reach.shape[1]):
            places = (
                (above[0, k], above[1, k]),
                (below[0, k], below[1, k]),
                (above[0, k + 1], above[1, k + 1]),
                (below[0, k + 1], below[1, k + 1]),
            )
            found, fewest = _tile(places, most, least, extent)
            reach[j, k] = max(found, np.float32(0))
            # the least for any number of frames
            factor[j, k] = np.float32(np.inf if found == none else 0.5 if fewest < 3 else 1.0)


@subkernel
def _draw_row(median: Median, y: int, chosen: np.ndarray, number: int, drawn: np.ndarray) -> None:
    """The model at some pixels of row y of the plane: one loop, because calls for single pixels take much longer."""
    model, _, nodes, step = median
    columns, part, zero, one = nodes.shape[2], 1.0 / step, np.uint64(0), np.uint64(1)
    j = min(y // step, nodes.shape[1] - 2)
    down, shift = (y - j * step) * part, 0
    while 1 << shift < step:
        shift += 1
    line = np.empty((2, columns))
    for axis in range(2):
        for i in range(columns):
            line[axis, i] = nodes[axis, j, i] + down * (nodes[axis, j + 1, i] - nodes[axis, j, i])
    across, along, width, height = line[0], line[1], model.shape[1], model.shape[0]
    for m in range(number):
        k = np.uint64(m)
        x = chosen[k]
        node, right = np.uint64(x >> shift), (x & (step - 1)) * part
        u = across[node] + right * (across[node + one] - across[node])
        v = along[node] + right * (along[node + one] - along[node])
        inside = (u >= 0.0) & (u < width - 1) & (v >= 0.0) & (v < height - 1)
        p, q = np.uint64(u) if inside else zero, np.uint64(v) if inside else zero
        r, d = np.float32(u - np.float64(p)), np.float32(v - np.float64(q))
        above = model[q, p] + r * (model[q, p + one] - model[q, p])
        below = model[q + one, p] + r * (model[q + one, p + one] - model[q + one, p])
        drawn[k] = above + d * (below - above) if inside else np.float32(np.nan)
    for n in range(number):
        if drawn[n] != drawn[n]:
            drawn[n] = model_at(model, nodes, step, y, chosen[n])


@subkernel
def _judge_mapped(
    sub: np.ndarray,
    dq: np.ndarray,
    median: Median,
    noise: Noise,
    frame: Conditions,
    limits: OutlierLimits,
    y: int,
    x: int,
    middle: np.float32,
) -> int:
    """As `judge` for a pixel of a plane, with a model on a grid; `middle` is the model's value at the pixel."""
    n, m = number_at(median, y, x), np.float64(middle)
    if n <= 1 or (dq[y, x] & np.uint16(limits.bad) != 0 and buried(dq, np.uint16(limits.bad), y, x)):
        return 0
    core, own = dq[y, x] & np.uint16(limits.bright) != 0, (noise.constant[y, x], noise.per_electron[y, x])
    steep = steepest(median, y, x, m, limits, sub.shape)
    return judge(sub[y, x], core, m, steep, n, own, frame, limits)


@subkernel
def _spread_out(reach: np.ndarray, out: np.ndarray) -> None:
    """Largest value of each tile and those around it."""
    rows, columns = reach.shape
    for j in range(rows):
        for i in range(columns):
            found = reach[j, i]
            for jj in range(max(j - 1, 0), min(j + 2, rows)):
                for ii in range(max(i - 1, 0), min(i + 2, columns)):
                    found = max(found, reach[jj, ii])
            out[j, i] = found


@subkernel
def _certain(
    bits: np.uint16,
    off: np.float32,
    middle: np.float32,
    variance: np.float32,
    around: np.float32,
    limits: OutlierLimits,
    scale: np.float32,
) -> bool:
    """Whether a pixel deviates by more than allowed for the steepest model possible in its tile and those `around`.

    Most bad pixels do, which saves evaluating the model at eight positions; saturated cores must not be among them.
    """
    sigma = math.sqrt(variance)
    dark = (bits & np.uint16(limits.bright) == 0) | (scale * middle <= limits.high * sigma)
    allowed = limits.high * _MOST_SPREAD * sigma + limits.slope_high * (around + abs(middle))
    return dark & (off > 1.001 * allowed)  # rounding decides nothing here


@subkernel
def _judge_beside(
    sub: np.ndarray,
    dq: np.ndarray,
    median: Median,
    least: float,
    noise: Noise,
    frame: Conditions,
    limits: OutlierLimits,
    flags: np.ndarray,
    y: int,
    x: int,
) -> None:
    """Judge a neighbour of an outlier; `least` is a factor on its variance."""
    m, (scale, sky, _) = model_at(median.model, median.nodes, median.step, y, x), frame
    off, light = sub[y, x] - scale * m, max(m, np.float32(0)) * scale
    if off * off > least * (noise.constant[y, x] + (sky + light) * noise.per_electron[y, x]):
        found = _judge_mapped(sub, dq, median, noise, frame, limits, y, x, m)
        flags[y, x] = found if found else _JUDGED


@subkernel
def _beside_outliers(
    sub: np.ndarray,
    dq: np.ndarray,
    median: Median,
    tiles: _Tiles,
    noise: Noise,
    frame: Conditions,
    limits: OutlierLimits,
    flags: np.ndarray,
    y: int,
    columns: np.ndarray,
) -> None:
    """Judge the neighbours of outliers in row y, in these columns, unless they are clearly no outliers."""
    (constant, electrons), (reach, factor, side), (scale, sky, excess) = noise, tiles, frame
    (ny, nx), square = sub.shape, 0.99 * limits.low**2 * excess
    for x in columns:
        for yy in range(max(y - 1, 0), min(y + 2, ny)):
            for xx in range(max(x - 1, 0), min(x + 2, nx)):
                if flags[yy, xx] != 0:
                    continue
                flags[yy, xx] = _JUDGED
                far = abs(sub[yy, xx]) + scale * reach[yy // side, xx // side]
                least = square * factor[yy // side, xx // side]
                if far * far > least * (constant[yy, xx] + sky * electrons[yy, xx]):
                    _judge_beside(sub, dq, median, least, noise, frame, limits, flags, yy, xx)


@kernel
def flag_mapped(
    sub: np.ndarray,
    dq: np.ndarray,
    median: Median,
    blocks: Blocks,
    noise: Noise,
    frame: Conditions,
    limits: OutlierLimits,
    flags: np.ndarray,
) -> None:
    """As `flag_plane` for a model on a grid, which is evaluated only where the blocks' values let a pixel deviate.

    Pixels that deviate by less than the upper limit are judged only next to an outlier: once the row below was
    processed, while all rows are in the first caches. Flags other than 1 and 2 remain; `grow` removes them.
    """
    (constant, electrons), (ny, nx) = noise, sub.shape
    scale, sky, excess = np.float32(frame.transparency), np.float32(frame.sky), np.float32(frame.excess)
    square, zero = np.float32(0.999 * max(limits.high, limits.low)) ** 2, np.float32(0)
    side, bad = min(median.step, BLOCK), np.uint16(limits.bad)
    reach = np.empty((-(-ny // side), -(-nx // side)), np.float32)
    tiles = _Tiles(reach, np.empty_like(reach), side)
    _tile_limits(median.nodes, median.step, side, blocks, median.model.shape, reach, tiles.factor)
    around, bounded = np.empty_like(reach), limits.least <= 3 and limits.reach + 2 <= side
    _spread_out(reach, around)
    room, least, drawn = np.empty(nx, np.float32), np.empty(nx, np.float32), np.empty(nx, np.float32)
    stray, chosen = np.zeros((nx + 7) // 8 * 8, np.uint8), np.empty(nx + 8, np.int64)
    eight, before, outliers = stray.view(np.uint64), np.empty(nx, np.int64), np.empty(nx, np.int64)
    number_before = 0
    for y in range(ny):
        j = y // side
        if y % side == 0:
            for x in range(nx):
                room[x], least[x] = scale * reach[j, x // side], square * excess * tiles.factor[j, x // side]
        values, fixed, grey = sub[y], constant[y], electrons[y]
        for x in range(nx):
            far = abs(values[x]) + room[x]
            stray[x] = far * far > np.float32(0.99) * least[x] * (fixed[x] + sky * grey[x])
        number = 0
        for k in range(eight.size):
            if eight[k] != 0:
                for x in range(8 * k, 8 * k + 8):
                    chosen[number] = x
                    number += stray[x]
        _draw_row(median, y, chosen, number, drawn)
        found = 0
        for k in range(number):
            x, middle = chosen[k], drawn[k]
            off, signal = abs(values[x] - scale * middle), middle if middle > zero else zero
            variance, bits = fixed[x] + (sky + signal * scale) * grey[x], dq[y, x]
            if off * off > least[x] * variance:
                known = bounded and tiles.factor[j, x // side] >= 1
                known = known and _certain(bits, off, middle, excess * variance, around[j, x // side], limits, scale)
                if known and (bits & bad == 0 or not buried(dq, bad, y, x)):
                    flags[y, x] = 1
                else:
                    flags[y, x] = _judge_mapped(sub, dq, median, noise, frame, limits, y, x, middle)
                outliers[found] = x
                found += flags[y, x] == 1
        _beside_outliers(sub, dq, median, tiles, noise, frame, limits, flags, y - 1, before[:number_before])
        before, outliers, number_before = outliers, before, found
    _beside_outliers(sub, dq, median, tiles, noise, frame, limits, flags, ny - 1, before[:number_before])
