"""Pixel kernels of `combine`: a tile of pixels, frame-major, is sorted and clipped in SIMD lanes.

Every loop over the lanes of a tile is branch-free, so that it runs at the width of the vector unit; a
network's comparators are data: another number of frames needs no compilation. Inside a tile a masked or
rejected value is NaN. Lanes are independent of each other and are summed in frame order: a pixel's result does
not depend on its tile.
"""

from __future__ import annotations

import numpy as np

from nirred.algorithms import combine_tiles as kinds
from nirred.algorithms.combine_tiles import WIDTH, Options, Tile
from nirred.algorithms.compiled import kernel, subkernel

__all__ = ["Options", "Tile", "combine_block"]  # kernels in numba's caches know both types by this module's name

_COUNT, _TOTAL, _EXTRA, _SHARE, _MIDDLE = (k * WIDTH for k in range(5))  # in the rows of Tile.lanes, end to end
_NAN, _INF = np.float32(np.nan), np.float32(np.inf)
_GOOD_BITS = np.uint16(0xFFFF ^ (2 | 4))  # non-linear and saturated pixels are as good as any
_RANKED = 1 | 2 | 4 | 8 | 32 | 64


@subkernel
def _badness(bits):  # type: ignore[no-untyped-def]
    """Tier of a pixel as the highest bit set: none good, then 8, 32, 1, 64, and 16 or unknown last."""
    if bits & ~_RANKED:
        return 16
    return (bits & 8) >> 3 | (bits & 32) >> 4 | (bits & 1) << 2 | (bits & 64) >> 3


@subkernel
def _usable(value, variance, options):  # type: ignore[no-untyped-def]
    positive = variance > 0 or options.operation != kinds.INVERSE_VARIANCE
    return abs(value) < _INF and abs(variance) < _INF and positive


@subkernel
def _load_pixel(data, dq, kept, var, frames, options, pixel, lane, tile):  # type: ignore[no-untyped-def]
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
def _load(data, dq, kept, var, model, frames, options, place, start, m, tile):  # type: ignore[no-untyped-def]
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
def _sort(values, network, m):  # type: ignore[no-untyped-def]
    for c in range(network.shape[0]):
        a, b = values[network[c, 0]], values[network[c, 1]]
        for j in range(m):
            x, y = a[j], b[j]
            a[j] = x if x < y else y
            b[j] = x if x > y else y


@subkernel
def _median(values, work, middle, m, lower, infinity, out):  # type: ignore[no-untyped-def]
    """Median per lane. NaN become +inf and -inf in turn, which keeps the median on the middle wires.

    The first is +inf, so an odd number of them leaves one more above: the median is half a wire lower.
    """
    n = values.shape[0]
    infinity[:m] = _INF
    for i in range(n):
        source, target = values[i], work[i]
        for j in range(m):
            dead = source[j] != source[j]
            target[j] = infinity[j] if dead else source[j]
            infinity[j] = -infinity[j] if dead else infinity[j]
    _sort(work, middle, m)
    below, above = work[max(n // 2 - 1, 0)], work[n // 2]
    even, half = n % 2 == 0, np.float32(0 if lower else 0.5)
    for j in range(m):
        low, high, odd_dead = below[j], above[j], infinity[j] < 0
        first = low if odd_dead | even else high
        last = low if odd_dead & even else high
        between = first + half * (last - first)
        out[j] = first if first == last else between


@subkernel
def _clip_pass(values, variances, m, options, step, lanes):  # type: ignore[no-untyped-def]
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
def _centre(model, frames, options, middle, place, m, tile, base):  # type: ignore[no-untyped-def]
    """Make values relative to their median, `base`; evaluate the noise model there if it asks for that."""
    _median(tile.values, tile.sorted, middle, m, np.bool_(False), tile.lanes[0], base)
    zero, constant, per_electron = np.float32(0), model[0, place : place + m], model[1, place : place + m]
    modelled = m if options.variance == kinds.CENTRE else 0
    at_median = tile.lanes[1]
    for j in range(modelled):
        level = base[j]
        level = level if level > zero else zero
        at_median[j] = constant[j] + level * per_electron[j]
    for i in range(tile.values.shape[0]):
        row, variances, scale = tile.values[i], tile.variances[i], frames[0, i]
        for j in range(m):
            row[j] -= base[j]
        for j in range(modelled):
            variances[j] = at_median[j] * (scale * scale)


@subkernel
def _clip_noise(options, m, tile):  # type: ignore[no-untyped-def]
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
def _clip(options, middle, m, tile):  # type: ignore[no-untyped-def]
    """Iterate `_clip_pass` about medians; only lanes that changed go on, packed. tile.order[1] as `_clip_noise`."""
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
            _median(current, tile.sorted, middle, width, np.bool_(False), lanes[0], lanes[1])
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
def _minmax(options, full, m, tile):  # type: ignore[no-untyped-def]
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
    _sort(work, full, m)
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


@subkernel
def _sums(tile, frames, options, m, sums):  # type: ignore[no-untyped-def]
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
def _finish(dq, kept, options, start, m, tile, base, sums, sci, var, flags, number):  # type: ignore[no-untyped-def]
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
            sci[p], var[p], flags[p] = _NAN, _NAN, 16
            for i in range(n_frames):
                flags[p] |= dq[i, p] & kept[j]


@kernel
def combine_block(  # type: ignore[no-untyped-def]
    data, dq, ignored, var, model, frames, middle, full, options, width, first, last, sci, out_var, flags, number
):
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
            _minmax(options, full, m, tile)
        if options.rule > kinds.MINMAX or options.variance == kinds.CENTRE:
            _centre(model, frames, options, middle, start - first, m, tile, base)
        if options.rule == kinds.NOISE:
            _clip_noise(options, m, tile)
        elif options.rule > kinds.MINMAX:
            _clip(options, middle, m, tile)
        for j in range(m if options.rule > kinds.MINMAX else 0):
            if tile.order[1, j]:  # everything rejected means nothing rejected
                _load_pixel(data, dq, kept, var, frames, options, start + j, j, tile)
                for i in range(n):
                    tile.values[i, j] -= base[j]
        _sums(tile, frames, options, m, sums)
        at = base
        if options.operation == kinds.MEDIAN or options.operation == kinds.LOWER_MEDIAN:
            lower, at = options.operation == kinds.LOWER_MEDIAN, centre
            _median(tile.values, tile.sorted, middle, m, lower, tile.lanes[0], centre)
            for j in range(m):
                centre[j] += base[j]
        _finish(dq, kept, options, start, m, tile, at, sums, sci, out_var, flags, number)
