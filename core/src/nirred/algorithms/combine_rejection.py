"""Rejection of deviating values in a tile of pixels, frame-major, and its medians.

As in `combine_network`, loops over lanes have no branches, and masked or rejected values are NaN.
"""

from __future__ import annotations

import numpy as np

from nirred.algorithms import combine_tiles as kinds
from nirred.algorithms.combine_tiles import WIDTH, Options, Tile
from nirred.algorithms.compiled import subkernel
from nirred.algorithms.networks import middle_pair, sort_lanes

_COUNT, _TOTAL, _EXTRA, _SHARE, _MIDDLE = (k * WIDTH for k in range(5))  # in the rows of Tile.lanes, end to end
_NAN, _INF = np.float32(np.nan), np.float32(np.inf)


@subkernel
def tile_median(
    values: np.ndarray, work: np.ndarray, middle: np.ndarray, m: int, lower: bool, infinity: np.ndarray, out: np.ndarray
) -> None:
    """Median per lane, or the lower middle value; NaN are missing values, see `networks`."""
    n = values.shape[0]
    infinity[:m] = _INF
    for i in range(n):
        source, target = values[i], work[i]
        for j in range(m):
            dead = source[j] != source[j]
            target[j] = infinity[j] if dead else source[j]
            infinity[j] = -infinity[j] if dead else infinity[j]
    sort_lanes(work, middle, m)
    below, above = work[max(n // 2 - 1, 0)], work[n // 2]
    even, half = n % 2 == 0, np.float32(0 if lower else 0.5)
    for j in range(m):
        first, last = middle_pair(below[j], above[j], even, infinity[j])
        out[j] = first if first == last else first + half * (last - first)


@subkernel
def _clip_pass(
    values: np.ndarray, variances: np.ndarray, m: int, options: Options, step: int, lanes: np.ndarray
) -> None:
    """Reject once about the centre (lanes[1]) or, where the rule says so, about the mean.

    A value goes where its squared deviation exceeds limit**2 (extra + share variance)::

        sigclip   extra = population variance      share = 0
        varclip   extra = 0                        share = 1

    lanes: 1 centre, 2 number before, 3 number after, 4 extra; 6, 7 scratch.
    """
    centre, before, after, extra = lanes[1], lanes[2], lanes[3], lanes[4]
    first, second, zero, one = lanes[6], lanes[7], np.float32(0), np.float32(1)
    before[:m], after[:m], first[:m], second[:m] = zero, zero, zero, zero
    for i in range(values.shape[0]):
        x, u = values[i], variances[i]
        for j in range(m):
            alive = x[j] == x[j]
            d = x[j] - centre[j] if alive else zero
            before[j] += one if alive else zero
            first[j] += d
            second[j] += d * d
    about_mean = step > 0 and not options.median_clip
    by_scatter = one if options.rule == kinds.SIGCLIP else zero
    share = one - by_scatter
    for j in range(m):
        n = before[j]
        mean, square = first[j] / n, second[j] / n
        centre[j] += mean if about_mean else zero
        scatter = square - mean * mean
        extra[j] = by_scatter * (scatter if scatter > zero else zero)
    for i in range(values.shape[0]):
        x, u = values[i], variances[i]
        for j in range(m):
            d = x[j] - centre[j]
            limit = options.low_squared if d < zero else options.high_squared
            rejected = d * d > limit * (extra[j] + share * u[j])
            x[j] = _NAN if rejected else x[j]
            after[j] += one if x[j] == x[j] else zero


@subkernel
def subtract_median(
    model: np.ndarray,
    frames: np.ndarray,
    options: Options,
    middle: np.ndarray,
    place: int,
    m: int,
    tile: Tile,
    base: np.ndarray,
) -> None:
    """Make values relative to their median, `base`; evaluate the noise model there if it asks for that.

    A frame's signal is the median over its scale.
    """
    tile_median(tile.values, tile.sorted, middle, m, np.bool_(False), tile.lanes[0], base)
    zero, constant, per_electron = np.float32(0), model[0, place : place + m], model[1, place : place + m]
    modelled = m if options.variance == kinds.CENTRE else 0
    level = tile.lanes[1]
    for j in range(modelled):
        level[j] = base[j] if base[j] > zero else zero
    for i in range(tile.values.shape[0]):
        row, variances, scale = tile.values[i], tile.variances[i], frames[0, i]
        share = np.float32(1) / scale
        for j in range(m):
            row[j] -= base[j]
        for j in range(modelled):
            variances[j] = (constant[j] + level[j] * share * per_electron[j]) * (scale * scale)


@subkernel
def clip_noise(options: Options, m: int, tile: Tile) -> None:
    """Reject by the noise model, once about zero (the median) and once about the mean of what is left.

    A value goes where its squared deviation exceeds limit**2 (extra + share variance)::

        first     extra = pi/2 mean(var)/n     share = 1          the median's own noise
        second    extra = mean(var)/n          share = 1 - 2/n    the mean contains the value

    Lanes with fewer than three values keep them. tile.order[1] marks those in which everything was rejected.
    """
    values, variances, rows, emptied = tile.values, tile.variances, tile.lanes.reshape(8 * WIDTH), tile.order[1]
    zero, one = np.float32(0), np.float32(1)
    rows[_MIDDLE : _MIDDLE + m] = zero
    for step in range(2):
        rows[_COUNT : _COUNT + m], rows[_TOTAL : _TOTAL + m], rows[_EXTRA : _EXTRA + m] = zero, zero, zero
        for i in range(values.shape[0]):
            x, u = values[i], variances[i]
            for j in range(m):
                alive = x[j] == x[j]
                rows[_COUNT + j] += one if alive else zero
                rows[_TOTAL + j] += x[j] if alive else zero
                rows[_EXTRA + j] += u[j] if alive else zero
        noise, contained = (np.float32(np.pi / 2), zero) if step == 0 else (one, np.float32(2))
        for j in range(m):
            n = rows[_COUNT + j]
            limit = noise * (rows[_EXTRA + j] / n) / n
            rows[_EXTRA + j] = _INF if n < np.float32(3) else limit
            rows[_SHARE + j] = one - contained / n
            mean = rows[_TOTAL + j] / n
            rows[_MIDDLE + j] = mean if step > 0 else zero
        for i in range(values.shape[0]):
            x, u = values[i], variances[i]
            for j in range(m):
                d = x[j] - rows[_MIDDLE + j]
                limit = options.low_squared if d < zero else options.high_squared
                rejected = d * d > limit * (rows[_EXTRA + j] + rows[_SHARE + j] * u[j])
                x[j] = _NAN if rejected else x[j]
    emptied[:m] = 1
    for i in range(values.shape[0]):
        for j in range(m):
            emptied[j] = 0 if values[i, j] == values[i, j] else emptied[j]


@subkernel
def clip(options: Options, middle: np.ndarray, m: int, tile: Tile) -> None:
    """Iterate `_clip_pass` about medians; only lanes that changed go on, packed. tile.order[1] as `clip_noise`."""
    values, variances, lanes = tile.values, tile.variances, tile.lanes
    index, emptied, n = tile.order[0], tile.order[1], values.shape[0]
    lanes[1, :m], emptied[:m] = 0, 0
    for j in range(m):
        index[j] = j
    count, packed = m, False
    for step in range(options.max_iters):
        width = min((count + 15) // 16 * 16, values.shape[1]) if packed else m
        current = tile.few_values if packed else values
        current_variances = tile.few_variances if packed else variances
        if step > 0 and options.median_clip:
            tile_median(current, tile.sorted, middle, width, np.bool_(False), lanes[0], lanes[1])
        _clip_pass(current, current_variances, width, options, step, lanes)
        again = 0
        for j in range(count):
            lane, before, after = index[j], lanes[2, j], lanes[3, j]
            if after == before:
                continue
            if packed:
                for i in range(n):
                    values[i, lane] = current[i, j]
            if after == 0 and before > 0:
                emptied[lane] = 1
            else:
                index[again] = lane
                lanes[1, again] = lanes[1, j]
                again += 1
        if again == 0:
            return
        packed, count = again < m, again
        for i in range(n if packed else 0):
            for j in range(count):
                tile.few_values[i, j] = values[i, index[j]]
                tile.few_variances[i, j] = variances[i, index[j]]


@subkernel
def minmax(options: Options, full: np.ndarray, m: int, tile: Tile) -> None:
    """Reject shares n_low/N, n_high/N of each lane's values; of equal ones just as many as asked."""
    values, work, n = tile.values, tile.sorted, tile.values.shape[0]
    low, high, low_left, high_left, alive = tile.lanes[1], tile.lanes[2], tile.lanes[3], tile.lanes[4], tile.lanes[5]
    nothing, one = np.float32(0), np.float32(1)
    alive[:m] = 0
    for i in range(n):
        x, target = values[i], work[i]
        for j in range(m):
            alive[j] += one if x[j] == x[j] else nothing
            target[j] = x[j] if x[j] == x[j] else _INF
    sort_lanes(work, full, m)
    for j in range(m):
        count = int(alive[j])
        n_low, n_high = int(count * options.n_low / n + 0.001), int(count * options.n_high / n + 0.001)
        if n_low + n_high >= count:
            n_low = n_high = 0
        low[j] = work[n_low - 1, j] if n_low else -_INF
        high[j] = work[count - n_high, j] if n_high else _INF
        low_left[j], high_left[j] = n_low, n_high
    for i in range(n):
        x = values[i]
        for j in range(m):
            low_left[j] -= one if x[j] < low[j] else nothing
            high_left[j] -= one if x[j] > high[j] else nothing
    for i in range(n):
        x = values[i]
        for j in range(m):
            low_tie = (x[j] == low[j]) & (low_left[j] > nothing)
            high_tie = (x[j] == high[j]) & (high_left[j] > nothing) & (not low_tie)
            low_left[j] -= one if low_tie else nothing
            high_left[j] -= one if high_tie else nothing
            x[j] = _NAN if (x[j] < low[j]) | (x[j] > high[j]) | low_tie | high_tie else x[j]
